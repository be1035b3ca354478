"""INT8 for the matrix products of an ONNX model.

A product of activations with constant weights becomes

    DynamicQuantizeLinear -> MatMulInteger -> Cast -> Mul        (uint8 x int8 -> int32 -> float32)

which ONNX Runtime fuses into one kernel. Weights are signed and symmetric, with one scale per output channel: unsigned
activations with signed weights (U8S8) use the VNNI and AMX instructions, unsigned weights do not. The scale of
activations comes from their range in each run (dynamic), or from their range on calibration clips (static, with
QuantizeLinear). Convolutions stay in float32, because INT8 convolutions (ConvInteger) are slower.

**Exact on every CPU.** Without VNNI, a CPU adds pairs of products in 16 bits (VPMADDUBSW in AVX2 and AVX-512). With
8-bit weights that sum can saturate, and the results differ between CPUs. With weights of at most `EXACT_MAX_INT8` it
cannot, so every CPU computes the same integers. Eight bits are an option.

**By row.** With one scale for a whole clip, the loudest moment sets the scale, and few steps are left for quiet ones.
Encoder layers begin with a norm, which gives all frames a similar range; the layers of a CTC model's front end and the
hidden units of Whisper's feed-forward parts have none before them. There, each row of a product, which is the input of
one frame, can have its own scale, by which the result is multiplied again.

**Four bits.** Linear layers can have weights of 4 bits instead (`scripts/exporting/four_bit_weights.py`); products by
row, and those of several matrices at once, then have 7 bits.

A tensor is quantized before data movement (Reshape, Slice, Concat, ...), see `scripts/exporting/data_movement.py`.
"""

import tempfile
from collections.abc import Collection, Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper
from onnxruntime import InferenceSession

from scripts.exporting.data_movement import quantize_before_moves
from scripts.exporting.four_bit_weights import product_with_4_bits
from scripts.exporting.integer_ranges import (
    GELU_MINIMUM,
    GELU_ZERO_POINT,
    LARGEST_WEIGHT,
    MAX_UINT8,
    LayerBits,
)
from scripts.exporting.onnx_files import graphs_of, reads_of, replace_nodes, save

ROW_PARTS = ("top", "wanted", "scale", "flat", "shape", "zero", "q", "y", "per")
"""Suffixes of the names of the tensors in a product by row."""

Feed = Mapping[str, NDArray[Any]]
"""Input name -> values, for one calibration clip. It may have more inputs than the model."""


class Range(NamedTuple):
    """Smallest and largest value of an activation."""

    low: float
    high: float


def products_of(graph: GraphProto) -> list[NodeProto]:
    """The MatMul nodes of one graph, without its subgraphs, that multiply activations by constant float weights."""
    weights = {tensor.name for tensor in graph.initializer if tensor.data_type == TensorProto.FLOAT}
    return [node for node in graph.node if node.op_type == "MatMul" and node.input[1] in weights]


def names_matching(models: Sequence[ModelProto], patterns: Iterable[str]) -> set[str]:
    """Names of the products that match one of the patterns, such as `*/head/*`, in one or several models.

    Raises ValueError if a pattern matches no product.
    """
    names = {node.name for model in models for graph in graphs_of(model.graph) for node in products_of(graph)}
    kept: set[str] = set()
    for pattern in patterns:
        matching = {name for name in names if fnmatchcase(name, pattern)}
        if not matching:
            raise ValueError(f"no product matches {pattern}; there are {', '.join(sorted(names))}")
        kept |= matching
    return kept


def quantize(
    model: ModelProto,
    keep: Collection[str] = (),
    ranges: Mapping[str, Range] | None = None,
    bits: LayerBits = 7,
    by_row: Collection[str] = (),
) -> int:
    """Quantize every product in place. Returns the number of quantized products.

    keep: names of nodes that stay in float32. ranges: name of an activation -> its range, as `calibrate` returns them;
    None for dynamic quantization. bits: of the weights; seven are exact on every CPU. by_row: names of nodes that get a
    scale per row; their activations (1, rows, inputs) must come from a GELU. Raises ValueError if a range is missing,
    or if there are ranges for weights of 4 bits, whose activations are not quantized.
    """
    if bits == 4 and ranges is not None:
        raise ValueError("weights of 4 bits have no static quantization")
    count = 0
    limit = LARGEST_WEIGHT[7 if bits == 4 else bits]
    for graph in graphs_of(model.graph):
        products = [node for node in products_of(graph) if node.name not in keep]
        if products:
            rows = [node for node in products if node.name in by_row]
            others = [node for node in products if node.name not in by_row]
            if bits == 4:
                matrices = {tensor.name for tensor in graph.initializer if len(tensor.dims) == 2}
                _store_4_bits(graph, [node for node in others if node.input[1] in matrices])
                others = [node for node in others if node.input[1] not in matrices]
            _quantize_rows(graph, rows, limit)
            _quantize_products(graph, others, ranges, limit)
            quantize_before_moves(graph)
            count += len(products)
    if bits == 4 and not any(imported.domain == "com.microsoft" for imported in model.opset_import):
        model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    return count


