"""Move the quantization of activations before operators that only move data.

Bytes move four times as fast as floats, and a tensor that is moved twice is quantized once.
"""

from collections import defaultdict
from collections.abc import Mapping

from onnx import GraphProto, NodeProto

from scripts.exporting.onnx_files import reads_of, replace_nodes

MOVES = frozenset(
    {"Concat", "Flatten", "Gather", "Identity", "Reshape", "Slice", "Split", "Squeeze", "Transpose", "Unsqueeze"}
)
"""Operators that move values without changing them, and accept bytes as well as floats."""
QUANTIZERS = frozenset({"DynamicQuantizeLinear", "QuantizeLinear"})


def quantize_before_moves(graph: GraphProto) -> None:
    """Move each quantizing node before the data movement in front of it, in place.

    A node is moved only if all data comes from a single tensor, and no other node reads an intermediate tensor.
    """
    outputs = {value.name for value in graph.output}
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
        if not moves or len(sources) != 1 or outside or between & outputs:
            continue
        (source,) = sources
        moved, last = node.input[0], node.output[0]
        first = f"{last}_before_moves"
        node.input[0], node.output[0] = source, first
        for move in moves:
            move.input[:] = [first if name == source else name for name in move.input]
            move.output[:] = [last if name == moved else name for name in move.output]
    replace_nodes(graph, _sorted(graph))


def _moves_before(name: str, makers: Mapping[str, NodeProto]) -> tuple[list[NodeProto], set[str]]:
    """The nodes of the data movement that produces the tensor `name`, and the tensors that it starts from."""
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
    """The nodes in topological order."""
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
