from itertools import combinations

import numpy as np
import pytest

from scripts.compression.label_placement import ANGLES, DISTANCES, Box, leader_line, place_labels, places_around

AREA = Box(300, 200, 600, 400)


def test_a_label_alone_is_beside_its_marker() -> None:
    marker = Box(300, 200, 20, 20)
    (label,) = place_labels([marker], [(60, 10)], AREA)
    assert not label.overlaps(marker)
    assert abs(label.x - marker.x) + abs(label.y - marker.y) < 60


@pytest.mark.parametrize("seed", range(3))
def test_labels_of_a_crowd_overlap_nothing(seed: int) -> None:
    random = np.random.default_rng(seed)
    markers = [Box(random.uniform(250, 350), random.uniform(170, 230), 14, 14) for _ in range(16)]
    sizes = [(80.0, 9.0)] * len(markers)
    others = [Box(500, 380, 120, 30)]
    labels = place_labels(markers, sizes, AREA, others)
    assert not [pair for pair in combinations(labels, 2) if pair[0].overlaps(pair[1])]
    assert not [label for label in labels if any(label.overlaps(one) for one in [*markers, *others])]
    assert all(label.is_inside(AREA) for label in labels)
    assert [(label.width, label.height) for label in labels] == sizes


def test_a_label_at_the_edge_stays_in_the_area() -> None:
    (label,) = place_labels([Box(595, 395, 20, 20)], [(80, 9)], AREA)
    assert label.is_inside(AREA)
    (label,) = place_labels([Box(10, 10, 20, 20)], [(80, 9)], Box(10, 10, 20, 20))
    assert label in list(places_around(Box(10, 10, 20, 20), 80, 9)), "there is no room: outside, rather than nowhere"


def test_places_begin_near_the_marker() -> None:
    places = list(places_around(Box(0, 0, 10, 10), 30, 8))
    assert len(places) == len(DISTANCES) * ANGLES
    assert any(not place.overlaps(Box(0, 0, 10, 10)) for place in places[:ANGLES])
    assert max(np.hypot(place.x, place.y) for place in places[:ANGLES]) < 30


def test_a_leader_line_ends_at_the_label() -> None:
    points = leader_line(Box(0, 0, 10, 10), Box(50, 0, 20, 8))
    assert (points[0], points[-1]) == ((0, 0), (40, 0))
    assert len(points) == 11
