"""What a study planned and did not make, and what it made in vain."""

from collections.abc import Mapping, Sequence
from typing import Any

from scripts.compression.front import FrontPoint
from scripts.compression.plan import TEACHER
from scripts.compression.study import Study


def trainings_done(study: Study) -> dict[str, Mapping[str, Any]]:
    """Name -> result, of the trainings that are done."""
    stages = {training.name: study.trained(training) for training in study.plan.trainings}
    return {name: stage.result() for name, stage in stages.items() if stage.is_done}


def missing(study: Study, points: Sequence[FrontPoint]) -> dict[str, str]:
    """What was planned and not made, or not as planned -> why. A study without data to train on plans no points."""
    if not (points or study.options.dataset_name):
        return {}
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
