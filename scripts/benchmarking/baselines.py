"""The baselines of a benchmark: models that common tools make from the same checkpoint.

They have none of Dikte's optimizations. Weight norm is removed before the export, because `quantize_dynamic` raises on
a graph with it. The files are cached in a folder whose name is a hash of the weights and the versions of the tools.
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from app.artifacts import open_artifact, sha256_of
from app.audio import AudioLimits, decode
from app.errors import AsrError
from app.families.ctc.recognizer import input_values
from app.families.ctc.settings import read_settings
from app.recognizer import Samples
from scripts.benchmarking.engines import EngineSpec, installed, weights_of
from scripts.common import ROOT
from scripts.common.audio_files import find_audio_files
from scripts.common.machine import versions
from scripts.common.model_files import model_files

COMMAND = ROOT / "scripts" / "tools" / "baselines.py"
REPORT_NAME = "baselines.json"
"""The file in the folder of the baselines in which `COMMAND` records which of them failed, and why."""
STOCK_FILE = "stock.onnx"
EXPORT_TOOLS = ("torch", "transformers", "optimum", "optimum-onnx", "onnx", "onnxruntime")
CALIBRATION_TOOLS = ("openvino", "nncf")
CALIBRATION_S = 10.0
"""Calibration clips are cut to this length, because one long file would take hours."""
CALIBRATION_LIMITS = AudioLimits(max_duration_s=3600.0, max_decoded_bytes=1 << 30, max_channels=8)


class BaselineError(Exception):
    """No baseline can be made. The message says why."""


@dataclass(frozen=True)
class Source:
    """The inputs of baselines.

    checkpoint: the checkpoint folder. folder: where their files are cached. calibration: the folder of calibration
    clips.
    """

    checkpoint: Path
    folder: Path
    calibration: Path

    @property
    def stock(self) -> Path:
        """Path of the stock export."""
        return self.folder / STOCK_FILE

    def calibration_clips(self) -> list[Samples]:
        """Normalized samples of the audio files in the calibration folder, each shape (samples,), float32.

        They have the sample rate of the model. Raises ValueError for a file that cannot be read.
        """
        features = read_settings(open_artifact(self.checkpoint)).features
        clips = []
        for path in find_audio_files([self.calibration]):
            try:
                with path.open("rb") as file:
                    samples = decode(file, features.sample_rate_hz, CALIBRATION_LIMITS).samples
            except AsrError as error:
                raise ValueError(f"{path} cannot be read: {error}") from error
            samples = samples[: int(CALIBRATION_S * features.sample_rate_hz)]
            clips.append(input_values(samples, features))
        return clips

    def calibration_key(self) -> str:
        """A hash of the calibration clips and the versions of the tools that calibrate."""
        hashes = [sha256_of(path) for path in find_audio_files([self.calibration])]
        return _digest([*hashes, versions(CALIBRATION_TOOLS)])


def export_stock(source: Source, target: Path) -> None:
    """Write the graph that `optimum-cli export onnx` makes, in float32."""
    from app.families.ctc.checkpoint import load_checkpoint
    from scripts.exporting.onnx_files import remove_weight_norm, save, stock_export

    model = load_checkpoint(source.checkpoint).model
    remove_weight_norm(model)
    save(stock_export(model), target)


def quantize_dynamically(operators: list[str] | None, weights: str) -> Callable[[Source, Path], None]:
    """A function that runs `quantize_dynamic` with one scale per tensor.

    operators: the types to quantize; None means all that it supports. weights: QInt8 or QUInt8.
    """

    def make(source: Source, target: Path) -> None:
        from onnxruntime.quantization import QuantType, quantize_dynamic

        quantize_dynamic(source.stock, target, op_types_to_quantize=operators, weight_type=QuantType[weights])

    return make


def quantize_with_nncf(source: Source, target: Path) -> None:
    """Quantize the stock export to INT8 for OpenVINO with NNCF's settings for transformers."""
    os.environ["NNCF_CI"] = "1"  # turns NNCF's telemetry off
    import nncf
    import openvino

    from app.runtimes.openvino import CORE

    clips = [clip[np.newaxis] for clip in source.calibration_clips()]
    quantized = nncf.quantize(
        CORE.read_model(source.stock),
        nncf.Dataset(clips),
        model_type=nncf.ModelType.TRANSFORMER,
        subset_size=len(clips),
    )
    openvino.save_model(quantized, target)


@dataclass(frozen=True)
class Baseline:
    """A model to compare with.

    file: name in the folder of the baselines; empty for the checkpoint itself. make: writes the file to a path. needs:
    packages without which the baseline can neither be made nor run. calibrated: the file also depends on the
    calibration clips.
    """

    key: str
    title: str
    loader: str
    file: str = ""
    make: Callable[[Source, Path], None] = export_stock
    needs: tuple[str, ...] = ()
    calibrated: bool = False

    def path(self, source: Source) -> Path:
        """Path of its file."""
        name = Path(self.file)
        return source.folder / (f"{name.stem}-{source.calibration_key()}{name.suffix}" if self.calibrated else name)

    def spec(self, source: Source) -> EngineSpec:
        """How to load it. Raises FileNotFoundError if its file does not exist."""
        files = model_files(self.path(source)) if self.file else weights_of(source.checkpoint)
        return EngineSpec(self.key, self.title, self.loader, source.checkpoint, files)

    @property
    def missing(self) -> tuple[str, ...]:
        """The packages that it needs but that are not installed."""
        return tuple(package for package in self.needs if not installed(package))


