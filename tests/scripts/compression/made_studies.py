"""A study whose stages have made-up results, for the tests of its report."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from scripts.compression.plan import TEACHER
from scripts.compression.stage_folders import Stage
from scripts.compression.study import Study
from tests.checkpoints import built
from tests.scripts.compression.plans import FOCUS, SHAPES, options

CLIPS = 50
WORDS = 10
TIMES_S = {TEACHER: 0.100, FOCUS: 0.040}
OTHERS_S = 0.060
ERRORS = {TEACHER: 1, FOCUS: 1, f"{FOCUS}-plain": 2}
OTHERS_ERRORS = 3


def finish(stage: Stage, result: dict[str, Any]) -> None:
    stage.made(lambda folder: result)


def clip(errors: int) -> dict[str, Any]:
    return {
        "word_errors": errors, "words": WORDS, "character_errors": errors, "characters": 50, "deletions": 1,
        "empty": False,
    }  # fmt: skip


def engine(time_s: float, size_bytes: int) -> dict[str, Any]:
    times = {"mean_s": time_s, "std_s": time_s / 50, "p50_s": time_s, "p95_s": time_s * 1.2}
    return times | {"size_bytes": size_bytes, "peak_bytes": 2**27}


def again(study: Study, **changes: Any) -> Study:
    """The same study in a later run, with other options."""
    other = Study(replace(study.options, **changes))
    other.choose_shapes()
    return other


def made_study(out: Path, checkpoints: Path, monkeypatch: Any, *, teacher: Path | None = None, **changes: Any) -> Study:
    """All points are made but one, which failed; one training ended early. Greedy texts have one error more."""
    manifest = out.parent / "clean.jsonl"
    manifest.touch()
    study = Study(
        options(out, teacher=str(teacher or built("small", checkpoints)), shapes=SHAPES, focus=FOCUS,
                eval_sets={"clean": str(manifest)}, dataset_name="someone/speech", **changes)
    )  # fmt: skip
    study.choose_shapes()
    failed = study.plan.trainings[-1].name
    for training in study.plan.trainings:
        if training.name == failed:
            continue
        stage, steps = study.trained(training), study.steps_of(training)
        done = steps if training.name != "l6" else steps - 7
        finish(stage, {"steps": steps, "steps_done": done, "device": "GPU", "metrics": {"eval_wer": 0.1}})
    engines = {}
    for point in study.plan.points:
        if point.training == failed:
            continue
        size = {"onnx": 4_000_000, "onnx_int8": 1_000_000}
        unproven = "text_equality" if point.name.endswith("4bit") else None
        finish(
            study.artifact(point),
            {"unproven": unproven, "parameters": 5_000_000, "checkpoint_bytes": 20_000_000, "size_bytes": size,
             "gzip_bytes": {name: value // 2 for name, value in size.items()}},
        )  # fmt: skip
        time_s = TIMES_S.get(point.name, OTHERS_S)
        errors = [ERRORS.get(point.name, OTHERS_ERRORS)] * CLIPS
        for scores in study.scores_of(point):
            stage, backend = scores.stage, scores.backend
            finish(stage, {"clips": [clip(count + (not scores.language_model)) for count in errors]})
            engines[f"{point.name}:{backend}"] = engine(time_s * (1 if backend == "onnx_int8" else 3), 2_500_000)
    finish(study.speeds(), {"engines": engines})
    study.state.set(failed={"train": {failed: "DataError: no clips"}}, share=0.5, spent_s={"train": 3600.0})
    return study
