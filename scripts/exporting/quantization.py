"""INT8 for the matrix products of an ONNX model.

A product of activations with constant weights becomes

    DynamicQuantizeLinear -> MatMulInteger -> Cast -> Mul        (uint8 x int8 -> int32 -> float32)

which ONNX Runtime fuses into one kernel. Weights are signed, symmetric, with one scale per output channel: unsigned
activations with signed weights (U8S8) reach the VNNI and AMX instructions, unsigned weights do not. Activations take
their scale from what goes through in each run (dynamic), or from what went through for calibration clips (static,
with QuantizeLinear). Convolutions stay in float32, for INT8 ones (ConvInteger) are slower.

**Exact on every CPU.** Without VNNI, a CPU adds neighbouring products in 16 bits (VPMADDUBSW in AVX2 and AVX-512). With
8-bit weights that sum overflows and saturates, and the model says something else. With weights of at most
`EXACT_MAX_INT8` it never does, so every CPU gets the same integers. Eight bits are an option.

**By row.** One scale for a whole clip is set by its loudest moment, and little is left for a quiet one. Encoder layers
begin with a norm, which makes frames alike; the layers of the front end do not. There each row of a product, what one
frame is made of, can take a scale of its own, with which the result is multiplied again.

Where only data movement (Reshape, Slice, Concat, ...) lies between a tensor and a product, the tensor is quantized
before it is moved: bytes move four times as fast as floats, and what is moved twice is quantized once.
"""

import tempfile
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper
from onnxruntime import InferenceSession

from scripts.exporting.onnx_files import graphs_of, reads_of, save

MAX_UINT8, MAX_INT16 = 255, 32_767
WeightBits = Literal[7, 8]
EXACT_MAX_INT8 = MAX_INT16 // (2 * MAX_UINT8)
"""64: the largest weight whose products with two bytes, added, always fit in 16 bits (2 x 255 x 64 = 32,640)."""
LARGEST_WEIGHT: dict[WeightBits, int] = {7: EXACT_MAX_INT8, 8: 127}
"""By bits. Symmetric, so that a weight and its negative are equally far from zero."""
MOVES = frozenset(
    {"Concat", "Flatten", "Gather", "Identity", "Reshape", "Slice", "Split", "Squeeze", "Transpose", "Unsqueeze"}
)
"""Operators that move numbers without changing them, and take bytes as well as floats."""
GELU_MINIMUM = -0.17
"""No value of GELU is less (-0.16997 at -0.7518)."""
GELU_ZERO_POINT = 64
"""Of the 256 values of a byte so many are for what is below zero, when rows come from a GELU."""
ROW_PARTS = ("top", "wanted", "scale", "flat", "shape", "zero", "q", "y", "per")
QUANTIZERS = frozenset({"DynamicQuantizeLinear", "QuantizeLinear"})

Feed = Mapping[str, NDArray[Any]]
"""Inputs of a model, by name, for one calibration clip; maybe more than the model has."""


class Range(NamedTuple):
    """Least and greatest value of an activation."""

    low: float
    high: float


def products_of(graph: GraphProto) -> list[NodeProto]:
    """The MatMul nodes of one graph, without its subgraphs, that multiply activations with constant float weights."""
    weights = {tensor.name for tensor in graph.initializer if tensor.data_type == TensorProto.FLOAT}
    return [node for node in graph.node if node.op_type == "MatMul" and node.input[1] in weights]


def names_matching(model: ModelProto, patterns: Iterable[str]) -> set[str]:
    """Names of the products that match a pattern such as `*/head/*`. Raises ValueError if one matches nothing."""
    names = {node.name for graph in graphs_of(model.graph) for node in products_of(graph)}
    kept: set[str] = set()
    for pattern in patterns:
        matching = {name for name in names if fnmatchcase(name, pattern)}
        if not matching:
            raise ValueError(f"no product is called {pattern}; there are {', '.join(sorted(names))}")
        kept |= matching
    return kept


