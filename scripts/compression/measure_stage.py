"""The stage `measure` of a study: latency and memory of all points, in turns."""

from app.models import open_model
from scripts.benchmarking.engines import EngineSpec
from scripts.common.machine import processor
from scripts.compression.exports import PYTORCH_INT8_FILE
from scripts.compression.plan import Point
from scripts.compression.speeds import clips_to_time, measure_speeds, point_specs
from scripts.compression.study import Study


def measure_points(study: Study) -> None:
    """Measure latency and memory of all points, in turns."""
    options = study.options
    stage = study.speeds()
    specs = [spec for point in study.plan.points if study.artifact(point).is_done for spec in specs_of(study, point)]
    if stage.is_done or not specs:
        return
    rate_hz = open_model(study.artifact(study.plan.points[0]).folder, allow_unproven=True).family.rate_hz
    print(f"Measure: {len(specs)} engines, {options.runs} rounds", flush=True)
    rows = study.rows(next(iter(options.eval_sets))) if options.eval_sets else None
    clips = clips_to_time(rows, options.length_s, rate_hz)
    stage.made(
        lambda folder: {
            "engines": measure_speeds(specs, clips, options.runs, options.warm_up, options.threads, rate_hz),
            "processor": processor(),
            "length_s": options.length_s,
            "threads": options.threads,
            "runs": options.runs,
        }
    )


def specs_of(study: Study, point: Point) -> list[EngineSpec]:
    """The engines of a point."""
    quantized = study.pytorch_int8()
    is_focus = point.name == study.plan.focus and quantized.is_done
    return point_specs(
        point.name,
        study.artifact(point).folder,
        study.checkpoint(point.training),
        point.name in study.chain,
        quantized.folder / PYTORCH_INT8_FILE if is_focus else None,
    )
