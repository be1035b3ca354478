"""The baselines of CTC models: exports and quantizations of the same checkpoint by common tools.

Weight norm is removed before the export, because `quantize_dynamic` raises on a graph with it.
"""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np

from app.artifacts import open_artifact
from app.audio import AudioLimits, decode
from app.errors import AsrError
from app.families.ctc.recognizer import input_values
from app.families.ctc.settings import read_settings
from app.recognizer import Samples
from scripts.benchmarking.baselines import Baseline, Source
from scripts.benchmarking.engines import CTC
from scripts.common.audio_files import find_audio_files

STOCK = "stock_fp32"
STOCK_FILE = "stock.onnx"
CALIBRATION_S = 10.0
"""Calibration clips are cut to this length, because one long file would take hours."""
CALIBRATION_LIMITS = AudioLimits(max_duration_s=3600.0, max_decoded_bytes=1 << 30, max_channels=8)


def calibration_clips(source: Source) -> list[Samples]:
    """Normalized samples of the audio files in the calibration folder, each shape (samples,), float32.

    They have the sample rate of the model. Raises ValueError for a file that cannot be read.
    """
    features = read_settings(open_artifact(source.checkpoint)).features
    clips = []
    for path in find_audio_files([source.calibration]):
        try:
            with path.open("rb") as file:
                samples = decode(file, features.sample_rate_hz, CALIBRATION_LIMITS).samples
        except AsrError as error:
            raise ValueError(f"{path} cannot be read: {error}") from error
        samples = samples[: int(CALIBRATION_S * features.sample_rate_hz)]
        clips.append(input_values(samples, features))
    return clips


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

        quantize_dynamic(
            source.folder / STOCK_FILE, target, op_types_to_quantize=operators, weight_type=QuantType[weights]
        )

    return make


def quantize_with_nncf(source: Source, target: Path) -> None:
    """Quantize the stock export to INT8 for OpenVINO with NNCF's settings for transformers."""
    os.environ["NNCF_CI"] = "1"  # turns NNCF's telemetry off
    import nncf
    import openvino

    from app.runtimes.openvino import CORE

    clips = [clip[np.newaxis] for clip in calibration_clips(source)]
    quantized = nncf.quantize(
        CORE.read_model(source.folder / STOCK_FILE),
        nncf.Dataset(clips),
        model_type=nncf.ModelType.TRANSFORMER,
        subset_size=len(clips),
    )
    openvino.save_model(quantized, target)


CTC_BASELINES = (
    Baseline("pytorch_bf16", "PyTorch bf16 autocast", CTC, "pytorch_bf16", needs=("torch",)),
    Baseline(STOCK, "stock export FP32", CTC, "plain_onnx_file", STOCK_FILE, export_stock),
    # QUInt8 because ONNX Runtime does not implement ConvInteger with signed weights (NOT_IMPLEMENTED).
    Baseline(
        "dynamic_all",
        "quantize_dynamic, all",
        CTC,
        "plain_onnx_file",
        "dynamic_all.onnx",
        quantize_dynamically(None, "QUInt8"),
        STOCK,
    ),
    Baseline(
        "matmul_quint8",
        "quantize_dynamic, MatMul, QUInt8",
        CTC,
        "plain_onnx_file",
        "matmul_quint8.onnx",
        quantize_dynamically(["MatMul"], "QUInt8"),
        STOCK,
    ),
    Baseline(
        "matmul_qint8",
        "quantize_dynamic, MatMul, QInt8",
        CTC,
        "plain_onnx_file",
        "matmul_qint8.onnx",
        quantize_dynamically(["MatMul"], "QInt8"),
        STOCK,
    ),
    Baseline(
        "openvino_bf16", "stock OpenVINO bf16", CTC, "openvino_bf16", STOCK_FILE, export_stock, needs=("openvino",)
    ),
    Baseline(
        "openvino_nncf",
        "stock OpenVINO INT8 (NNCF)",
        CTC,
        "openvino_int8",
        "openvino_int8.xml",
        quantize_with_nncf,
        STOCK,
        needs=("openvino", "nncf"),
        calibrated=True,
    ),
)
"""All baselines, in the order in which they are made. Most are made from the stock export."""
