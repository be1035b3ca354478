"""The plot of a study: errors, latency and size of its points."""

from collections.abc import Sequence

from matplotlib.collections import PathCollection
from matplotlib.figure import Figure

from scripts.compression.front import FrontPoint

LARGEST_MARKER = 900.0
"""Area of the marker of the largest file, in square points."""


def plot(points: Sequence[FrontPoint], front: Sequence[str]) -> Figure:
    """WER with its 95 % interval against latency, with the size as the area; a line joins the front."""
    colors = {"teacher": "C3", "candidate": "C0", "control": "C7", "seed": "C9", "quantization": "C2", "pruning": "C1"}
    figure = Figure(figsize=(9, 6), layout="constrained")
    axes = figure.subplots()
    known = [(point, point.speed, point.first) for point in points if point.speed and point.first]
    largest = max((point.size_bytes for point, _, _ in known), default=1)
    seen: set[str] = set()
    for point, speed, figures in known:
        x, color = 1000 * speed.p50_s, colors[point.role]
        label = None if point.role in seen else point.role
        seen.add(point.role)
        axes.scatter(
            x,
            100 * figures.wer.rate,
            s=LARGEST_MARKER * point.size_bytes / largest,
            color=color,
            alpha=0.5,
            label=label,
        )
        axes.vlines(x, 100 * figures.wer.low, 100 * figures.wer.high, color=color, linewidth=1)
        axes.annotate(
            point.name, (x, 100 * figures.wer.rate), fontsize="x-small", xytext=(4, 4), textcoords="offset points"
        )
    line = sorted(
        (1000 * speed.p50_s, 100 * figures.wer.rate) for point, speed, figures in known if point.name in front
    )
    if line:
        axes.plot(*zip(*line, strict=True), "k--", linewidth=1, label="front")
        for handle in axes.legend(fontsize="small").legend_handles:
            if isinstance(handle, PathCollection):
                handle.set_sizes([40.0])
    axes.set(
        xlabel="latency, ms (median, ONNX Runtime INT8)",
        ylabel="WER, % (95 % interval)",
        title="WER, latency and size (area)",
    )
    axes.grid(alpha=0.3)
    return figure
