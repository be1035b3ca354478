"""The stage `export` of a study: makes and proves the artifacts of its points."""

from collections.abc import Sequence
from functools import partial

from app.artifacts import ArtifactError
from scripts.compression.exports import Export, export_point, write_pytorch_int8
from scripts.compression.plan import Point
from scripts.compression.study import Study
from scripts.exporting.exporter import Options
from scripts.speech.data import DataError


def export_points(study: Study, points: Sequence[Point], export: Export) -> None:
    """Make and prove the artifacts of points, as far as they are trained and the budget allows.

    export: `scripts.export.export`.
    """
    options = study.options
    shared = Options(
        eval_manifests=(next(iter(options.eval_sets.values())),),
        eval_limit=options.proof_clips,
        language=options.language,
        max_reference_wer=options.max_reference_wer,
    )
    failed: dict[str, str] = dict(study.state.get("failed", {}).get("export", {}))
    for point in points:
        stage = study.artifact(point)
        if stage.is_done or not study.is_trained(point):
            failed.pop(point.name, None)
            continue
        if study.used_up:
            failed[point.name] = "the budget was used up before its export"
            continue
        print(f"Export: {point.name}", flush=True)
        try:
            result = stage.made(
                partial(
                    export_point,
                    export,
                    point,
                    study.checkpoint(point.training),
                    openvino=options.openvino,
                    options=shared,
                )
            )
            print(f"  {result['unproven'] or 'proven'}", flush=True)
            failed.pop(point.name, None)
        except (ArtifactError, DataError, ValueError) as error:
            failed[point.name] = f"its export failed: {error}"
            print(f"  FAILED: {error}", flush=True)
        study.state.tick()
    focus = next(point for point in study.plan.points if point.name == study.plan.focus)
    if study.is_trained(focus):
        try:
            study.pytorch_int8().made(lambda folder: write_pytorch_int8(study.checkpoint(focus.training), folder))
        except (AttributeError, RuntimeError) as error:  # a PyTorch that no longer has it
            print(f"PyTorch's INT8 is not measured: {error}", flush=True)
    study.state.set(failed={**study.state.get("failed", {}), "export": failed})
