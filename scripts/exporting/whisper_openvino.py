"""INT8 files of Whisper for OpenVINO: weights in 8 bits, activations in float, written with ordinary operators.

The graphs for ONNX Runtime have its GroupQueryAttention, which OpenVINO computes as a chain of small operators: a step
of the decoder takes twice the time. Here, attention is the operator ScaledDotProductAttention, and the decoder keeps
the keys and values of the tokens so far itself, as states: OpenVINO selects and appends to a state, and attends to it,
in one operator and without a copy. NNCF rounds the weights, with a scale for each output channel.

| graph | differs from `app.families.whisper.modules` |
|---|---|
| encoder | only in its attention |
| decoder | no caches and lengths; `order` (hypotheses,), int32: the old hypothesis that each hypothesis continues |
"""

import logging
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import nncf
import openvino
import openvino.opset15 as opset
import torch
from openvino.passes import MakeStateful, Manager
from torch import Tensor, nn
from torch.nn import functional

from app.families.whisper.checkpoint import load_checkpoint
from app.families.whisper.graphs import DECODER, ENCODER, STATEFUL_DECODER_INPUTS, Shape, encoder_inputs, tensor_names
from app.families.whisper.modules import Decoder, DecoderLayer, Encoder, EncoderLayer
from app.families.whisper.operators import join_heads, split_heads
from app.runtimes.graph import Tensor as InputType
from app.runtimes.registry import openvino_int8_file
from scripts.exporting.whisper_graphs import EXAMPLE_FRAMES, EXAMPLE_TOKENS


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
    cross, past, present = (tensor_names(kind, shape.layers) for kind in ("cross", "past", "present"))
    queries = tuple(f"query_{layer}" for layer in shape.query_layers)
    decoder_example = (
        torch.zeros(1, EXAMPLE_TOKENS, dtype=torch.int64),
        torch.tensor([EXAMPLE_TOKENS - 1]),
        torch.zeros(1, dtype=torch.int32),
        [torch.zeros(1, heads, EXAMPLE_TOKENS, size) for _ in past],
        [torch.zeros(1, heads, EXAMPLE_FRAMES // 2, size + 1) for _ in cross],
    )
    tokens = {name: InputType("float32", (None, heads, None, size)) for name in past}
    window = {name: InputType("float32", (1, heads, None, size + 1)) for name in cross}
    decoder = _converted(
        OpenVinoDecoder(Decoder(model, shape.query_layers)).eval(),
        decoder_example,
        STATEFUL_DECODER_INPUTS | tokens | window,
        ("logits", *queries, *present),
    )
    _keep_states(decoder, dict(zip(past, present, strict=True)))
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
        DECODER: decoder,
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


def _keep_states(model: openvino.Model, states: dict[str, str]) -> None:
    """Make states of the inputs and outputs of a decoder. states: name of the input -> name of the output.

    A state begins empty, for as many hypotheses as `input_ids` has.
    """
    pairs = [(model.input(name).get_node(), model.output(output).get_node()) for name, output in states.items()]
    passes = Manager()
    passes.register_pass(MakeStateful(pairs))
    passes.run_passes(model)
    hypotheses = opset.gather(opset.shape_of(model.input("input_ids"), "i64"), opset.constant([0]), opset.constant(0))
    for node in model.get_ops():
        if node.get_type_name() == "ReadValue":
            _, heads, _, size = node.get_output_partial_shape(0)
            sizes = opset.constant([heads.get_length(), 0, size.get_length()])
            empty = opset.broadcast(opset.constant(0.0, openvino.Type.f32), opset.concat([hypotheses, sizes], 0))
            node.set_arguments([empty])
    model.validate_nodes_and_infer_types()


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
        for layer in cast(Sequence[EncoderLayer], encoder.layers):
            states = _encoder_layer(layer, states, log_weights)
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
    """Tokens and the keys and values so far -> logits, queries, and the keys and values with the new ones."""

    def __init__(self, decoder: Decoder) -> None:
        super().__init__()
        self.decoder = decoder

    def forward(
        self, input_ids: Tensor, wanted: Tensor, order: Tensor, past: list[Tensor], cross: list[Tensor]
    ) -> tuple[Tensor, ...]:
        """past: shape (hypotheses, heads, tokens so far, head size). Others: `app.families.whisper.modules`."""
        decoder, tokens = self.decoder, input_ids.shape[1]
        before = past[0].shape[2]
        places = torch.arange(tokens) + before
        visible = torch.arange(before + tokens)[None] <= places[:, None]
        states = functional.embedding(input_ids, decoder.embedding) + functional.embedding(places, decoder.positions)
        queries: list[Tensor] = []
        present: list[Tensor] = []
        for index, layer in enumerate(cast(Sequence[DecoderLayer], decoder.layers)):
            own = slice(2 * index, 2 * index + 2)
            states, query, updated = _decoder_layer(layer, states, order, past[own], cross[own], visible)
            present += updated
            if index in decoder.query_layers:
                queries.append(query)
        head = decoder.embedding if decoder.head is None else decoder.head
        logits = functional.linear(decoder.norm(states.index_select(1, wanted)), head)
        return (logits, *queries, *present)


def _decoder_layer(
    layer: DecoderLayer,
    states: Tensor,
    order: Tensor,
    past: Sequence[Tensor],
    cross: Sequence[Tensor],
    visible: Tensor,
) -> tuple[Tensor, Tensor, list[Tensor]]:
    heads = layer.attention.heads
    query, key, value = (split_heads(part, heads) for part in layer.attention.project(layer.norm(states)))
    keys, values = (
        torch.cat([so_far.index_select(0, order), new], dim=2) for so_far, new in zip(past, (key, value), strict=True)
    )
    attended = functional.scaled_dot_product_attention(query, keys, values, attn_mask=visible, scale=1.0)
    states = states + layer.attention.output(join_heads(attended))
    to_window = layer.cross
    flat = to_window.query(layer.cross_norm(states)).flatten(0, 1)[None]
    attended = functional.scaled_dot_product_attention(split_heads(flat, heads), cross[0], cross[1], scale=1.0)
    states = states + to_window.output(join_heads(attended)).view_as(states)
    return layer.feed_forward(states), flat, [keys, values]
