"""The tables of a study's report."""

from collections.abc import Mapping, Sequence
from typing import Any

from scripts.common import MIB
from scripts.common.report import number, table
from scripts.compression.front import FrontPoint, OnSet
from scripts.compression.plan import TEACHER
from scripts.compression.study import INT8


def points_table(points: Sequence[FrontPoint], front: Sequence[str], named: Mapping[str, str]) -> str:
    """All points, the slowest first."""
    head = [
        "point",
        "what",
        "M param.",
        "bits",
        "MB",
        "mean ms",
        "std ms",
        "p95 ms",
        "times as fast",
        "MiB",
        "WER",
        "increase",
        "CER",
        "deleted",
        "empty",
        "proven",
    ]
    if openvino := any(point.openvino for point in points):
        head.append("OpenVINO ms")
    teacher = next((point for point in points if point.name == TEACHER), None)
    rows = []
    for point in sorted(points, key=lambda one: -(one.speed.p50_s if one.speed else 0)):
        speed, figures = point.speed, point.first
        row = [
            f"{point.name}{' *' if point.name in front else ''}",
            point.what,
            f"{point.parameters / 1e6:.1f}",
            str(point.weight_bits),
            f"{point.size_bytes / 1e6:.1f}",
        ]
        row += [f"{1000 * value:.1f}" for value in (speed.mean_s, speed.std_s, speed.p95_s)] if speed else ["-"] * 3
        row.append(f"{teacher.speed.p50_s / speed.p50_s:.2f}" if speed and teacher and teacher.speed else "-")
        row.append(f"{speed.peak_bytes / MIB:.0f}" if speed else "-")
        row += (
            [
                str(figures.wer),
                figures.increase.points(),
                str(figures.cer),
                f"{figures.deletions:.1%}",
                str(figures.empty),
            ]
            if figures
            else ["-"] * 5
        )
        row.append("yes" if point.unproven is None else f"no: {point.unproven}")
        if openvino:
            row.append(f"{1000 * point.openvino.mean_s:.1f}" if point.openvino else "-")
        rows.append(row)
    return table(head, rows)


def set_section(name: str, points: Sequence[FrontPoint]) -> list[str]:
    """The errors of all points on one set, as served and, if there is a language model, without it."""
    clips = next((point.sets[name].clips for point in points if name in point.sets), None)
    if clips is None:
        return []
    found = [f"### {name}: {clips} clips", set_table(name, [(point.name, point.sets) for point in points])]
    if any(name in point.greedy for point in points):
        found += ["Without the language model:", set_table(name, [(point.name, point.greedy) for point in points])]
    return found


def set_table(name: str, points: Sequence[tuple[str, Mapping[str, OnSet]]]) -> str:
    """The errors on one set. points: name, and figures by set."""
    rows = [
        [point, str(one.wer), one.increase.points(), str(one.cer), f"{one.deletions:.1%}", str(one.empty)]
        for point, sets in points
        if (one := sets.get(name))
    ]
    return table(["point", "WER", "increase", "CER", "deleted", "empty"], rows)


PART_HEAD = ["point", "what", "bits", "steps", "MB", "gzip MB", "mean ms", "WER INT8", "WER FP32", "increase"]


def part_row(point: FrontPoint) -> list[str]:
    """The cells of `PART_HEAD`."""
    steps = str(point.steps) if point.steps == point.steps_done else f"{point.steps_done} of {point.steps}"
    return [
        point.name, point.what, str(point.weight_bits), steps if point.steps else "-",
        f"{point.size_bytes / 1e6:.1f}", f"{point.gzip_bytes / 1e6:.1f}",
        number(1000 * point.speed.mean_s if point.speed else None, ".1f"),
        str(point.first.wer) if point.first else "-",
        str(point.fp32_wer or "-"),
        point.first.increase.points() if point.first else "-",
    ]  # fmt: skip


def seeds_text(points: Sequence[FrontPoint]) -> str:
    """The WER of the focus with each seed, and the range."""
    rates = [point.first.wer.rate for point in points if point.first]
    rows = [[point.name, str(point.first.wer)] for point in points if point.first]
    spread = 100 * (max(rates) - min(rates))
    return table(["point", "WER"], rows) + f"\n\nFrom the lowest to the highest, there are {spread:.1f} points."


def shapes_table(shapes: Mapping[str, Any]) -> str:
    """All shapes that were probed."""
    times, useless = shapes["times"], shapes["dominated"]
    backends = [backend for backend in (INT8, "openvino") if backend in times[TEACHER]]
    head = [
        "shape",
        "M param.",
        *(f"{backend}{unit}" for backend in backends for unit in (" ms", ", times as fast", " MB")),
        "",
    ]
    rows = []
    for name in sorted(times, key=lambda name: -times[name].get(INT8, {}).get("p50_s", 0.0)):
        row = [name, f"{shapes['parameters'][name] / 1e6:.1f}"]
        for backend in backends:
            found, base = times[name].get(backend), times[TEACHER][backend]
            row += (
                [
                    f"{1000 * found['p50_s']:.1f}",
                    f"{base['p50_s'] / found['p50_s']:.2f}",
                    f"{found['size_bytes'] / 1e6:.1f}",
                ]
                if found
                else ["-"] * 3
            )
        fate = f"dominated by {useless[name]}" if name in useless else "chosen" if name in shapes["labels"] else ""
        rows.append([*row, "the focus" if name == shapes["focus"] else fate])
    rows += [
        [name, "-", *["-"] * (3 * len(backends)), f"not possible: {why}"] for name, why in shapes["refused"].items()
    ]
    return table(head, rows)