def quantize_weight(weight: NDArray[np.float32], limit: int) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Round weights to int8 with one scale per output channel.

    weight: shape (..., inputs, outputs). Returns the int8 weights, from -limit to limit, of the same shape, and the
    scales, shape (outputs,) or (..., 1, outputs), so that weight ~ int8 * scale. A channel of zeros has the scale 1.
    """
    scale = np.abs(weight).max(axis=-2, keepdims=weight.ndim > 2) / np.float32(limit)
    scale[scale == 0] = 1
    return np.rint(weight / scale).clip(-limit, limit).astype(np.int8), scale


def quantize_range(values: Range) -> tuple[np.float32, np.uint8]:
    """Scale and zero point with which uint8 covers a range and zero: x ~ scale * (uint8 - zero point).

    The formulas are those of ONNX's DynamicQuantizeLinear.
    """
    low, high = min(values.low, 0.0), max(values.high, 0.0)
    scale = np.float32((high - low) / MAX_UINT8) or np.float32(1)
    return scale, np.uint8(np.clip(np.rint(-low / scale), 0, MAX_UINT8))


def calibrate(model: ModelProto, feeds: Iterable[Feed]) -> dict[str, Range]:
    """Name of each activation that is the input of a product -> its range over all feeds.

    Products in subgraphs are not included. Raises ValueError if there are no feeds.
    """
    names = sorted({node.input[0] for node in products_of(model.graph)})
    watched = ModelProto()
    watched.CopyFrom(model)
    outputs = []
    for name in names:
        for operator in ("ReduceMin", "ReduceMax"):
            outputs.append(f"{operator}/{name}")
            watched.graph.node.append(helper.make_node(operator, [name], [outputs[-1]], keepdims=0))
            watched.graph.output.append(helper.make_tensor_value_info(outputs[-1], TensorProto.FLOAT, []))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "watched.onnx"
        save(watched, path)
        session = InferenceSession(path, providers=["CPUExecutionProvider"])
    inputs = {value.name for value in session.get_inputs()}
    runs = [session.run(outputs, {name: feed[name] for name in inputs}) for feed in feeds]
    if not runs:
        raise ValueError("there is nothing to calibrate on")
    seen = np.array(runs).reshape(-1, len(names), 2)
    lows, highs = seen[..., 0].min(axis=0), seen[..., 1].max(axis=0)
    return {name: Range(float(low), float(high)) for name, low, high in zip(names, lows, highs, strict=True)}


def split_gemms(model: ModelProto) -> None:
    """Replace each Gemm with constant float weights by a MatMul, and an Add for the bias, in place.

    Linear layers with a two-dimensional input are exported as Gemm. Nodes that scale or transpose their activations are
    left as they are.
    """
    for graph in graphs_of(model.graph):
        weights = {tensor.name: tensor for tensor in graph.initializer if tensor.data_type == TensorProto.FLOAT}
        nodes: list[NodeProto] = []
        for node in graph.node:
            attributes = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
            plain = attributes.get("alpha", 1) == attributes.get("beta", 1) == 1 and not attributes.get("transA", 0)
            if node.op_type != "Gemm" or node.input[1] not in weights or not plain:
                nodes.append(node)
                continue
            weight = weights[node.input[1]].name
            if attributes.get("transB", 0):
                weight = f"{weight}_transposed"
                if not any(tensor.name == weight for tensor in graph.initializer):
                    values = numpy_helper.to_array(weights[node.input[1]]).T
                    graph.initializer.append(numpy_helper.from_array(values.copy(), weight))
            biases = [name for name in node.input[2:] if name]
            product = f"{node.output[0]}_product" if biases else node.output[0]
            nodes.append(helper.make_node("MatMul", [node.input[0], weight], [product], name=node.name))
            nodes += [helper.make_node("Add", [product, bias], [node.output[0]]) for bias in biases]
        replace_nodes(graph, nodes)


def _store_4_bits(graph: GraphProto, products: Sequence[NodeProto]) -> None:
    outputs = {node.output[0] for node in products}
    weights = {tensor.name: tensor for tensor in graph.initializer}
    nodes = [
        node if outputs.isdisjoint(node.output) else product_with_4_bits(graph, node, weights[node.input[1]])
        for node in graph.node
    ]
    replace_nodes(graph, nodes)
    _remove_unused(graph)


def _quantize_products(
    graph: GraphProto, products: Sequence[NodeProto], ranges: Mapping[str, Range] | None, limit: int
) -> None:
    outputs = {node.output[0] for node in products}  # not their names: in files of other tools, nodes may have none
    weights = {tensor.name: tensor for tensor in graph.initializer}
    quantized: dict[str, list[str]] = {}
    nodes: list[NodeProto] = []
    for node in graph.node:
        if outputs.isdisjoint(node.output):
            nodes.append(node)
            continue
        source = node.input[0]
        if source not in quantized:
            quantized[source] = [f"{source}_{part}" for part in ("uint8", "scale", "zero_point")]
            nodes.append(_quantizer(graph, source, quantized[source], ranges))
        nodes += _integer_product(graph, node, quantized[source], weights[node.input[1]], limit)
    replace_nodes(graph, nodes)
    _remove_unused(graph)


def _quantize_rows(graph: GraphProto, products: Sequence[NodeProto], limit: int) -> None:
    """Replace MatMul nodes by products with a scale per row: y(t, n) = r(t) s(n) sum over k of (q(t, k) - z) w(k, n).

    r(t) is the smallest scale with which the largest value of row t and `GELU_MINIMUM` both fit into a byte.
    """
    if not products:
        return
    outputs = {node.output[0] for node in products}
    weights = {tensor.name: tensor for tensor in graph.initializer}
    above = np.float32(1 / (MAX_UINT8 - GELU_ZERO_POINT))
    least = np.float32(-GELU_MINIMUM / GELU_ZERO_POINT)
    constants = {
        "rows/per_value": above,
        "rows/least": least,
        "rows/zero_point": np.uint8(GELU_ZERO_POINT),
        "rows/one": np.float32(1),
        "rows/flat": np.array([-1]),
    }
    graph.initializer.extend(numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items())
    nodes: list[NodeProto] = []
    for node in graph.node:
        if outputs.isdisjoint(node.output):
            nodes.append(node)
            continue
        source, output = node.input[0], node.output[0]
        names = {part: f"{output}_rows_{part}" for part in ROW_PARTS}
        values, scales = _store_int8(graph, weights[node.input[1]], limit)
        nodes += [
            helper.make_node("ReduceMax", [source], [names["top"]], axes=[-1], keepdims=1),
            helper.make_node("Mul", [names["top"], "rows/per_value"], [names["wanted"]]),
            helper.make_node("Max", [names["wanted"], "rows/least"], [names["scale"]]),
            helper.make_node("Reshape", [names["scale"], "rows/flat"], [names["flat"]]),
            helper.make_node("Shape", [names["flat"]], [names["shape"]]),
            helper.make_node("Expand", ["rows/zero_point", names["shape"]], [names["zero"]]),
            helper.make_node("QuantizeLinear", [source, names["flat"], names["zero"]], [names["q"]], axis=1),
            helper.make_node(
                "MatMulIntegerToFloat",
                [names["q"], values, "rows/one", scales, "rows/zero_point"],
                [names["y"]],
                name=node.name and f"{node.name}_int8",
                domain="com.microsoft",
            ),
            # Not a Mul by the scale: ONNX Runtime would take it for a part of the following GELU, and fuse neither.
            helper.make_node("Reciprocal", [names["scale"]], [names["per"]]),
            helper.make_node("Div", [names["y"], names["per"]], [output]),
        ]
    replace_nodes(graph, nodes)
    _remove_unused(graph)


def _quantizer(graph: GraphProto, source: str, outputs: Sequence[str], ranges: Mapping[str, Range] | None) -> NodeProto:
    """The node that quantizes an activation. outputs: names of the bytes, their scale and their zero point."""
    if ranges is None:
        return helper.make_node("DynamicQuantizeLinear", [source], outputs)
    if source not in ranges:
        raise ValueError(f"there is no range for {source}")
    for value, name in zip(quantize_range(ranges[source]), outputs[1:], strict=True):
        graph.initializer.append(numpy_helper.from_array(np.asarray(value), name))
    return helper.make_node("QuantizeLinear", [source, *outputs[1:]], outputs[:1])


def _integer_product(
    graph: GraphProto, node: NodeProto, activations: Sequence[str], weight: TensorProto, limit: int
) -> list[NodeProto]:
    """The nodes that replace one MatMul. Adds its int8 weights and their scales to the graph."""
    values, scales = _store_int8(graph, weight, limit)
    output, (bytes_, scale_of, zero_point) = node.output[0], activations
    return [
        helper.make_node(
            "MatMulInteger", [bytes_, values, zero_point], [f"{output}_int32"], name=node.name and f"{node.name}_int8"
        ),
        helper.make_node("Cast", [f"{output}_int32"], [f"{output}_float"], to=TensorProto.FLOAT),
        helper.make_node("Mul", [scale_of, scales], [f"{output}_scale_of_int32"]),
        helper.make_node("Mul", [f"{output}_float", f"{output}_scale_of_int32"], [output]),
    ]


def _store_int8(graph: GraphProto, weight: TensorProto, limit: int) -> tuple[str, str]:
    """Add int8 weights and their scales to the graph, unless it has them already. Returns their names."""
    values, scales = f"{weight.name}_int8", f"{weight.name}_scale"
    if not any(tensor.name == values for tensor in graph.initializer):
        rounded, scale = quantize_weight(numpy_helper.to_array(weight), limit)
        graph.initializer.extend([numpy_helper.from_array(rounded, values), numpy_helper.from_array(scale, scales)])
    return values, scales


def _remove_unused(graph: GraphProto) -> None:
    used = {name for node in graph.node for name in reads_of(node)}
    for tensor in [tensor for tensor in graph.initializer if tensor.name not in used]:
        graph.initializer.remove(tensor)
