"""ONNX files: traced from PyTorch, stored in few bytes, and looked into."""

import math
import tempfile
import warnings
from collections.abc import Mapping
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

OPSET = 17
"""The first with LayerNormalization. GELU, which it spells out, is put together again by every runtime."""
EXAMPLE_LENGTHS = (16_000, 9_000)
"""Lengths, in samples, of the clips that the exporter traces."""
MIN_STORED_ELEMENTS = 1024
"""Smaller initializers are not worth a Cast node."""
MIN_STORED_BYTES = 1024
"""Smaller initializers stay in the model when the others go to a file beside it."""
MOST_WEIGHTS_BYTES = 2_000_000_000
"""In one file, which protobuf does not write from 2 GiB on; what is left of that is for the nodes."""
HALF_ROUNDING = 2.0**-11
"""Largest relative error of rounding a number to float16, whose significand has 11 bits."""


def trace(
    module: nn.Module,
    example: tuple[Tensor, ...],
    inputs: Mapping[str, Mapping[int, str]],
    outputs: Mapping[str, Mapping[int, str]],
    prefix: str = "",
) -> ModelProto:
    """Export a module by tracing it on an example.

    inputs, outputs: names and, by number, what those of their dimensions are called that vary. prefix: what the names
    of all that lies between them begin with, so that graphs can be joined.
    """
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what it cannot fold, and of what it takes for constant: the proofs tell
        path = Path(folder) / "model.onnx"
        torch.onnx.export(
            module.eval(),
            example,
            str(path),  # of a Path it would not learn the folder, where it puts weights of more than 2 GB
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
    """Export a module of `input_values` (batch, samples) float32 and `lengths` (batch,) int64 -> `logits` (batch,
    frames, vocabulary); the graph takes any numbers of these.
    """
    lengths = torch.tensor(EXAMPLE_LENGTHS)
    return trace(
        module,
        (torch.randn(len(lengths), int(lengths.max())), lengths),
        {"input_values": {0: "batch", 1: "samples"}, LENGTHS_INPUT: {0: "batch"}},
        {"logits": {0: "batch", 1: "frames"}},
    )


def stock_export(model: PreTrainedModel) -> ModelProto:
    """A CTC model as optimum exports it: `input_values` (batch, samples) -> `logits` (batch, frames, vocabulary)."""
    with tempfile.TemporaryDirectory() as folder:
        onnx_export_from_model(model.eval(), folder, task="automatic-speech-recognition", do_validation=False)
        return onnx.load(Path(folder) / "model.onnx")


def save(model: ModelProto, path: Path) -> None:
    """Write a model. Weights that are too many for one file go to `model.onnx_data` beside `model.onnx`, as optimum
    does it, and are taken out of the model.

    Those in the bodies of loops stay in `model.onnx`: ONNX Runtime refuses weights of a body in a file that is a
    symbolic link or has several hard links, as in the hub's cache or a Kubernetes volume.
    """
    weights = path.with_name(f"{path.name}_data")
    weights.unlink(missing_ok=True)  # of what was there before
    if weights_bytes(model) > MOST_WEIGHTS_BYTES:
        for tensor in model.graph.initializer:
            if len(tensor.raw_data) >= MIN_STORED_BYTES:
                set_external_data(tensor, weights.name)
    onnx.save(model, path)


def weights_bytes(model: ModelProto) -> int:
    """Size of all initializers, those in loops and branches included."""
    return sum(
        math.prod(tensor.dims) * helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize
        for graph in graphs_of(model.graph)
        for tensor in graph.initializer
    )


def remove_weight_norm(model: PreTrainedModel) -> None:
    """Replace every parametrized weight by its value.

    The positional convolution of wav2vec2 is weight-normed; exported as it is, its weight would be computed anew in
    every run, and the quantizer could not read it.
    """
    for module in list(model.modules()):
        if parametrize.is_parametrized(module):
            for name in list(module.parametrizations):  # type: ignore[arg-type]  # a ModuleDict, once parametrized
                parametrize.remove_parametrizations(module, name)


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


def restore_halves(graph: GraphProto) -> None:
    """Undo `store_compactly` and `store_rounded`, in place: what is stored in float16 and cast becomes float32."""
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
    """tolerance: largest change of an initializer that is stored in half, relative to it, both as Euclidean norms."""
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
    """A graph and the bodies of its loops and branches, inner ones first."""
    bodies = [
        attribute.g for node in graph.node for attribute in node.attribute if attribute.type == AttributeProto.GRAPH
    ]
    return [*(inner for body in bodies for inner in graphs_of(body)), graph]


def reads_of(node: NodeProto) -> set[str]:
    """Names of the tensors that a node reads; those that its bodies read, if it is a loop or a branch, included."""
    inside = {
        name
        for attribute in node.attribute
        if attribute.type == AttributeProto.GRAPH
        for graph in graphs_of(attribute.g)
        for name in (*(name for inner in graph.node for name in inner.input), *(value.name for value in graph.output))
    }
    return {*node.input, *inside} - {""}  # an input that is left out has no name


def count_operators(path: Path) -> dict[str, int]:
    """Operator name -> number of nodes, those in loops and branches included."""
    counts: dict[str, int] = {}
    for graph in graphs_of(onnx.load(path, load_external_data=False).graph):
        for node in graph.node:
            counts[node.op_type] = counts.get(node.op_type, 0) + 1
    return counts
