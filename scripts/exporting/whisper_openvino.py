"""INT8 files of Whisper for OpenVINO: weights in 8 bits, activations in float, written with ordinary operators.

The graphs for ONNX Runtime have its GroupQueryAttention, which OpenVINO computes as a chain of small operators: a step
of the decoder takes twice the time. Here, attention is the operator ScaledDotProductAttention, and the keys and values
of new tokens are appended to those so far. NNCF rounds the weights, with a scale for each output channel.

| graph | differs from `app.families.whisper.modules` |
|---|---|
| encoder | only in its attention |
| decoder | `present_key_0` has only the tokens so far, shape (hypotheses, heads, tokens, head size), not the capacity |
"""

import logging
import warnings
from collections.abc import Sequence
from pathlib import Path

import nncf
import openvino
import torch
from torch import Tensor, nn
from torch.nn import functional

from app.families.whisper.checkpoint import load_checkpoint
from app.families.whisper.graphs import DECODER, ENCODER, Shape, decoder_inputs, encoder_inputs, tensor_names
from app.families.whisper.modules import Decoder, DecoderLayer, Encoder, EncoderLayer
from app.families.whisper.operators import join_heads, split_heads
from app.runtimes.graph import Tensor as InputType
from app.runtimes.registry import openvino_int8_file
from scripts.exporting.whisper_graphs import EXAMPLE_FRAMES, EXAMPLE_TOKENS

CAPACITY = 2 * EXAMPLE_TOKENS
"""Tokens for which the caches of the example have room."""


def make_whisper_openvino_int8(checkpoint: Path, folder: Path, shape: Shape) -> dict[str, int]:
    """Write `encoder_openvino_int8.xml`, `decoder_openvino_int8.xml` and their `.bin` files to a folder.

    shape: of the model. Returns the number of tensors of weights in INT8, by graph. Raises the errors of
    `load_checkpoint`.
    """
    logging.getLogger("nncf").setLevel(logging.ERROR)  # its own function would change the handlers of all loggers
    counts = {}
    for graph, model in convert(checkpoint, shape).items():
        compressed = nncf.compress_weights(model, mode=nncf.CompressWeightsMode.INT8_SYM)
        openvino.save_model(compressed, folder / openvino_int8_file(graph), compress_to_fp16=False)
        constants = (node for node in compressed.get_ops() if node.get_type_name() == "Constant")
        counts[graph] = sum(node.get_element_type() == openvino.Type.i8 for node in constants)
    return counts


