"""OpenVINO files: quantize a CTC model to INT8 with NNCF, in the form that OpenVINO computes fastest."""

import logging
import tempfile
from collections import Counter
from pathlib import Path

import nncf
import openvino
from transformers import PreTrainedModel

from app.families.ctc import GRAPH
from app.families.ctc.checkpoint import load_checkpoint
from app.families.ctc.settings import CtcSettings
from app.runtimes.openvino import CORE
from app.runtimes.registry import onnx_fp32_file, openvino_int8_file
from scripts.exporting.calibration import calibration_feeds
from scripts.exporting.integer_ranges import WeightBits
from scripts.exporting.onnx_files import remove_weight_norm, save, trace_with_lengths
from scripts.exporting.openvino_form import OpenVinoForm, has_openvino_form
from scripts.exporting.quantization import Feed

CALIBRATION_CLIPS = 300
"""NNCF's default."""
SMOOTHING, OFF = 0.5, -1
"""Alphas of SmoothQuant: the migration strength of arXiv:2211.10438, and the value that turns it off."""
OVERFLOW_FIX: dict[WeightBits, nncf.OverflowFix] = {7: nncf.OverflowFix.ENABLE, 8: nncf.OverflowFix.DISABLE}
"""Number of bits of the weights -> NNCF's overflow fix."""
KEPT_IN_FLOAT = ("/first/", "/positions/", "/head/")
"""Prefixes of the names of nodes that gain little or nothing from INT8: audio samples need more than eight bits,
OpenVINO computes the positional convolution in float anyway, and the head is small."""
NORM = "/first/norm/"
"""Prefix of the names of the nodes of `ClipNorm`."""
KEEP_FLOAT32 = "precise_0"
"""Attribute of a node that OpenVINO computes in float32 even if the rest is in bfloat16. The variance needs it, because
it is a small difference of large covariances: with 8 bits of mantissa it could be negative."""

LEAST_GROUP_CHANNELS = 16
"""In bfloat16, oneDNN's AMX kernels give wrong results for grouped convolutions with fewer channels per group: in
oneDNN 3.12, for every such shape that was tried. Published models have 16 or more."""


def make_openvino_int8(
    checkpoint: Path, folder: Path, settings: CtcSettings, calibration: str, bits: WeightBits = 7
) -> dict[str, int]:
    """Write `model_openvino_int8.xml` and `.bin` to the folder of an artifact that already has `model.onnx`.

    settings: of the model. calibration: see `calibration_feeds`; it should resemble the speech that will be served.
    bits: see `quantize`. Returns the number of operators of each type that compute in INT8. Raises DataError or
    ArtifactError if there is nothing to calibrate on.
    """
    model = load_checkpoint(checkpoint).model
    stock = folder / onnx_fp32_file(GRAPH)
    graph = read_form(model) if has_openvino_form(model) else CORE.read_model(stock)
    quantized = quantize(graph, calibration_feeds(calibration, settings, CALIBRATION_CLIPS), bits)
    for node in quantized.get_ops():
        if node.get_friendly_name().startswith(NORM) or has_narrow_groups(node):
            node.get_rt_info()[KEEP_FLOAT32] = ""
    openvino.save_model(quantized, folder / openvino_int8_file(GRAPH), compress_to_fp16=False)
    return count_quantized(quantized)


def quantize(graph: openvino.Model, feeds: list[Feed], bits: WeightBits = 7) -> openvino.Model:
    """Quantize to INT8 with NNCF: a scale per channel for weights, the range on the calibration feeds for activations.

    SmoothQuant moves part of the differences between channels from activations to weights. It is used for convolutions
    only. Other layers gain nothing from it, and would start with an additional product.

    bits: of the weights. Seven (NNCF's overflow fix for all layers) are exact on every CPU, see
    `scripts.exporting.quantization`.
    """
    logging.getLogger("nncf").setLevel(logging.ERROR)  # its own function would change the handlers of all loggers
    names = {name for value in graph.inputs for name in value.get_names()}

    def inputs(feed: Feed) -> Feed:
        return {name: values for name, values in feed.items() if name in names}

    return nncf.quantize(
        graph,
        nncf.Dataset(feeds, inputs),
        subset_size=len(feeds),
        model_type=nncf.ModelType.TRANSFORMER,
        ignored_scope=nncf.IgnoredScope(names=kept_in_float(graph)),
        advanced_parameters=nncf.AdvancedQuantizationParameters(
            overflow_fix=OVERFLOW_FIX[bits],
            smooth_quant_alphas=nncf.AdvancedSmoothQuantParameters(convolution=SMOOTHING, matmul=OFF),
        ),
    )


def has_narrow_groups(node: openvino.Node) -> bool:
    """Whether a node is a grouped convolution with fewer input channels per group than `LEAST_GROUP_CHANNELS`."""
    if node.get_type_name() != "GroupConvolution":
        return False
    channels_per_group = node.input(1).get_partial_shape()[2]  # of weights (groups, outputs, inputs, kernel)
    return bool(channels_per_group.get_length() < LEAST_GROUP_CHANNELS)


def read_form(model: PreTrainedModel) -> openvino.Model:
    """Convert a model to `OpenVinoForm`, as an OpenVINO graph. Changes the model."""
    remove_weight_norm(model)
    form = OpenVinoForm(model.requires_grad_(False)).eval()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "form.onnx"
        save(trace_with_lengths(form), path)
        return CORE.read_model(path)


def kept_in_float(graph: openvino.Model) -> list[str]:
    """Names of the nodes that are not quantized. In a stock graph, that is only the first convolution."""
    return [
        node.get_friendly_name()
        for node in graph.get_ops()
        if node.get_friendly_name().startswith(KEPT_IN_FLOAT)
        or (node.get_type_name() == "Convolution" and node.input(1).get_partial_shape()[1] == 1)
    ]


def count_quantized(graph: openvino.Model) -> dict[str, int]:
    """Operator type -> number of nodes that compute in INT8, which have only quantized inputs and weights."""
    counts: Counter[str] = Counter()
    for node in graph.get_ops():
        if node.get_type_name() in ("MatMul", "Convolution", "GroupConvolution"):
            counts[node.get_type_name()] += all(is_quantized(value) for value in node.input_values())
    return dict(counts)


def is_quantized(value: openvino.Output) -> bool:
    """Whether a value comes from a FakeQuantize or INT8 weights, through no operators but those that move or scale."""
    node = value.get_node()
    if node.get_type_name() == "Constant":
        return bool(value.get_element_type() in (openvino.Type.i8, openvino.Type.u8))
    if node.get_type_name() == "FakeQuantize":
        return True
    moving = ("Convert", "Subtract", "Multiply", "Reshape", "Transpose")
    return node.get_type_name() in moving and is_quantized(node.input_value(0))
