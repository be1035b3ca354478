"""The stage `evaluate` of a study: transcribes the sets with the engines of its points."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from app.cores import available_cores
from app.families import Family
from app.models import open_model
from scripts.benchmarking.engines import CTC, OWN_LOADER, EngineSpec
from scripts.benchmarking.process import EngineFailed
from scripts.common.model_files import model_files
from scripts.compression.evaluation import transcribe
from scripts.compression.exports import FILES
from scripts.compression.measure_stage import specs_of
from scripts.compression.plan import Point
from scripts.compression.study import FP32, Study
from scripts.speech.rows import SpeechRows


def evaluate_points(study: Study, points: Sequence[Point]) -> None:
    """Transcribe the sets with all engines of points whose artifacts exist."""
    failed: dict[str, str] = dict(study.state.get("failed", {}).get("evaluate", {}))
    for point in points:
        artifact = study.artifact(point)
        if not artifact.is_done:
            continue
        family = open_model(artifact.folder, allow_unproven=True).family
        specs = {spec.key.partition(":")[2]: spec for spec in specs_of(study, point)}
        file = artifact.folder / FILES[FP32]
        specs.setdefault(FP32, EngineSpec(FP32, FP32, CTC, OWN_LOADER, artifact.folder, model_files(file), FP32))
        for scores in study.scores_of(point):
            stage, backend, name = scores.stage, scores.backend, scores.set_name
            if stage.is_done or backend not in specs:
                continue
            if study.used_up:
                failed[stage.name] = "the budget was used up before its evaluation"
                continue
            rows = study.rows(name)
            greedy = "" if scores.language_model else ", without language model"
            print(f"Evaluate: {point.name} on {backend}, {name}: {len(rows)} clips{greedy}", flush=True)
            spec = replace(specs[backend], language_model=scores.language_model)
            try:
                stage.made(partial(score, spec, rows, family, study.options.language))
                failed.pop(stage.name, None)
            except EngineFailed as error:
                failed[stage.name] = f"its evaluation failed: {error}"
                print(f"  FAILED: {error}", flush=True)
            study.state.tick()
    study.state.set(failed={**study.state.get("failed", {}), "evaluate": failed})


def score(spec: EngineSpec, rows: SpeechRows, family: Family, language: str, folder: Path) -> dict[str, Any]:
    """The errors of one engine on each clip of a set (`transcribe`). folder: stays empty. Raises EngineFailed."""
    return transcribe(spec, rows, family, language, available_cores())
