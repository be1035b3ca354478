from itertools import combinations

import numpy as np
from matplotlib.collections import PathCollection
from matplotlib.figure import Figure
from matplotlib.text import Annotation

from scripts.compression.front import front_of
from scripts.compression.front_plot import plot
from tests.scripts.compression.front_points import POINTS, point


def labels_of(figure: Figure) -> list[Annotation]:
    return [text for text in figure.axes[0].texts if isinstance(text, Annotation)]


def test_every_point_has_a_label_of_its_own() -> None:
    crowd = [point(f"candidate{number}", 0.05 + number / 10_000, 0.1 + number / 10_000) for number in range(12)]
    figure = plot([*POINTS, *crowd], front_of(POINTS))
    figure.draw_without_rendering()
    labels = labels_of(figure)
    assert {label.get_text() for label in labels} == {one.name for one in [*POINTS, *crowd]}
    boxes = [label.get_bbox_patch().get_window_extent() for label in labels]  # type: ignore[union-attr]  # it has one
    assert not [pair for pair in combinations(boxes, 2) if pair[0].overlaps(pair[1])]


def test_a_point_far_above_the_others_is_told_in_a_note() -> None:
    destroyed = point("pruned90", 0.05, 0.97, role="pruning")
    figure = plot([*POINTS, destroyed], front_of(POINTS))
    (axes,) = figure.axes
    assert axes.get_ylim()[1] < 30
    assert "pruned90" not in {label.get_text() for label in labels_of(figure)}
    assert "above the axis:\npruned90: 97%" in {text.get_text() for text in axes.texts}
    shown = plot([*POINTS, point("bad", 0.05, 0.97)], front_of(POINTS))
    assert shown.axes[0].get_ylim()[1] > 97, "a candidate is always shown"


def test_a_point_without_proof_is_hollow() -> None:
    figure = plot(POINTS, front_of(POINTS))
    dots = [one for one in figure.axes[0].collections if isinstance(one, PathCollection)]
    white = [one for one in dots if np.allclose(one.get_facecolor(), (1, 1, 1, 0.6))]
    assert len(dots) == len(POINTS)
    assert len(white) == 1
    (legend,) = figure.legends
    assert "not proven" in {text.get_text() for text in legend.get_texts()}
    assert "pruning" not in {text.get_text() for text in legend.get_texts()}


def test_points_without_figures_are_left_out() -> None:
    assert labels_of(plot([point("fast", 0.02, 0.1, speed=None)], [])) == []
