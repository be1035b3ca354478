"""The ONNX graphs of a Whisper model, in float32 and in INT8, for ONNX Runtime.

**Encoder in INT8.** Its products become dynamic INT8 as in `scripts.exporting.quantization`: a window has hundreds of
rows, and the work is in the products. The second product of each feed-forward part has a scale for each row: in a few
rows, some units are twenty times as large as anywhere else (massive activations: M. Sun et al., 2024, arXiv:2402.17762;
in whisper-base from the fourth layer on), and one scale for the window would leave few steps for all others.

**Decoder in INT8.** A step has one row, and the time goes into reading weights. They are stored in 8 bits with a scale
for each block of 32 values (`MatMulNBits`). Activations are rounded to 8 bits by block too, so a step does not depend
on the other rows of the call: the prompt, and the other hypotheses.

**Keys and values of cross-attention.** They are INT8 too, see `scripts.exporting.whisper_int8_window`.

**One embedding.** The decoder's embedding and its output layer are the same matrix, a third to a half of its weights.
Both read the same bytes: `GatherBlockQuantized` looks tokens up, `MatMulNBits` multiplies.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import chain
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from onnx import GraphProto, ModelProto, NodeProto, helper, numpy_helper
from torch import Tensor, nn
from transformers import WhisperForConditionalGeneration

from app.families.whisper.graphs import (
    DECODER,
    ENCODER,
    FEATURES_INPUT,
    LOG_WEIGHTS_INPUT,
    POSITIONS_INPUT,
    tensor_names,
)
from app.families.whisper.modules import Decoder, Encoder
from scripts.exporting.block_weights import INT8_ACTIVATIONS, in_blocks, product_by_block
from scripts.exporting.integer_ranges import BLOCK, LayerBits
from scripts.exporting.onnx_files import reads_of, replace_nodes, trace
from scripts.exporting.quantization import names_matching, products_of, quantize
from scripts.exporting.whisper_int8_window import Int8Decoder, Int8Encoder

EXAMPLE_FRAMES = 300
EXAMPLE_TOKENS = 3
"""Sizes of the example that the exporter traces; the graphs take any."""
CONTRACTIONS = "*/feed_forward/contract/*"
"""Names of the encoder's products whose activations come from a GELU."""
ZERO_POINT = 128
"""The byte that stands for zero, the default of `MatMulNBits` and `GatherBlockQuantized` for 8 bits."""
BITS: Final = 8


