"""Places labels beside the markers of a plot, so that they overlap neither each other nor the markers."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

ANGLES = 24
DISTANCES = (5.0, 12.0, 20.0, 30.0, 42.0, 56.0, 72.0, 90.0, 110.0, 135.0)
"""Distances between a marker and its label that are tried, in points."""
ON_LABEL, ON_MARKER, ON_LINE = 10_000.0, 300.0, 150.0
"""What it costs to lie on a label, a marker or a leader line, in points of distance."""
MARGIN = 2.0
"""The least space between two labels, in points."""
LINE_STEP = 4.0
"""Leader lines are tested at points that are so far apart."""


@dataclass(frozen=True)
class Box:
    """A rectangle in points: its centre and its size."""

    x: float
    y: float
    width: float
    height: float

    def overlaps(self, other: "Box") -> bool:
        """Whether the space between two rectangles is less than `MARGIN`."""
        return (
            2 * abs(self.x - other.x) < self.width + other.width + 2 * MARGIN
            and 2 * abs(self.y - other.y) < self.height + other.height + 2 * MARGIN
        )

    def is_inside(self, other: "Box") -> bool:
        """Whether it lies in another rectangle."""
        return (
            2 * abs(self.x - other.x) <= other.width - self.width
            and 2 * abs(self.y - other.y) <= other.height - self.height
        )

    def nearest(self, x: float, y: float) -> tuple[float, float]:
        """The point of the rectangle that is nearest to (x, y)."""
        return (
            min(max(x, self.x - self.width / 2), self.x + self.width / 2),
            min(max(y, self.y - self.height / 2), self.y + self.height / 2),
        )


def place_labels(
    markers: Sequence[Box], sizes: Sequence[tuple[float, float]], area: Box, others: Sequence[Box] = ()
) -> list[Box]:
    """A label for each marker, in its order. sizes: width and height of each label. area: in which labels lie.

    others: markers without labels. The labels of markers that stand alone come first; each takes the nearest free
    place. If there is none, it overlaps as little as possible.
    """
    near = max(DISTANCES)
    crowds = [sum(math.hypot(one.x - other.x, one.y - other.y) < near for other in markers) for one in markers]
    placed: dict[int, Box] = {}
    lines: list[tuple[float, float]] = []
    for index in sorted(range(len(markers)), key=crowds.__getitem__):
        marker = markers[index]
        around = list(places_around(marker, *sizes[index]))
        inside = [box for box in around if box.is_inside(area)] or around
        best = min(inside, key=lambda box: _cost(box, marker, [*markers, *others], list(placed.values()), lines))
        placed[index] = best
        lines += leader_line(marker, best)
    return [placed[index] for index in range(len(markers))]


def places_around(marker: Box, width: float, height: float) -> Iterator[Box]:
    """The places of a label around a marker, the nearest first."""
    for distance in DISTANCES:
        for number in range(ANGLES):
            angle = 2 * math.pi * (number + 0.5) / ANGLES
            x = marker.x + (marker.width / 2 + distance + width / 2) * math.cos(angle)
            y = marker.y + (marker.height / 2 + distance + height / 2) * math.sin(angle)
            yield Box(x, y, width, height)


def leader_line(marker: Box, label: Box) -> list[tuple[float, float]]:
    """Points of the line from the centre of a marker to its label."""
    end_x, end_y = label.nearest(marker.x, marker.y)
    steps = max(1, math.ceil(math.hypot(end_x - marker.x, end_y - marker.y) / LINE_STEP))
    return [
        (marker.x + (end_x - marker.x) * step / steps, marker.y + (end_y - marker.y) * step / steps)
        for step in range(steps + 1)
    ]


def _cost(
    box: Box, marker: Box, markers: Sequence[Box], labels: Sequence[Box], lines: Sequence[tuple[float, float]]
) -> float:
    own = leader_line(marker, box)
    return (
        math.dist(own[0], own[-1])
        + ON_LABEL * sum(box.overlaps(label) for label in labels)
        + ON_MARKER * sum(box.overlaps(other) for other in markers)
        + ON_LINE * any(Box(x, y, 0, 0).overlaps(box) for x, y in lines)
        + ON_LINE * any(Box(x, y, 0, 0).overlaps(label) for x, y in own for label in labels)
    )