BASELINES = (
    Baseline("pytorch_bf16", "PyTorch bf16 autocast", "pytorch_bf16", needs=("torch",)),
    Baseline("stock_fp32", "stock export FP32", "plain_onnx_file", STOCK_FILE),
    # QUInt8 because ONNX Runtime does not implement ConvInteger with signed weights (NOT_IMPLEMENTED).
    Baseline(
        "dynamic_all",
        "quantize_dynamic, all",
        "plain_onnx_file",
        "dynamic_all.onnx",
        quantize_dynamically(None, "QUInt8"),
    ),
    Baseline(
        "matmul_quint8",
        "quantize_dynamic, MatMul, QUInt8",
        "plain_onnx_file",
        "matmul_quint8.onnx",
        quantize_dynamically(["MatMul"], "QUInt8"),
    ),
    Baseline(
        "matmul_qint8",
        "quantize_dynamic, MatMul, QInt8",
        "plain_onnx_file",
        "matmul_qint8.onnx",
        quantize_dynamically(["MatMul"], "QInt8"),
    ),
    Baseline("openvino_bf16", "stock OpenVINO bf16", "openvino_bf16", STOCK_FILE, needs=("openvino",)),
    Baseline(
        "openvino_nncf",
        "stock OpenVINO INT8 (NNCF)",
        "openvino_int8",
        "openvino_int8.xml",
        quantize_with_nncf,
        needs=("openvino", "nncf"),
        calibrated=True,
    ),
)
"""All baselines, in the order in which they are made. Most are made from the stock export."""


def source_of(checkpoint: Path, folder: Path, calibration: Path) -> Source:
    """The source of a checkpoint's baselines. They are cached in a subfolder of `folder`, named after their inputs.

    Raises FileNotFoundError if the checkpoint has no weights.
    """
    return Source(checkpoint, cache_folder(checkpoint, folder, EXPORT_TOOLS), calibration)


def cache_folder(checkpoint: Path, folder: Path, tools: tuple[str, ...]) -> Path:
    """The subfolder of `folder` for what tools (packages) make of a checkpoint, named after its weights and their
    versions.

    Raises FileNotFoundError if the checkpoint has no weights.
    """
    files = [checkpoint / "config.json", *weights_of(checkpoint)]
    return folder / _digest([[sha256_of(path) for path in files], versions(tools)])


def make_baselines(source: Source, keys: list[str]) -> dict[str, str]:
    """Make the files of the named baselines that do not exist yet. Returns the failures: key -> reason."""
    source.folder.mkdir(parents=True, exist_ok=True)
    failed = {}
    for baseline in BASELINES:
        if baseline.key not in keys:
            continue
        if baseline.missing:
            failed[baseline.key] = f"not installed: {', '.join(baseline.missing)} (requirements-peers.txt)"
        elif baseline.file:
            try:
                if not source.stock.is_file():
                    _make(export_stock, source, source.stock)
                if not baseline.path(source).is_file():
                    _make(baseline.make, source, baseline.path(source))
            except Exception as error:  # each tool raises its own kinds of errors
                failed[baseline.key] = f"cannot be made: {type(error).__name__}: {error}"
        print(f"{baseline.title}: {failed.get(baseline.key, 'ready')}", flush=True)
    return failed


def _make(make: Callable[[Source, Path], None], source: Source, target: Path) -> None:
    """Write a file and its weights to a temporary folder, then move them, so that an existing file is complete."""
    print(f"making {target.name} ...", flush=True)
    with tempfile.TemporaryDirectory(dir=source.folder) as folder:
        make(source, Path(folder) / target.name)
        for part in sorted(Path(folder).iterdir(), key=lambda path: path.name == target.name):  # the model file last
            shutil.move(part, target.with_name(part.name))


def _digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


def have_baselines_made(source: Source, keys: list[str]) -> dict[str, str]:
    """Run `make_baselines` in a child process, so that its memory is freed. Raises BaselineError if that fails."""
    command = [sys.executable, str(COMMAND), "--checkpoint_dir", str(source.checkpoint)]
    command += ["--out", str(source.folder.parent), "--calibration", str(source.calibration), "--only", *keys]
    if code := subprocess.run(command, check=False).returncode:
        raise BaselineError(f"the baselines cannot be made (exit code {code})")
    failed: dict[str, str] = json.loads((source.folder / REPORT_NAME).read_text(encoding="utf-8"))["failed"]
    return failed
