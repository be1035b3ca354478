"""The report of a study: `front.md`, `front.json`, `front.png`."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from matplotlib.collections import PathCollection
from matplotlib.figure import Figure

from scripts.common import MIB
from scripts.common.machine import describe_machine
from scripts.common.report import KeyFigure, Report, number, table
from scripts.compression.evaluation import clip_errors, figures_of_clips
from scripts.compression.front import FrontPoint, OnSet, Rate, Speed, front_of, named_points
from scripts.compression.plan import TEACHER, Point
from scripts.compression.study import FP32, INT8, PYTORCH, Study
from scripts.speech.scoring import ErrorRate, word_error_increase

STEM, PLOT = "front", "front.png"
DOTS_PER_INCH = 120
LARGEST_MARKER = 900.0
"""Area of the marker of the largest file, in square points."""
CASE_STUDY = (
    ("BERT baseline", 418.16, 54.20, 1.91, 0.867),
    ("DistilBERT", 255.89, 27.53, 0.60, 0.858),
    ("+ distillation", 255.89, 25.96, 1.63, 0.868),
    ("+ quantization (PyTorch)", 132.40, 12.54, 0.73, 0.876),
    ("+ ONNX Runtime", 255.88, 21.02, 0.55, 0.868),
    ("+ both", 64.20, 9.24, 0.29, 0.877),
)
"""The chain of the case study: title, MB, ms, deviation of the ms, accuracy.

