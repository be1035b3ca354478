"""ONNX files: trace them from PyTorch, store them compactly, and inspect their graphs."""

import math
import shutil
import tempfile
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, compose, helper, numpy_helper
from onnx.external_data_helper import set_external_data
from optimum.exporters.onnx import onnx_export_from_model
from torch import Tensor, nn
from torch.nn.utils import parametrize
from transformers import PreTrainedModel

from app.families.ctc.graph import LENGTHS_INPUT
from scripts.common.model_files import model_files

OPSET = 17
"""The first with LayerNormalization. It has no Gelu operator, but every runtime fuses the nodes of a GELU."""
EXAMPLE_LENGTHS = (16_000, 9_000)
"""Lengths of the clips that the exporter traces, in samples."""
MIN_STORED_ELEMENTS = 1024
"""Smaller initializers are not worth a Cast node."""
MIN_STORED_BYTES = 1024
"""Smaller initializers stay in the model file when the others are stored externally."""
MOST_WEIGHTS_BYTES = 2_000_000_000
"""Most weights in one file. Protobuf cannot write 2 GiB or more, and the nodes need some space too."""
HALF_ROUNDING = 2.0**-11
"""Largest relative error of rounding to float16, whose significand has 11 bits."""


def trace(
    module: nn.Module,
    example: tuple[Tensor, ...],
    inputs: Mapping[str, Mapping[int, str]],
    outputs: Mapping[str, Mapping[int, str]],
    prefix: str = "",
) -> ModelProto:
    """Export a module by tracing it on an example.

    inputs, outputs: name -> the variable dimensions, as index -> name. prefix: of the names of all nodes, initializers
    and intermediate tensors, so that graphs can be joined.
    """
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about constants and folding; the proofs check the result
        path = Path(folder) / "model.onnx"
        torch.onnx.export(
            module.eval(),
            example,
            str(path),  # with a Path, it would not find the folder for external weights of more than 2 GB
            input_names=list(inputs),
            output_names=list(outputs),
            dynamic_axes={name: dict(axes) for name, axes in {**inputs, **outputs}.items()},
            opset_version=OPSET,
            dynamo=False,
        )
        model = onnx.load(path)
    if prefix:
        compose.add_prefix(model, prefix, rename_inputs=False, rename_outputs=False, inplace=True)
    return model


def trace_with_lengths(module: nn.Module) -> ModelProto:
    """Export a module that takes `input_values` (batch, samples) float32 and `lengths` (batch,) int64, and returns
    `logits` (batch, frames, vocabulary) float32. All dimensions but the vocabulary are variable.
    """
    lengths = torch.tensor(EXAMPLE_LENGTHS)
    return trace(
        module,
        (torch.randn(len(lengths), int(lengths.max())), lengths),
        {"input_values": {0: "batch", 1: "samples"}, LENGTHS_INPUT: {0: "batch"}},
        {"logits": {0: "batch", 1: "frames"}},
    )


def stock_export(model: PreTrainedModel) -> ModelProto:
    """Export a CTC model with optimum: `input_values` (batch, samples) -> `logits` (batch, frames, vocabulary)."""
    with tempfile.TemporaryDirectory() as folder:
        onnx_export_from_model(model.eval(), folder, task="automatic-speech-recognition", do_validation=False)
        return onnx.load(Path(folder) / "model.onnx")


def save(model: ModelProto, path: Path) -> None:
    """Write a model. If its weights are too large for one file, they move from the model to `model.onnx_data`.

    That is the name that optimum uses. Weights in the bodies of loops stay in `model.onnx`: ONNX Runtime refuses
    external weights of a body if their file is a symbolic link or has several hard links, as in the hub's cache or a
    Kubernetes volume.
    """
    weights = path.with_name(f"{path.name}_data")
    weights.unlink(missing_ok=True)  # from an earlier export
    if weights_bytes(model) > MOST_WEIGHTS_BYTES:
        for tensor in model.graph.initializer:
            if len(tensor.raw_data) >= MIN_STORED_BYTES:
                set_external_data(tensor, weights.name)
    onnx.save(model, path)
    share_mode(path)


def share_mode(path: Path) -> None:
    """Let everyone who may read a model read its external weights.

    onnx writes them for their owner only, and a service may run as someone else.
    """
    for weights in model_files(path)[1:]:
        shutil.copymode(path, weights)