def convert(checkpoint: Path, shape: Shape) -> dict[str, openvino.Model]:
    """The float32 graphs of a checkpoint for OpenVINO, by name."""
    model = load_checkpoint(checkpoint).requires_grad_(False)
    bins, heads, size = model.config.num_mel_bins, shape.heads, shape.head_size
    cross, past = tensor_names("cross", shape.layers), tensor_names("past", shape.layers)
    queries = tuple(f"query_{layer}" for layer in shape.query_layers)
    decoder_example = (
        torch.zeros(1, EXAMPLE_TOKENS, dtype=torch.int64),
        torch.tensor([EXAMPLE_TOKENS - 1]),
        torch.tensor([EXAMPLE_TOKENS], dtype=torch.int32),
        torch.tensor(EXAMPLE_TOKENS + 1, dtype=torch.int32),
        [torch.zeros(1, heads, CAPACITY, size) for _ in past],
        [torch.zeros(1, heads, EXAMPLE_FRAMES // 2, size + 1) for _ in cross],
    )
    return {
        ENCODER: _converted(
            OpenVinoEncoder(Encoder(model)).eval(),
            (
                torch.zeros(1, bins, EXAMPLE_FRAMES),
                torch.arange(EXAMPLE_FRAMES // 2),
                torch.zeros(EXAMPLE_FRAMES // 2),
            ),
            encoder_inputs(bins),
            cross,
        ),
        DECODER: _converted(
            OpenVinoDecoder(Decoder(model, shape.query_layers)).eval(),
            decoder_example,
            decoder_inputs(shape.layers),
            ("logits", *queries, *tensor_names("present", shape.layers)),
        ),
    }


def _converted(
    module: nn.Module, example: tuple[object, ...], inputs: dict[str, InputType], outputs: Sequence[str]
) -> openvino.Model:
    """Trace a module and name its inputs and outputs, in order. inputs: their types, by name."""
    root = logging.getLogger()
    level, filters = root.level, root.filters[:]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about torch.jit.trace, which OpenVINO calls
            model = openvino.convert_model(module, example_input=example)
    finally:  # OpenVINO changes the root logger, which hides the warnings of all others
        root.setLevel(level)
        root.filters = filters
    for value, (name, tensor) in zip(model.inputs, inputs.items(), strict=True):
        value.get_tensor().set_names({name})
        sizes = [-1 if size is None else size for size in tensor.shape]
        value.get_node().set_partial_shape(openvino.PartialShape(sizes))
    for value, name in zip(model.outputs, outputs, strict=True):
        value.get_tensor().set_names({name})
    model.validate_nodes_and_infer_types()
    return model


class OpenVinoEncoder(nn.Module):
    """Log-mel features -> keys and values of cross-attention, in the order of their names."""

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, input_features: Tensor, positions: Tensor, log_weights: Tensor) -> tuple[Tensor, ...]:
        """Shapes and types are in the docstring of `app.families.whisper.modules`."""
        encoder = self.encoder
        states = functional.gelu(encoder.first(input_features))
        states = functional.gelu(encoder.second(states)).transpose(1, 2)
        states = states + functional.embedding(positions, encoder.positions)
        for layer in encoder.layers:
            states = _encoder_layer(layer, states, log_weights)  # type: ignore[arg-type]
        states = encoder.norm(states)
        column = log_weights[:, None]
        return tuple(tensor for layer in encoder.cross for tensor in layer(states, column))


def _encoder_layer(layer: EncoderLayer, states: Tensor, log_weights: Tensor) -> Tensor:
    """The log-weights are a mask here, not an element of the keys, which OpenVINO wants as long as the values."""
    attention = layer.attention
    projected = attention.projections(layer.norm(states)).split(attention.widths, dim=-1)
    query, key, value = (split_heads(part, attention.heads) for part in projected)
    attended = functional.scaled_dot_product_attention(
        query[..., :-1], key[..., :-1], value, attn_mask=log_weights[None, None, None], scale=1.0
    )
    outputs: Tensor = layer.feed_forward(states + attention.output(join_heads(attended)))
    return outputs


class OpenVinoDecoder(nn.Module):
    """Tokens and caches -> logits, queries and caches, in the order of their names."""

    def __init__(self, decoder: Decoder) -> None:
        super().__init__()
        self.decoder = decoder

    def forward(
        self,
        input_ids: Tensor,
        wanted: Tensor,
        lengths: Tensor,
        length: Tensor,
        past: list[Tensor],
        cross: list[Tensor],
    ) -> tuple[Tensor, ...]:
        """Shapes and types are in the docstring of `app.families.whisper.modules`."""
        decoder, tokens = self.decoder, input_ids.shape[1]
        after = length.to(torch.int64)
        before = after - tokens
        # The lengths of all hypotheses are the same; without a use, the input would be left out.
        places = torch.arange(tokens) + before + 0 * lengths[0].to(torch.int64)
        visible = torch.arange(after)[None] <= places[:, None]  # type: ignore[call-overload]
        states = functional.embedding(input_ids, decoder.embedding) + functional.embedding(places, decoder.positions)
        queries: list[Tensor] = []
        present: list[Tensor] = []
        for index, layer in enumerate(decoder.layers):
            own = slice(2 * index, 2 * index + 2)
            states, query, updated = _decoder_layer(layer, states, past[own], cross[own], before, visible)  # type: ignore[arg-type]
            present += updated
            if index in decoder.query_layers:
                queries.append(query)
        head = decoder.embedding if decoder.head is None else decoder.head
        logits = functional.linear(decoder.norm(states.index_select(1, wanted)), head)
        return (logits, *queries, *present)


def _decoder_layer(
    layer: DecoderLayer,
    states: Tensor,
    past: Sequence[Tensor],
    cross: Sequence[Tensor],
    before: Tensor,
    visible: Tensor,
) -> tuple[Tensor, Tensor, list[Tensor]]:
    heads = layer.attention.heads
    query, key, value = (split_heads(part, heads) for part in layer.attention.project(layer.norm(states)))
    keys, values = (
        torch.cat([cache[:, :, :before], new], dim=2) for cache, new in zip(past, (key, value), strict=True)
    )
    attended = functional.scaled_dot_product_attention(query, keys, values, attn_mask=visible, scale=1.0)
    states = states + layer.attention.output(join_heads(attended))
    to_window = layer.cross
    flat = to_window.query(layer.cross_norm(states)).flatten(0, 1)[None]
    attended = functional.scaled_dot_product_attention(split_heads(flat, heads), cross[0], cross[1], scale=1.0)
    states = states + to_window.output(join_heads(attended)).view_as(states)
    return layer.feed_forward(states), flat, [keys, values]
