"""The figures of a study's points, from the results of its stages."""

from collections.abc import Mapping, Sequence
from typing import Any

from scripts.compression.evaluation import clip_errors, figures_of_clips
from scripts.compression.front import FrontPoint, OnSet, Rate, Speed
from scripts.compression.plan import TEACHER, Point
from scripts.compression.study import FP32, INT8, Study
from scripts.speech.scoring import ErrorRate, word_error_increase


def collect(study: Study) -> list[FrontPoint]:
    """The points whose artifacts exist, with the figures that exist."""
    speeds = study.speeds()
    engines: Mapping[str, Any] = speeds.result()["engines"] if speeds.is_done else {}
    reference: dict[str, list[Any]] = {}
    greedy_reference: dict[str, list[Any]] = {}
    found = []
    for point in study.plan.points:
        artifact = study.artifact(point)
        if not artifact.is_done:
            continue
        made = artifact.result()
        trained = study.trained(study.plan.training(point.training)).result() if point.training else {}
        clips = clips_of(study, point, INT8)
        greedy = clips_of(study, point, INT8, language_model=False)
        if point.name == TEACHER:
            reference, greedy_reference = clips, greedy
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
                sets=on_sets(clips, reference),
                greedy=on_sets(greedy, greedy_reference),
                fp32_wer=None if exact is None else rate(figures_of_clips(exact).wer),
            )
        )
    return found


def clips_of(study: Study, point: Point, backend: str, *, language_model: bool = True) -> dict[str, list[Any]]:
    """Set -> the errors of each clip, of those sets that were evaluated on a backend, in this way."""
    return {
        scores.set_name: scores.stage.result()["clips"]
        for scores in study.scores_of(point)
        if (scores.backend, scores.language_model) == (backend, language_model) and scores.stage.is_done
    }


def rate(found: ErrorRate) -> Rate:
    """The same, as the report has it."""
    return Rate(found.rate, found.low, found.high)


def on_sets(clips: Mapping[str, Sequence[Any]], reference: Mapping[str, Sequence[Any]]) -> dict[str, OnSet]:
    """Set -> its figures, of those sets that the teacher was evaluated on, too (`on_set`)."""
    return {name: on_set(clips[name], reference[name]) for name in clips if name in reference}


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