def weights_bytes(model: ModelProto) -> int:
    """Size of all initializers in bytes, those in loops and branches included."""
    return sum(
        math.prod(tensor.dims) * helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize
        for graph in graphs_of(model.graph)
        for tensor in graph.initializer
    )


def remove_weight_norm(model: PreTrainedModel) -> None:
    """Replace every parametrized weight by its value.

    The positional convolution of wav2vec2 has weight norm. In an export, every run would compute its weight again, and
    the quantizer could not read it.
    """
    for module in list(model.modules()):
        if parametrize.is_parametrized(module):
            for name in list(module.parametrizations):  # type: ignore[arg-type]  # a ModuleDict, once parametrized
                parametrize.remove_parametrizations(module, name)


def store_compactly(path: Path) -> None:
    """Store float32 weights as float16, followed by a Cast, if float16 represents them exactly. Changes the file.

    This is the case for every weight of a checkpoint that was published in half precision. The file gets half as large
    and computes the same bits. ONNX Runtime folds the Cast when it loads the model.
    """
    _store_half(path, tolerance=0.0)


def store_rounded(path: Path) -> None:
    """Store all float32 weights as float16, followed by a Cast. Changes the file, which gets half as large.

    The model still computes in float32. Weights that float16 cannot represent stay float32: those above 65,504, and
    tensors whose values are so small that they would be lost.
    """
    _store_half(path, tolerance=HALF_ROUNDING)


def restore_halves(graph: GraphProto) -> None:
    """Undo `store_compactly` and `store_rounded`: weights that are stored as float16 become float32, in place."""
    for part in graphs_of(graph):
        _restore_halves(part)


def _restore_halves(graph: GraphProto) -> None:
    halves = {tensor.name: tensor for tensor in graph.initializer if tensor.data_type == onnx.TensorProto.FLOAT16}
    for node in [node for node in graph.node if node.op_type == "Cast" and node.input[0] in halves]:
        if helper.get_node_attr_value(node, "to") == onnx.TensorProto.FLOAT:
            values = numpy_helper.to_array(halves[node.input[0]]).astype(np.float32)
            graph.initializer.append(numpy_helper.from_array(values, node.output[0]))
            graph.node.remove(node)
    read = {name for node in graph.node for name in reads_of(node)}
    for name in halves.keys() - read:
        graph.initializer.remove(halves[name])


def _store_half(path: Path, tolerance: float) -> None:
    """tolerance: largest Euclidean norm of the rounding error of an initializer, relative to the norm of its values."""
    proto = onnx.load(path)
    for graph in graphs_of(proto.graph):
        _store_half_of(graph, tolerance)
    save(proto, path)


def _store_half_of(graph: GraphProto, tolerance: float) -> None:
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


def graphs_of(graph: GraphProto) -> list[GraphProto]:
    """A graph and the bodies of its loops and branches, innermost first."""
    bodies = [
        attribute.g for node in graph.node for attribute in node.attribute if attribute.type == AttributeProto.GRAPH
    ]
    return [*(inner for body in bodies for inner in graphs_of(body)), graph]


def reads_of(node: NodeProto) -> set[str]:
    """Names of the tensors that a node reads. For a loop or a branch, those that its bodies read are included."""
    inside = {
        name
        for attribute in node.attribute
        if attribute.type == AttributeProto.GRAPH
        for graph in graphs_of(attribute.g)
        for name in (*(name for inner in graph.node for name in inner.input), *(value.name for value in graph.output))
    }
    return {*node.input, *inside} - {""}  # an omitted optional input has an empty name


def count_operators(path: Path) -> dict[str, int]:
    """Operator type -> number of nodes, those in loops and branches included."""
    counts: dict[str, int] = {}
    for graph in graphs_of(onnx.load(path, load_external_data=False).graph):
        for node in graph.node:
            counts[node.op_type] = counts.get(node.op_type, 0) + 1
    return counts


def replace_nodes(graph: GraphProto, nodes: Iterable[NodeProto]) -> None:
    """Replace the nodes of a graph, and drop the types and shapes that were inferred for the old ones."""
    copies = [NodeProto.FromString(node.SerializeToString()) for node in nodes]  # the next line frees the graph's own
    del graph.node[:]
    del graph.value_info[:]
    graph.node.extend(copies)