def quantize(
    model: ModelProto,
    keep: Collection[str] = (),
    ranges: Mapping[str, Range] | None = None,
    bits: WeightBits = 7,
    by_row: Collection[str] = (),
) -> int:
    """Quantize every product in place. Returns how many.

    keep: names of nodes that stay in float32. ranges: of the activations that go into products, by name, as
    `calibrate` finds them; without it they are found in each run. bits: of the weights; seven are exact on every CPU.
    by_row: names of nodes whose activations, (1, rows, inputs), come from a GELU and take a scale for each row.
    Raises ValueError if a range is missing.
    """
    count = 0
    limit = LARGEST_WEIGHT[bits]
    for graph in graphs_of(model.graph):
        products = [node for node in products_of(graph) if node.name not in keep]
        if products:
            _quantize_rows(graph, [node for node in products if node.name in by_row], limit)
            _quantize_products(graph, [node for node in products if node.name not in by_row], ranges, limit)
            _quantize_before_moves(graph)
            count += len(products)
    return count


def quantize_weight(weight: NDArray[np.float32], limit: int) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Round weights to int8 with one scale per output channel.

    weight: shape (..., inputs, outputs). Returns the int8 weights, -limit to limit, of that shape and the scales, shape
    (outputs,) or (..., 1, outputs), so that weight ~ int8 * scale. A channel of zeros has the scale 1.
    """
    scale = np.abs(weight).max(axis=-2, keepdims=weight.ndim > 2) / np.float32(limit)
    scale[scale == 0] = 1
    return np.rint(weight / scale).clip(-limit, limit).astype(np.int8), scale


def quantize_range(values: Range) -> tuple[np.float32, np.uint8]:
    """Scale and zero point so that uint8 reaches from `low` to `high`, zero included: x ~ scale * (uint8 - zero point).

    As in ONNX's DynamicQuantizeLinear.
    """
    low, high = min(values.low, 0.0), max(values.high, 0.0)
    scale = np.float32((high - low) / MAX_UINT8) or np.float32(1)
    return scale, np.uint8(np.clip(np.rint(-low / scale), 0, MAX_UINT8))


def calibrate(model: ModelProto, feeds: Iterable[Feed]) -> dict[str, Range]:
    """The range of each activation that goes into a product, over all feeds, by name. Not of products in subgraphs.

    Raises ValueError if there are no feeds.
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
    """Make MatMul, and Add for the bias, of each Gemm with constant float weights that neither scales nor transposes
    its activations, in place: so are linear layers exported whose input has two dimensions."""
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
        _replace_nodes(graph, nodes)


def _quantize_products(
    graph: GraphProto, products: Sequence[NodeProto], ranges: Mapping[str, Range] | None, limit: int
) -> None:
    outputs = {node.output[0] for node in products}  # nodes need no name, and in files of other tools have none
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
    _replace_nodes(graph, nodes)
    _remove_unused(graph)