Source: L. Tunstall, L. von Werra, T. Wolf, "Natural Language Processing with Transformers", 2022, notebook
08_model-compression.ipynb."""


def collect(study: Study) -> list[FrontPoint]:
    """The points whose artifacts exist, with the figures that exist."""
    speeds = study.speeds()
    engines: Mapping[str, Any] = speeds.result()["engines"] if speeds.is_done else {}
    reference: dict[str, list[Any]] = {}
    found = []
    for point in study.plan.points:
        artifact = study.artifact(point)
        if not artifact.is_done:
            continue
        made = artifact.result()
        trained = study.trained(study.plan.training(point.training)).result() if point.training else {}
        clips = clips_of(study, point, INT8)
        if point.name == TEACHER:
            reference = clips
        sets = {name: on_set(clips[name], reference[name]) for name in clips if name in reference}
        exact = next(iter(clips_of(study, point, FP32).values()), None)
        found.append(
            FrontPoint(
                name=point.name,
                role=point.role,
                what=point.what,
                artifact=str(artifact.folder.relative_to(study.out)),
                unproven=made["unproven"],
                weight_bits=point.weight_bits,
                parameters=made["parameters"],
                size_bytes=made["size_bytes"][INT8],
                gzip_bytes=made["gzip_bytes"][INT8],
                steps=trained.get("steps", 0),
                steps_done=trained.get("steps_done", 0),
                speed=speed_of(engines.get(f"{point.name}:{INT8}")),
                openvino=speed_of(engines.get(f"{point.name}:openvino")),
                sets=sets,
                fp32_wer=None if exact is None else rate(figures_of_clips(exact).wer),
            )
        )
    return found


def clips_of(study: Study, point: Point, backend: str) -> dict[str, list[Any]]:
    """Set -> the errors of each clip, of those sets that were evaluated on a backend."""
    return {
        name: stage.result()["clips"] for stage, own, name in study.scores_of(point) if own == backend and stage.is_done
    }


def rate(found: ErrorRate) -> Rate:
    """The same, as the report has it."""
    return Rate(found.rate, found.low, found.high)


def on_set(clips: Sequence[Any], reference: Sequence[Any]) -> OnSet:
    """The figures of a set. reference: the same clips, by the teacher."""
    figures = figures_of_clips(clips)
    increase = word_error_increase(clip_errors(reference), clip_errors(clips))
    return OnSet(figures.clips, rate(figures.wer), rate(figures.cer), rate(increase), figures.deletions, figures.empty)


def speed_of(engine: Mapping[str, Any] | None) -> Speed | None:
    """The speed of an engine that was measured."""
    if engine is None or "error" in engine:
        return None
    return Speed(**{name: engine[name] for name in Speed.__dataclass_fields__})


def chain_rows(study: Study) -> list[dict[str, Any]]:
    """The chain of the case study with our models: title, size_bytes, mean_s, std_s and wer, each None if missing."""
    speeds = study.speeds()
    engines: Mapping[str, Any] = speeds.result()["engines"] if speeds.is_done else {}
    by_name = {point.name: point for point in study.plan.points}
    teacher, plain, focus = study.chain
    rows = []
    for title, name, backend in (
        ("baseline: teacher, PyTorch", teacher, PYTORCH),
        ("student, PyTorch", plain, PYTORCH),
        ("+ distillation", focus, PYTORCH),
        ("+ INT8 (PyTorch)", focus, "pytorch_int8"),
        ("+ ONNX Runtime", focus, FP32),
        ("+ both: ONNX Runtime INT8", focus, INT8),
    ):
        point = by_name.get(name)
        if point is None or not study.artifact(point).is_done:
            continue
        made, engine = study.artifact(point).result(), engines.get(f"{name}:{backend}", {})
        clips = next(iter(clips_of(study, point, backend).values()), None)
        size = (
            made["checkpoint_bytes"]
            if backend == PYTORCH
            else made["size_bytes"].get(backend, engine.get("size_bytes"))
        )
        rows.append(
            {
                "title": title,
                "point": name,
                "backend": backend,
                "size_bytes": size,
                "mean_s": engine.get("mean_s"),
                "std_s": engine.get("std_s"),
                "wer": None if clips is None else asdict(rate(figures_of_clips(clips).wer)),
            }
        )
    return rows


def factors(rows: Sequence[Mapping[str, Any]]) -> tuple[float | None, float | None]:
    """How many times smaller and faster the end of a chain is than its beginning; None if one was not measured."""
    if len(rows) < 2:
        return None, None
    first, last = rows[0], rows[-1]
    return tuple(  # type: ignore[return-value]  # of two
        first[name] / last[name] if first[name] and last[name] else None for name in ("size_bytes", "mean_s")
    )


def write_front(study: Study) -> Path:
    """Write the report of what exists so far. Returns the path of `front.md`."""
    points = collect(study)
    chain = chain_rows(study)
    front = front_of(points)
    named = named_points(points)
    not_made = missing(study, points)
    plot(points, front).savefig(study.out / PLOT, dpi=DOTS_PER_INCH)
    figures = {
        "points": [asdict(point) | {"on_front": point.name in front} for point in points],
        "named": named,
        "chain": chain,
        "chain_factors": dict(zip(("size", "latency"), factors(chain), strict=True)),
        "focus": study.plan.focus,
        "shapes": study.state.get("shapes"),
        "not_made": not_made,
        "spent_s": study.state.get("spent_s", {}),
        "budget_h": study.options.budget_h,
        "share_of_steps": study.state.get("share"),
        "hashes": study.hashes,
    }
    report = Report(
        "Compression study",
        describe_machine(),
        settings(study),
        sections(study, points, chain, front, named, not_made),
        figures,
        key_figures(points, chain, named),
    )
    return report.write(study.out, STEM)


def settings(study: Study) -> dict[str, str]:
    """The settings in the head of the report."""
    options = study.options
    sets = ", ".join(f"{name}" for name in options.eval_sets) or "none"
    spent = ", ".join(f"{kind} {seconds / 3600:.2f} h" for kind, seconds in study.state.get("spent_s", {}).items())
    devices = sorted({one["device"] for one in trainings_done(study).values()})
    found = {
        "teacher": options.teacher,
        "sets": sets,
        "latency": f"{options.length_s:g} s clips, {options.runs} rounds, in turns, {options.threads} threads",
        "steps": f"{options.steps} in a full training, {options.tail_share:.0%} of that if it goes on from another",
        "trained on": ", ".join(devices) or "-",
        "time": f"{spent or '-'}; budget: {'none' if options.budget_h is None else f'{options.budget_h:g} h'}",
    }
    share = study.state.get("share")
    if share is not None and share < 1:
        found["shortened"] = f"the budget allowed {share:.0%} of the steps"
    return found


def trainings_done(study: Study) -> dict[str, Mapping[str, Any]]:
    """Name -> result, of the trainings that are done."""
    stages = {training.name: study.trained(training) for training in study.plan.trainings}
    return {name: stage.result() for name, stage in stages.items() if stage.is_done}


def missing(study: Study, points: Sequence[FrontPoint]) -> dict[str, str]:
    """What was planned and not made, or not as planned -> why."""
    failed: Mapping[str, Mapping[str, str]] = study.state.get("failed", {})
    left_out: Mapping[str, str] = study.state.get("left_out", {})
    made = {point.name for point in points}
    done = trainings_done(study)
    reasons = {**failed.get("train", {}), **left_out}
    found = {}
    for point in study.plan.points:
        if point.name not in made:
            untrained = (
                reasons.get(point.training, "it is not trained yet") if point.training not in ("", *done) else None
            )
            found[point.name] = untrained or failed.get("export", {}).get(point.name, "it is not exported yet")
    for name, result in done.items():
        if result["steps_done"] < result["steps"]:
            found[f"{name}, the end of its training"] = (
                f"{result['steps_done']} of {result['steps']} steps: the budget was used up; to train it anew, delete "
                f"{study.trained(study.plan.training(name)).folder.relative_to(study.out)}"
            )
    found.update({f"scores of {name}": reason for name, reason in failed.get("evaluate", {}).items()})
    return found


def key_figures(
    points: Sequence[FrontPoint], chain: Sequence[Mapping[str, Any]], named: Mapping[str, str]
) -> list[KeyFigure]:
    """The summary."""
    by_name = {point.name: point for point in points}
    found = []
    teacher = by_name.get(TEACHER)
    for index, (title, name) in enumerate(named.items()):
        point = by_name[name]
        key = ("fastest", "smallest", "most_exact")[index] if len(named) == 3 else "most_exact"
        if teacher and teacher.speed and point.speed and point.first:
            found.append(
                KeyFigure(
                    f"{key}_speed",
                    f"{title}: {name}, times as fast as the teacher's INT8",
                    teacher.speed.p50_s / point.speed.p50_s,
                )
            )
            found.append(
                KeyFigure(
                    f"{key}_wer_increase",
                    f"{title}: {name}, WER above that of the teacher",
                    100 * point.first.increase.rate,
                    "points",
                )
            )
            found.append(KeyFigure(f"{key}_size", f"{title}: {name}, size", point.size_bytes / 1e6, "MB"))
    size, latency = factors(chain)
    if size is not None:
        found.append(KeyFigure("chain_size", "chain: baseline size / size at the end", size))
    if latency is not None:
        found.append(KeyFigure("chain_latency", "chain: baseline latency / latency at the end", latency))
    return found


def sections(
    study: Study,
    points: Sequence[FrontPoint],
    chain: Sequence[Mapping[str, Any]],
    front: Sequence[str],
    named: Mapping[str, str],
    not_made: Mapping[str, str],
) -> list[str]:
    """The sections of the report. Those without figures are left out."""
    found = []
    if named:
        found += ["## Points to choose", table(["", "point"], [[title, name] for title, name in named.items()])]
    if points:
        found += ["## Points", POINTS_TEXT, points_table(points, front, named), f"![The front]({PLOT})"]
        found += [part for name in study.options.eval_sets for part in set_section(name, points)]
    for role, title in (
        ("control", "Controls"),
        ("quantization", "Quantization in training and after it"),
        ("pruning", "Zeros in the weights"),
    ):
        part = [
            point for point in points if point.role in (role, "teacher", "control") or point.name == study.plan.focus
        ]
        if any(point.role == role for point in part):
            found += [f"## {title}", table(PART_HEAD, [part_row(point) for point in part])]
    seeds = [point for point in points if (point.role == "seed" or point.name == study.plan.focus) and point.first]
    if len(seeds) > 1:
        found += ["## Seeds", seeds_text(seeds)]
    if chain:
        found += ["## The chain of the case study", chain_table(chain), CASE_STUDY_TEXT, case_study_table()]
    if (shapes := study.state.get("shapes")) and "times" in shapes:
        chosen = {"labels": study.plan.candidates, "focus": study.plan.focus}  # --shapes may name others than the probe
        found += ["## Shapes before training", SHAPES_TEXT, shapes_table({**shapes, **chosen})]
    if helped_not := no_help(points, study.plan.focus):
        found += ["## What did not help", "\n".join(f"- {line}" for line in helped_not)]
    if not_made:
        found += [
            "## Not made, or not as planned",
            table(["what", "why"], [[name, why] for name, why in not_made.items()]),
        ]
    return found


POINTS_TEXT = (
    "Each point is an artifact. Latency, size and errors are those of its INT8 file on ONNX Runtime. The increase of "
    "the WER is relative to the teacher's INT8 file, with the 95 % interval of the paired bootstrap. A star marks the "
    "front: no other point is as fast and has as few errors."
)
SHAPES_TEXT = (
    "Each shape was exported and timed before anything was trained. One is dominated if another one takes no more time "
    "and has at least as many parameters and frames. The time is that of ONNX Runtime INT8."
)
CASE_STUDY_TEXT = (
    'The chain of the case study, for text classification ("Natural Language Processing with Transformers", 2022):'
)


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
    """The errors of all points on one set."""
    rows = [
        [
            point.name,
            str(found.wer),
            found.increase.points(),
            str(found.cer),
            f"{found.deletions:.1%}",
            str(found.empty),
        ]
        for point in points
        if (found := point.sets.get(name))
    ]
    if not rows:
        return []
    clips = next(point.sets[name].clips for point in points if name in point.sets)
    return [f"### {name}: {clips} clips", table(["point", "WER", "increase", "CER", "deleted", "empty"], rows)]


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


def chain_table(chain: Sequence[Mapping[str, Any]]) -> str:
    """Our chain, and its two factors."""
    rows = []
    for row in chain:
        wer = "-" if row["wer"] is None else str(Rate(**row["wer"]))
        time = "-" if row["mean_s"] is None else f"{1000 * row['mean_s']:.1f} ± {1000 * row['std_s']:.1f}"
        rows.append(
            [row["title"], row["point"], number(row["size_bytes"] and row["size_bytes"] / 1e6, ".2f"), time, wer]
        )
    size, latency = factors(chain)
    rows.append(["factor", "", number(size, ".1f"), number(latency, ".1f"), ""])
    return table(["chain", "point", "MB", "ms", "WER"], rows)


def case_study_table() -> str:
    """The chain of the case study, and its two factors."""
    rows = [
        [title, f"{size:.2f}", f"{mean:.2f} ± {std:.2f}", f"{accuracy:.3f}"]
        for title, size, mean, std, accuracy in CASE_STUDY
    ]
    first, last = CASE_STUDY[0], CASE_STUDY[-1]
    rows.append(["factor", f"{first[1] / last[1]:.1f}", f"{first[2] / last[2]:.1f}", ""])
    return table(["case study", "MB", "ms", "accuracy"], rows)


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
        fate = f"dominated by {useless[name]}" if name in useless else "trained" if name in shapes["labels"] else ""
        rows.append([*row, "the focus" if name == shapes["focus"] else fate])
    rows += [
        [name, "-", *["-"] * (3 * len(backends)), f"not possible: {why}"] for name, why in shapes["refused"].items()
    ]
    return table(head, rows)


def no_help(points: Sequence[FrontPoint], focus: str) -> list[str]:
    """The rows that are no better than the one that they are to be better than, in their figures."""
    by_name = {point.name: point for point in points}
    found = []
    for base, names in (
        (f"{focus}-plain", [focus]),
        (TEACHER, [f"{TEACHER}-plain"]),
        *((f"{focus}-longer-{bits}bit", [f"{focus}-trained{bits}bit"]) for bits in (4, 8)),
        (f"{focus}-longer", [f"{focus}-trained7bit", *(point.name for point in points if point.role == "pruning")]),
    ):
        for name in names:
            one, other = by_name.get(name), by_name.get(base)
            if one is None or other is None or one.first is None or other.first is None:
                continue
            worse = one.first.wer.rate >= other.first.wer.rate
            slow = one.speed is None or other.speed is None or one.speed.p50_s > 0.98 * other.speed.p50_s
            if worse and slow:
                times = (
                    ""
                    if one.speed is None or other.speed is None
                    else f", {1000 * one.speed.mean_s:.1f} ms against {1000 * other.speed.mean_s:.1f} ms"
                )
                found.append(
                    f"{name} ({one.what}): WER {one.first.wer.rate:.1%} against {other.first.wer.rate:.1%} of {base}"
                    f"{times}, "
                    f"gzip {one.gzip_bytes / 1e6:.1f} MB against {other.gzip_bytes / 1e6:.1f} MB"
                )
    return found


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
