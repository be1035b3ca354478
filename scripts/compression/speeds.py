"""Latency and memory of all points, each in its own process, in turns (`scripts/benchmarking`)."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from random import Random
from typing import Any

from app.families.ctc import GRAPH
from app.models import open_model
from app.runtimes.registry import ONNX, ONNX_INT8, OPENVINO, openvino_int8_file
from scripts.benchmarking.benchmark_clips import Clips, ClipsError, cut_clips, speech_clips
from scripts.benchmarking.ctc_engines import PYTORCH_INT8
from scripts.benchmarking.engine_figures import EngineFigures
from scripts.benchmarking.engines import CTC, EngineSpec, artifact_spec, checkpoint_spec
from scripts.benchmarking.measurements import Engines, measure_latencies
from scripts.common import SAMPLES
from scripts.speech.rows import SpeechRows

CLIPS = 5


def renamed(spec: EngineSpec, point: str) -> EngineSpec:
    """The spec with a key for one point of several: `point:backend`."""
    return replace(spec, key=f"{point}:{spec.key}", title=f"{point}, {spec.title}")


def point_specs(
    point: str, folder: Path, checkpoint: Path, in_chain: bool, pytorch_int8: Path | None
) -> list[EngineSpec]:
    """The engines of a point. folder: its artifact. checkpoint: from which it was made.

    in_chain: whether the engines of the chain of the case study are measured too: PyTorch, and ONNX Runtime in float32.
    pytorch_int8: the weights in INT8 of PyTorch, if that engine is measured.
    """
    model = open_model(folder, allow_unproven=True)
    specs = [artifact_spec(ONNX_INT8, model, CTC)]
    if (folder / openvino_int8_file(GRAPH)).is_file():
        specs.append(artifact_spec(OPENVINO, model, CTC))
    if in_chain:
        specs += [artifact_spec(ONNX, model, CTC), checkpoint_spec(checkpoint, CTC)]
    if pytorch_int8 is not None:
        title = "PyTorch INT8 (dynamic)"
        specs.append(EngineSpec(PYTORCH_INT8, title, CTC, PYTORCH_INT8, checkpoint, (pytorch_int8,)))
    return [renamed(spec, point) for spec in specs]


def clips_to_time(rows: SpeechRows | None, length_s: float, rate_hz: int) -> Clips:
    """Clips of `length_s` seconds: joined utterances of the rows or, if they are too few, the bundled sample."""
    if rows is not None:
        try:
            return speech_clips(rows, [length_s], CLIPS, rate_hz, seed=0)
        except ClipsError as error:
            print(f"Latency is measured on the bundled sample: {error}")
    return cut_clips(SAMPLES / "sample.wav", [length_s], rate_hz)


def measure_speeds(
    specs: Sequence[EngineSpec], clips: Clips, runs: int, warm_up: int, threads: int, rate_hz: int
) -> dict[str, Mapping[str, Any]]:
    """Key of an engine -> the fields of its `Latency`, and `size_bytes`, `load_s`, `loaded_bytes`, `peak_bytes`.

    If an engine fails, it has an `error` instead. All engines compute the same clips, in turns.
    """
    figures = {spec.key: EngineFigures(spec.key, spec.title, spec.own, spec.size_bytes) for spec in specs}
    with Engines(figures, threads, callers=1) as engines:
        for spec in specs:
            engines.load(spec)
        latencies = measure_latencies(engines, clips, runs, warm_up, Random(0), rate_hz)
        for key in engines.running:
            with engines.turn_of(key) as engine:
                figures[key].peak_bytes = engine.peak_bytes
    found: dict[str, Mapping[str, Any]] = {}
    for key, measured in figures.items():
        if key in latencies and not measured.errors:
            (latency,) = latencies[key]
            memory = {name: getattr(measured, name) for name in ("size_bytes", "load_s", "loaded_bytes", "peak_bytes")}
            found[key] = asdict(latency) | memory
        else:
            found[key] = {"error": "; ".join(measured.errors), "size_bytes": measured.size_bytes}
    return found
