"""The plot of a study: errors, latency and size of its points."""

import math
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.transforms import Affine2D, BboxBase

from scripts.compression.front import FrontPoint, OnSet, Speed
from scripts.compression.label_placement import Box, place_labels

COLORS: Mapping[str, str] = {
    "teacher": "#000000",
    "candidate": "#0072b2",
    "control": "#8c8c8c",
    "seed": "#56b4e9",
    "quantization": "#009e73",
    "pruning": "#e69f00",
}
"""Role of a point -> its colour, of the palette for all eyes of M. Okabe and K. Ito, 2008."""
SHOWN = frozenset({"teacher", "candidate", "control", "seed"})
"""Roles whose points are always within the axes."""
FAR = 1.3
"""A point whose WER is so many times that of all `SHOWN` points is an arrow at the upper edge."""
LARGEST_MARKER, ARROW = 500.0, 60.0
"""Areas of the marker of the largest file, and of an arrow, in square points."""
LEGEND_MARKER, LABEL_SIZE = 7.0, 8.0
"""Sizes of a marker in the legend and of the letters of a label, in points."""
POINTS_PER_INCH = 72.0
Known = tuple[FrontPoint, Speed, OnSet]


class Marker(NamedTuple):
    """A marker in the axes: latency in ms, WER in percent, area in square points, and name of the point."""

    x: float
    y: float
    area: float
    name: str


def plot(points: Sequence[FrontPoint], front: Sequence[str]) -> Figure:
    """WER with its 95 % interval against latency, with the size as the area; a line joins the front.

    Points of quantization and pruning whose WER is far above that of all others are arrows at the upper edge.
    """
    figure = Figure(figsize=(10, 7), layout="constrained", facecolor="white")
    axes = figure.subplots()
    known = [(point, point.speed, point.first) for point in points if point.speed and point.first]
    highest = highest_shown(known)
    largest = max((point.size_bytes for point, _, _ in known), default=1)
    markers: list[Marker] = []
    above: list[str] = []
    for point, speed, figures in sorted(known, key=lambda one: -one[0].size_bytes):  # small markers lie on large ones
        color, area = COLORS[point.role], LARGEST_MARKER * point.size_bytes / largest
        x, y = 1000 * speed.p50_s, 100 * figures.wer.rate
        if y > highest:
            axes.scatter(x, highest, s=ARROW, marker="^", color=color, clip_on=False, zorder=3)
            above.append(f"{point.name}: {y:.0f}%")
            continue
        face = color if point.unproven is None else "white"
        axes.vlines(x, 100 * figures.wer.low, 100 * figures.wer.high, color=color, linewidth=1, alpha=0.6)
        axes.scatter(x, y, s=area, facecolor=face, edgecolor=color, alpha=0.6, linewidth=1.2, zorder=2)
        markers.append(Marker(x, y, area, point.name))
    line = sorted(
        (1000 * speed.p50_s, 100 * figures.wer.rate) for point, speed, figures in known if point.name in front
    )
    if line:
        axes.plot(*zip(*line, strict=True), color="black", linestyle="--", linewidth=0.8, zorder=1.5)
        axes.set_ylim(0, highest)
        add_legend(figure, {point.role for point, _, _ in known}, any(point.unproven for point, _, _ in known))
    axes.set(
        xlabel="latency, ms (median, ONNX Runtime INT8)",
        ylabel="WER, % (95 % interval)",
        title="WER, latency and size (area)",
    )
    axes.grid(color="#e5e5e5")
    axes.set_axisbelow(True)
    add_labels(figure, axes, markers, "\n".join(["above the axis:", *above]) if above else "")
    return figure


def highest_shown(known: Sequence[Known]) -> float:
    """The upper end of the axis, in percent: above the intervals of all points that are not far above the others."""
    shown = [100 * figures.wer.high for point, _, figures in known if point.role in SHOWN]
    limit = FAR * max(shown, default=100.0)
    return min(
        100.0, 1.1 * max((100 * one.wer.high for _, _, one in known if 100 * one.wer.rate <= limit), default=100)
    )


def add_legend(figure: Figure, roles: Collection[str], has_unproven: bool) -> None:
    """The legend, below the axes, with markers of one size."""
    handles = [legend_marker(role, color, color) for role, color in COLORS.items() if role in roles]
    if has_unproven:
        handles.append(legend_marker("not proven", "white", "black"))
    handles.append(Line2D([], [], color="black", linestyle="--", linewidth=0.8, label="front"))
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), fontsize="small", frameon=False)


def legend_marker(label: str, face: str, edge: str) -> Line2D:
    """A marker of the legend. face, edge: colours."""
    return Line2D(
        [], [], marker="o", linestyle="", markersize=LEGEND_MARKER, markerfacecolor=face, markeredgecolor=edge,
        alpha=0.6, label=label,
    )  # fmt: skip


def add_labels(figure: Figure, axes: Axes, markers: Sequence[Marker], note: str) -> None:
    """Label the markers, each with a line to its label. note: text in the upper right corner; empty for none."""
    figure.draw_without_rendering()  # which lays it out
    figure.set_layout_engine("none")

    def box_of(bounds: BboxBase) -> Box:
        points = bounds.transformed(Affine2D().scale(POINTS_PER_INCH / figure.dpi))
        return Box((points.x0 + points.x1) / 2, (points.y0 + points.y1) / 2, points.width, points.height)

    corner = axes.text(0.99, 0.97, note, transform=axes.transAxes, ha="right", va="top", fontsize=LABEL_SIZE)
    others = [box_of(corner.get_window_extent())] if note else []
    boxes, sizes = [], []
    for marker in markers:
        x, y = axes.transData.transform((marker.x, marker.y)) * POINTS_PER_INCH / figure.dpi
        boxes.append(Box(x, y, math.sqrt(marker.area), math.sqrt(marker.area)))
        text = figure.text(0, 0, marker.name, fontsize=LABEL_SIZE)
        extent = box_of(text.get_window_extent())
        sizes.append((extent.width, extent.height))
        text.remove()
    labels = place_labels(boxes, sizes, box_of(axes.get_window_extent()), others)
    for marker, box, label in zip(markers, boxes, labels, strict=True):
        axes.annotate(
            marker.name,
            (marker.x, marker.y),
            xytext=(label.x - box.x, label.y - box.y),
            textcoords="offset points",
            ha="center",
            va="center",
            fontsize=LABEL_SIZE,
            bbox={"boxstyle": "square,pad=0.1", "facecolor": "white", "edgecolor": "none", "alpha": 0.7},
            arrowprops={"arrowstyle": "-", "color": "#808080", "linewidth": 0.6, "shrinkB": box.width / 2},
            zorder=4,
        )