def trace_whisper(
    model: WhisperForConditionalGeneration, query_layers: Sequence[int], *, int8_window: bool = False
) -> dict[str, ModelProto]:
    """The float32 graphs of a model, by name.

    query_layers: layers whose queries are outputs. int8_window: the encoder outputs keys and values in INT8, as in
    `scripts.exporting.whisper_int8_window`.
    """
    config = model.config
    layers, heads = config.decoder_layers, config.decoder_attention_heads
    encoder = (Int8Encoder if int8_window else Encoder)(model)
    decoder = (Int8Decoder if int8_window else Decoder)(model, query_layers)
    features = {
        FEATURES_INPUT: torch.randn(1, config.num_mel_bins, EXAMPLE_FRAMES),
        POSITIONS_INPUT: torch.arange(EXAMPLE_FRAMES // 2),
        LOG_WEIGHTS_INPUT: torch.zeros(EXAMPLE_FRAMES // 2),
    }
    with torch.no_grad():
        window = encoder(**features)
    if int8_window:
        window[LOG_WEIGHTS_INPUT] = features[LOG_WEIGHTS_INPUT]
    cache = torch.zeros(1, heads, EXAMPLE_TOKENS, config.d_model // heads)
    inputs = {
        "input_ids": torch.zeros(1, EXAMPLE_TOKENS, dtype=torch.int64),
        "wanted": torch.tensor([EXAMPLE_TOKENS - 1]),
        "lengths": torch.tensor([EXAMPLE_TOKENS - 1], dtype=torch.int32),
        "length": torch.tensor(EXAMPLE_TOKENS, dtype=torch.int32),
        **{name: cache.clone() for name in tensor_names("past", layers)},
        **window,
    }
    queries = [f"query_{layer}" for layer in query_layers]
    axes = {
        FEATURES_INPUT: {2: "frames"},
        POSITIONS_INPUT: {0: "positions"},
        LOG_WEIGHTS_INPUT: {0: "positions"},
        "input_ids": {0: "hypotheses", 1: "tokens"},
        "wanted": {0: "wanted"},
        "lengths": {0: "hypotheses"},
        "logits": {0: "hypotheses", 1: "wanted"},
    }
    axes |= {name: {1: "tokens_of_all"} for name in queries}
    axes |= {name: {2: "positions"} for kind in ("cross", "updated") for name in tensor_names(kind, layers)}
    axes |= {
        name: {0: "hypotheses", 2: "capacity"} for kind in ("past", "present") for name in tensor_names(kind, layers)
    }
    return {
        ENCODER: _trace(encoder, features, encoder.names, axes),
        DECODER: _trace(decoder, inputs, ("logits", *queries, *chain(*decoder.updated)), axes),
    }


def _trace(
    module: nn.Module, inputs: Mapping[str, Tensor], outputs: Sequence[str], axes: Mapping[str, Mapping[int, str]]
) -> ModelProto:
    """Export a module. inputs: an example of each. axes: variable dimensions, by name of an input or output."""
    return trace(
        _ByPosition(module, inputs, outputs),
        tuple(inputs.values()),
        {name: axes.get(name, {}) for name in inputs},
        {name: axes.get(name, {}) for name in outputs},
    )


class _ByPosition(nn.Module):
    """A module that takes and returns tensors in order instead of by name, as the exporter wants it."""

    def __init__(self, module: nn.Module, inputs: Iterable[str], outputs: Iterable[str]) -> None:
        super().__init__()
        self.module = module
        self._inputs, self._outputs = tuple(inputs), tuple(outputs)

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        computed = self.module(**dict(zip(self._inputs, tensors, strict=True)))
        return tuple(computed[name] for name in self._outputs)


def quantize_encoder(model: ModelProto, keep: Collection[str] = (), bits: LayerBits = 7) -> int:
    """Quantize the products of an encoder, in place. Returns their number.

    keep: names of products that stay in float32. bits: of the weights; seven are exact on every CPU.
    """
    return quantize(model, keep, bits=bits, by_row=names_matching([model], [CONTRACTIONS]))


def quantize_decoder(model: ModelProto, keep: Collection[str] = ()) -> int:
    """Store the weights of a decoder in 8 bits, in place. Returns the number of quantized products.

    keep: names of products that stay in float32.
    """
    graph = model.graph
    weights = {tensor.name: tensor for tensor in graph.initializer}
    products = {node.output[0]: node for node in products_of(graph) if node.name not in keep}
    looked_up = {node.input[0] for node in graph.node if node.op_type == "Gather" and node.input[0] in weights}
    nodes: list[NodeProto] = []
    count = 0
    for node in graph.node:
        if node.output[0] in products:
            weight = numpy_helper.to_array(weights[node.input[1]]).T
            nodes.append(_product(graph, node, node.input[1], weight))
            count += 1
        elif node.op_type == "Gemm" and node.input[1] in looked_up and node.name not in keep:
            nodes.append(_product(graph, node, node.input[1], numpy_helper.to_array(weights[node.input[1]])))
            count += 1
        else:
            nodes.append(node)
    stored = {tensor.name for tensor in graph.initializer}
    nodes = [
        new
        for node in nodes
        for new in (
            _lookup(graph, node) if node.op_type == "Gather" and f"{node.input[0]}_blocks" in stored else [node]
        )
    ]
    replace_nodes(graph, nodes)
    used = {name for node in graph.node for name in reads_of(node)}
    for tensor in [tensor for tensor in graph.initializer if tensor.name not in used]:
        graph.initializer.remove(tensor)
    if not any(imported.domain == "com.microsoft" for imported in model.opset_import):
        model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    return count


def quantize_blocks(weight: NDArray[np.float32]) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Round a matrix, shape (outputs, inputs), to bytes with a scale for each block of `BLOCK` inputs.

    Returns bytes of shape (outputs, blocks, BLOCK) and scales of shape (outputs, blocks, 1), so that weight ~ scale *
    (byte - ZERO_POINT). A last block that is not full is filled with zeros; a block of zeros has the scale 1.
    """
    blocks = in_blocks(weight)
    scale = np.abs(blocks).max(axis=2, keepdims=True) / np.float32(ZERO_POINT - 1)
    scale[scale == 0] = 1
    return (np.rint(blocks / scale) + ZERO_POINT).astype(np.uint8), scale


def _product(graph: GraphProto, node: NodeProto, name: str, weight: NDArray[np.float32]) -> NodeProto:
    """The node that replaces a product with a weight, shape (outputs, inputs). Adds its blocks to the graph."""
    outputs, inputs = weight.shape
    if not any(tensor.name == f"{name}_blocks" for tensor in graph.initializer):
        blocks, scales = quantize_blocks(weight)
        graph.initializer.append(numpy_helper.from_array(blocks, f"{name}_blocks"))
        graph.initializer.append(numpy_helper.from_array(scales, f"{name}_scales"))
        graph.initializer.append(numpy_helper.from_array(scales[:, :, 0], f"{name}_scales_of_product"))
    names = f"{name}_blocks", f"{name}_scales_of_product"
    return product_by_block(node, *names, (outputs, inputs), BITS, INT8_ACTIVATIONS)


def _lookup(graph: GraphProto, node: NodeProto) -> list[NodeProto]:
    """The nodes that replace a lookup of rows in a matrix whose blocks are in the graph."""
    name, output = node.input[0], node.output[0]
    shape = f"{name}_row"
    if not any(tensor.name == shape for tensor in graph.initializer):
        width = next(tensor.dims[1] for tensor in graph.initializer if tensor.name == name)
        graph.initializer.append(numpy_helper.from_array(np.array([0, 0, width]), shape))
    return [
        helper.make_node(
            "GatherBlockQuantized",
            [f"{name}_blocks", node.input[1], f"{name}_scales"],
            [f"{output}_blocks"],
            name=node.name and f"{node.name}_int8",
            domain="com.microsoft",
            gather_axis=0,
            quantize_axis=2,
            bits=BITS,
            block_size=BLOCK,
        ),
        helper.make_node("Reshape", [f"{output}_blocks", shape], [output]),
    ]