def _quantize_rows(graph: GraphProto, products: Sequence[NodeProto], limit: int) -> None:
    """Put products by row in the place of MatMul nodes: y(t, n) = r(t) s(n) sum over k of (q(t, k) - z) w(k, n).

    r(t) is the least scale with which neither the greatest value of row t nor `GELU_MINIMUM` leaves the byte.
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
        names = {
            part: f"{output}_rows_{part}"
            for part in ("top", "wanted", "scale", "flat", "shape", "zero", "q", "y", "per")
        }
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
            # Not a Mul by the scale: ONNX Runtime would take it for part of the GELU that follows, and fuse neither.
            helper.make_node("Reciprocal", [names["scale"]], [names["per"]]),
            helper.make_node("Div", [names["y"], names["per"]], [output]),
        ]
    _replace_nodes(graph, nodes)
    _remove_unused(graph)


def _quantizer(graph: GraphProto, source: str, outputs: Sequence[str], ranges: Mapping[str, Range] | None) -> NodeProto:
    """The node that makes bytes of an activation. outputs: names of the bytes, their scale and their zero point."""
    if ranges is None:
        return helper.make_node("DynamicQuantizeLinear", [source], outputs)
    if source not in ranges:
        raise ValueError(f"no range is known of {source}")
    for value, name in zip(quantize_range(ranges[source]), outputs[1:], strict=True):
        graph.initializer.append(numpy_helper.from_array(np.asarray(value), name))
    return helper.make_node("QuantizeLinear", [source, *outputs[1:]], outputs[:1])


def _integer_product(
    graph: GraphProto, node: NodeProto, activations: Sequence[str], weight: TensorProto, limit: int
) -> list[NodeProto]:
    """The nodes that take the place of one MatMul; its int8 weights and their scales are added to the graph."""
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
    """Add the int8 weights and their scales to the graph, if they are not there; gives their names."""
    values, scales = f"{weight.name}_int8", f"{weight.name}_scale"
    if not any(tensor.name == values for tensor in graph.initializer):
        rounded, scale = quantize_weight(numpy_helper.to_array(weight), limit)
        graph.initializer.extend([numpy_helper.from_array(rounded, values), numpy_helper.from_array(scale, scales)])
    return values, scales


def _remove_unused(graph: GraphProto) -> None:
    used = {name for node in graph.node for name in reads_of(node)}
    for tensor in [tensor for tensor in graph.initializer if tensor.name not in used]:
        graph.initializer.remove(tensor)


def _quantize_before_moves(graph: GraphProto) -> None:
    """Move each quantizing node up through data movement.

    Only if all that the moves join comes from one tensor, and nothing else reads what they give.
    """
    given = {value.name for value in graph.output}
    for node in [node for node in graph.node if node.op_type in QUANTIZERS]:
        makers = {output: maker for maker in graph.node for output in maker.output}
        readers = defaultdict(list)
        for reader in graph.node:
            for name in reads_of(reader):
                readers[name].append(reader)
        moves, sources = _moves_before(node.input[0], makers)
        inside = {id(move) for move in moves} | {id(node)}
        between = {name for move in moves for name in move.output}
        outside = {id(reader) for name in between for reader in readers[name]} - inside
        if not moves or len(sources) != 1 or outside or between & given:
            continue
        (source,) = sources
        moved, last = node.input[0], node.output[0]
        first = f"{last}_before_moves"
        node.input[0], node.output[0] = source, first
        for move in moves:
            move.input[:] = [first if name == source else name for name in move.input]
            move.output[:] = [last if name == moved else name for name in move.output]
    _replace_nodes(graph, _sorted(graph))


def _moves_before(name: str, makers: Mapping[str, NodeProto]) -> tuple[list[NodeProto], set[str]]:
    """The data movement that ends in the tensor `name`, and the tensors that it begins with."""
    moves: list[NodeProto] = []
    sources: set[str] = set()
    names = [name]
    while names:
        name = names.pop()
        maker = makers.get(name)
        if maker is None or maker.op_type not in MOVES:
            sources.add(name)
        elif not any(maker is move for move in moves):
            moves.append(maker)
            names += maker.input if maker.op_type == "Concat" else maker.input[:1]
    return moves, sources


def _sorted(graph: GraphProto) -> list[NodeProto]:
    """The nodes in an order in which each comes after what it reads."""
    waiting = list(graph.node)
    missing = {name for node in waiting for name in node.output if name}
    ordered: list[NodeProto] = []
    while waiting:
        later = []
        for node in waiting:
            if missing.isdisjoint(reads_of(node)):
                ordered.append(node)
                missing.difference_update(node.output)
            else:
                later.append(node)
        waiting = later
    return ordered


def _replace_nodes(graph: GraphProto, nodes: Iterable[NodeProto]) -> None:
    copies = [NodeProto.FromString(node.SerializeToString()) for node in nodes]  # the graph's own die with its list
    del graph.node[:]
    del graph.value_info[:]  # types and shapes that were found before
    graph.node.extend(copies)
