"""The report of a study: `front.md`, `front.json`, `front.png`."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from scripts.common.machine import describe_machine
from scripts.common.report import KeyFigure, Report, table
from scripts.compression.case_study_chain import case_study_table, chain_rows, chain_table, factors
from scripts.compression.front import FrontPoint, front_of, named_points
from scripts.compression.front_plot import plot
from scripts.compression.front_tables import PART_HEAD, part_row, points_table, seeds_text, set_section, shapes_table
from scripts.compression.plan import TEACHER
from scripts.compression.point_figures import collect
from scripts.compression.shortfalls import missing, no_help, trainings_done
from scripts.compression.study import Study

STEM, PLOT = "front", "front.png"
DOTS_PER_INCH = 120
POINTS_TEXT = (
    "Each point is an artifact. Latency, size and errors are those of its INT8 file on ONNX Runtime. The increase of "
    "the WER is relative to the teacher's INT8 file, with the 95 % interval of the paired bootstrap. A star marks the "
    "front: no other point is as fast and has as few errors."
)
LANGUAGE_MODEL_TEXT = (
    "All points have the language model of the teacher. Their errors are those of the texts that the service writes "
    "with it; the sections of the sets also have those of greedy decoding."
)
SHAPES_TEXT = (
    "Each shape was exported and timed before anything was trained. One is dominated if another one takes no more time "
    "and has at least as many parameters and frames. The time is that of ONNX Runtime INT8."
)
CASE_STUDY_TEXT = (
    'The chain of the case study, for text classification ("Natural Language Processing with Transformers", 2022):'
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
        text = [POINTS_TEXT, LANGUAGE_MODEL_TEXT] if study.has_language_model else [POINTS_TEXT]
        found += ["## Points", *text, points_table(points, front, named), f"![The front]({PLOT})"]
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
