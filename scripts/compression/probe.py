"""Times shapes before any training: each goes through the real export, and all take turns on the same clip.

The time of a model does not depend on the values of its weights, so the weights that a student begins with are enough.
"""

from collections.abc import Mapping
from pathlib import Path
from random import Random
from typing import Any

from app.artifacts import ArtifactError
from app.families.ctc import GRAPH
from app.runtimes.registry import ONNX_INT8, OPENVINO, onnx_int8_file, openvino_int8_file
from scripts.benchmarking.benchmark_clips import cut_clips
from scripts.benchmarking.ctc_engines import file_spec
from scripts.benchmarking.engine_figures import EngineFigures
from scripts.benchmarking.engines import EngineSpec
from scripts.benchmarking.measurements import Engines, measure_latencies
from scripts.common import SAMPLES
from scripts.compression.speeds import renamed
from scripts.exporting.artifact_folder import copy_settings
from scripts.exporting.ctc_exporter import CtcExporter
from scripts.exporting.exporter import Options
from scripts.training.student_checkpoint import write_student
from scripts.training.students import Shape

RATE_HZ = 16_000
"""wav2vec2 and its kind take nothing else."""


def export_untrained(teacher: Path, label: str, folder: Path, openvino: bool) -> dict[str, Any]:
    """Make the files of a shape in `folder`, without proofs. label: of the shape; empty for the teacher itself.

    Returns `parameters`, and `refused`: why the teacher has no such student, or None.
    """
    source = teacher
    if label:
        source = folder / "checkpoint"
        source.mkdir()
        try:
            write_student(teacher, Shape.parse(label), source)
        except ValueError as error:
            return {"refused": str(error)}
    exporter = CtcExporter()
    model = exporter.load(source)
    parameters = int(model.num_parameters())
    copy_settings(source, folder, exporter.settings_files, keep=False)
    try:
        exporter.make(model, folder, Options(), {})
        if openvino:
            exporter.make_openvino(source, folder, Options())
    except ArtifactError as error:
        return {"refused": str(error)}
    return {"parameters": parameters, "refused": None}


def specs_of(name: str, folder: Path, openvino: bool) -> list[EngineSpec]:
    """The engines of the files that `export_untrained` made."""
    specs = [renamed(file_spec(ONNX_INT8, folder / onnx_int8_file(GRAPH), folder), name)]
    if openvino:
        specs.append(renamed(file_spec(OPENVINO, folder / openvino_int8_file(GRAPH), folder), name))
    return specs


def time_shapes(
    folders: Mapping[str, Path], openvino: bool, runs: int, warm_up: int, threads: int, length_s: float
) -> dict[str, Any]:
    """Name -> backend -> median and standard deviation in seconds, size in bytes. folders: as `export_untrained` made.

    Raises StudyError if the teacher's engine fails.
    """
    specs = [spec for name, folder in folders.items() for spec in specs_of(name, folder, openvino)]
    figures = {spec.key: EngineFigures(spec.key, spec.title, spec.own, spec.size_bytes) for spec in specs}
    clips = cut_clips(SAMPLES / "sample.wav", [length_s], RATE_HZ)
    with Engines(figures, threads, callers=1) as engines:
        for spec in specs:
            engines.load(spec)
        latencies = measure_latencies(engines, clips, runs, warm_up, Random(0), RATE_HZ)
    found: dict[str, Any] = {name: {} for name in folders}
    for spec in specs:
        if spec.key in latencies:
            (latency,) = latencies[spec.key]
            found[spec.key.partition(":")[0]][spec.backend] = {
                "p50_s": latency.p50_s,
                "std_s": latency.std_s,
                "size_bytes": spec.size_bytes,
            }
    return found
