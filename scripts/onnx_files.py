"""ONNX files: made from a CTC model, quantized to INT8, and stored in few bytes."""

import tempfile
from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper
from onnxruntime.quantization import QuantType, quantize_dynamic
from optimum.exporters.onnx import onnx_export_from_model
from torch.nn.utils import parametrize
from transformers import PreTrainedModel

MIN_STORED_ELEMENTS = 1024
"""Smaller initializers are not worth a Cast node."""
HALF_ROUNDING = 2.0**-11
"""Largest relative error of rounding a number to float16, whose significand has 11 bits."""


def export_model(model: PreTrainedModel, path: Path) -> None:
    """Write a CTC model as ONNX: `input_values` (batch, samples) -> `logits` (batch, frames, vocabulary), float32."""
    remove_weight_norm(model)
    with tempfile.TemporaryDirectory() as folder:
        onnx_export_from_model(model.eval(), folder, task="automatic-speech-recognition", do_validation=False)
        proto = onnx.load(Path(folder) / "model.onnx")
    onnx.save(proto, path)


def remove_weight_norm(model: PreTrainedModel) -> None:
    """Replace every parametrized weight by its value.

    The positional convolution of wav2vec2 is weight-normed; exported as it is, its weight would be computed anew in
    every run, and the quantizer could not read it.
    """
    for module in list(model.modules()):
        if parametrize.is_parametrized(module):
            for name in list(module.parametrizations):  # type: ignore[arg-type]  # a ModuleDict, once parametrized
                parametrize.remove_parametrizations(module, name)


def quantize(source: Path, target: Path) -> None:
    """Dynamic INT8 of the matrix products: signed weights, one scale per output channel.

    Signed weights with unsigned activations (U8S8) reach the VNNI and AMX kernels, unsigned ones do not; convolutions
    stay in float, as INT8 ones (ConvInteger) are slower (`docs/`: what was measured).
    """
    quantize_dynamic(source, target, op_types_to_quantize=["MatMul"], per_channel=True, weight_type=QuantType.QInt8)


def store_compactly(path: Path) -> None:
    """Store float32 weights that are exactly representable in float16 as float16, followed by a Cast, in place.

    That is so for every weight of a checkpoint published in half precision; the file gets half the size and computes
    the same bits. ONNX Runtime folds the Cast when it loads the model.
    """
    _store_half(path, tolerance=0.0)


def store_rounded(path: Path) -> None:
    """Store all float32 weights as float16, followed by a Cast, in place: half the size, computed in float32.

    Weights that float16 cannot hold, above 65,504 or all so small that they would be lost, stay float32.
    """
    _store_half(path, tolerance=HALF_ROUNDING)


def _store_half(path: Path, tolerance: float) -> None:
    """tolerance: largest change of an initializer that is stored in half, relative to it, both as Euclidean norms."""
    proto = onnx.load(path)
    graph = proto.graph
    casts = []
    for initializer in graph.initializer:
        if initializer.data_type != onnx.TensorProto.FLOAT:
            continue
        values = numpy_helper.to_array(initializer)
        if values.size < MIN_STORED_ELEMENTS:
            continue
        exact = values.astype(np.float64)
        with np.errstate(over="ignore", invalid="ignore"):
            half = values.astype(np.float16)
            fits = np.linalg.norm(half - exact) <= tolerance * np.linalg.norm(exact)
        if not fits:
            continue
        name = initializer.name
        initializer.CopyFrom(numpy_helper.from_array(half, name + "_float16"))
        casts.append(helper.make_node("Cast", [name + "_float16"], [name], to=onnx.TensorProto.FLOAT))
    for position, cast in enumerate(casts):
        graph.node.insert(position, cast)
    onnx.save(proto, path)


def count_operators(path: Path) -> dict[str, int]:
    """Operator name -> number of nodes."""
    counts: dict[str, int] = {}
    for node in onnx.load(path, load_external_data=False).graph.node:
        counts[node.op_type] = counts.get(node.op_type, 0) + 1
    return counts
