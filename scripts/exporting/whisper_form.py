"""Whisper as Dikte exports it: an encoder and one decoder.

| graph | inputs | outputs |
|---|---|---|
| encoder | `input_features` (1, mel bins, frames), any even number of frames | `cross_key_0`, `cross_value_0`, ... |
| decoder | `input_ids` (hypotheses, tokens), `positions`, `lengths`, `length`, caches, the encoder's outputs | `logits`, caches |

- **The encoder gives keys and values.** Cross-attention needs the keys and values of each decoder layer, shape (1, heads, positions,
  head size), once per window. The stock export computes them in the decoder.
- **One decoder for prompt and steps.** Its weights are stored once. A call takes the prompt, or one token for each hypothesis.
- **Caches are written in place.** `past_key_0` and `present_key_0` may be the same memory, (hypotheses, heads, capacity, head
  size): `GroupQueryAttention` of ONNX Runtime writes new rows behind the `lengths` that are filled. Nothing is copied from step to step.
- **Hypotheses share the clip.** Cross-attention takes the tokens of all hypotheses as one sequence, so a beam needs no copy of the
  encoder's outputs.
- **Logits of some positions.** `positions` names those tokens of `input_ids` whose logits are wanted: the last, and in the prompt the
  one that tells whether there is speech. The projection to the vocabulary is half of the decoder's work.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from onnx import ModelProto
from torch import Tensor, nn
from torch.nn import functional
from transformers import WhisperForConditionalGeneration

from scripts.exporting.onnx_files import trace

EXAMPLE_FRAMES = 300
EXAMPLE_TOKENS = 3
"""What the exporter traces; the graphs take any number."""


class Graphs(NamedTuple):
    """The ONNX graphs of a model."""

    encoder: ModelProto
    decoder: ModelProto


class CrossAttention(torch.autograd.Function):
    """softmax(query key^T) value for each head, exported as ONNX Runtime's operator.

    query: shape (1, tokens, width), scaled. key, value: (1, heads, positions, head size), or (1, positions, width).
    """

    @staticmethod
    def forward(_: Any, query: Tensor, key: Tensor, value: Tensor, heads: int) -> Tensor:
        """Compute it with PyTorch."""
        query, key, value = (split_heads(tensor, heads) for tensor in (query, key, value))
        return join_heads(functional.scaled_dot_product_attention(query, key, value, scale=1.0))

    @staticmethod
    def symbolic(graph: Any, query: Any, key: Any, value: Any, heads: int) -> Any:
        """The ONNX node."""
        output = graph.op("com.microsoft::MultiHeadAttention", query, key, value, num_heads_i=heads, scale_f=1.0)
        return output.setType(query.type())


class CachedAttention(torch.autograd.Function):
    """Causal attention of new tokens to those in the cache and to themselves, exported as ONNX Runtime's operator.

    query, key, value: shape (hypotheses, tokens, width), the query scaled. past_key, past_value: shape (hypotheses,
    heads, capacity, head size). lengths: tokens of each hypothesis after this call, less one, (hypotheses,), int32.
    length: the most tokens of a hypothesis after this call, int32. Returns the attended values and the caches.
    """

    @staticmethod
    def forward(
        _: Any,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        past_key: Tensor,
        past_value: Tensor,
        lengths: Tensor,
        length: Tensor,
        heads: int,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Compute it with PyTorch, for hypotheses of one length. The caches are written in place."""
        query, key, value = (split_heads(tensor, heads) for tensor in (query, key, value))
        after = int(length)
        before = after - query.shape[2]
        past_key[:, :, before:after] = key
        past_value[:, :, before:after] = value
        visible = torch.ones(query.shape[2], after, dtype=torch.bool).tril(before)
        attended = functional.scaled_dot_product_attention(
            query, past_key[:, :, :after], past_value[:, :, :after], attn_mask=visible, scale=1.0
        )
        return join_heads(attended), past_key, past_value

    @staticmethod
    def symbolic(
        graph: Any,
        query: Any,
        key: Any,
        value: Any,
        past_key: Any,
        past_value: Any,
        lengths: Any,
        length: Any,
        heads: int,
    ) -> tuple[Any, Any, Any]:
        """The ONNX node."""
        attended, present_key, present_value = graph.op(
            "com.microsoft::GroupQueryAttention",
            *(query, key, value, past_key, past_value, lengths, length),
            num_heads_i=heads,
            kv_num_heads_i=heads,
            scale_f=1.0,
            outputs=3,
        )
        types = (query.type(), past_key.type(), past_value.type())
        return tuple(
            value.setType(kind) for value, kind in zip((attended, present_key, present_value), types, strict=True)
        )  # type: ignore[return-value]


def split_heads(tensor: Tensor, heads: int) -> Tensor:
    """(batch, time, width) -> (batch, heads, time, head size); what is split already stays as it is."""
    if tensor.dim() == 4:
        return tensor
    return tensor.unflatten(-1, (heads, -1)).transpose(1, 2)


def join_heads(tensor: Tensor) -> Tensor:
    """(batch, heads, time, head size) -> (batch, time, width)."""
    return tensor.transpose(1, 2).flatten(2)


def stacked(layers: Sequence[nn.Module], scales: Sequence[float]) -> nn.Linear:
    """One linear layer that gives the outputs of several side by side, each scaled. Keys have no bias in Whisper."""
    weights, biases = [], []
    for layer, scale in zip(layers, scales, strict=True):
        weight, bias = layer.weight.data, layer.bias
        weights.append(weight * scale)
        biases.append(torch.zeros(weight.shape[0]) if bias is None else bias.data * scale)
    weight = torch.cat(weights)
    linear = nn.Linear(weight.shape[1], weight.shape[0])
    linear.weight.data, linear.bias.data = weight, torch.cat(biases)
    return linear


class SelfAttention(nn.Module):
    """Queries, keys and values of one attention in one product, the queries scaled by 1 / sqrt(head size)."""

    def __init__(self, attention: Any) -> None:
        super().__init__()
        self.heads: int = attention.num_heads
        scale = (attention.embed_dim // attention.num_heads) ** -0.5
        self.projections = stacked([attention.q_proj, attention.k_proj, attention.v_proj], [scale, 1.0, 1.0])
        self.output = attention.out_proj

    def project(self, states: Tensor) -> tuple[Tensor, ...]:
        """(batch, time, width) -> queries, keys and values, each of that shape."""
        return tuple(self.projections(states).chunk(3, dim=-1))


class FeedForward(nn.Module):
    """The second half of every layer, with its norm and the sum."""

    def __init__(self, layer: Any) -> None:
        super().__init__()
        self.norm, self.expand, self.contract = layer.final_layer_norm, layer.fc1, layer.fc2

    def forward(self, states: Tensor) -> Tensor:
        expanded = functional.gelu(self.expand(self.norm(states)))
        return states + self.contract(expanded)


class EncoderLayer(nn.Module):
    """One layer of the encoder."""

    def __init__(self, layer: Any) -> None:
        super().__init__()
        self.norm, self.attention = layer.self_attn_layer_norm, SelfAttention(layer.self_attn)
        self.feed_forward = FeedForward(layer)

    def forward(self, states: Tensor) -> Tensor:
        query, key, value = self.attention.project(self.norm(states))
        attended = CrossAttention.apply(query, key, value, self.attention.heads)  # type: ignore[no-untyped-call]
        return self.feed_forward(states + self.attention.output(attended))  # type: ignore[no-any-return]


class Encoder(nn.Module):
    """Log-mel features, (1, mel bins, frames) -> keys and values of cross-attention, layer by layer."""

    def __init__(self, model: WhisperForConditionalGeneration) -> None:
        super().__init__()
        encoder = model.model.encoder
        self.first, self.second, self.norm = encoder.conv1, encoder.conv2, encoder.layer_norm
        self.positions = nn.Parameter(encoder.embed_positions.weight.data)
        self.layers = nn.ModuleList(EncoderLayer(layer) for layer in encoder.layers)
        attentions = [layer.encoder_attn for layer in model.model.decoder.layers]
        self.heads: int = attentions[0].num_heads
        self.cross = nn.ModuleList(
            stacked([attention.k_proj, attention.v_proj], [1.0, 1.0]) for attention in attentions
        )

    def forward(self, features: Tensor) -> tuple[Tensor, ...]:
        states = functional.gelu(self.second(functional.gelu(self.first(features)))).transpose(1, 2)
        states = states + self.positions[: states.shape[1]]
        for layer in self.layers:
            states = layer(states)
        states = self.norm(states)
        return tuple(
            split_heads(tensor, self.heads) for cross in self.cross for tensor in cross(states).chunk(2, dim=-1)
        )


class DecoderLayer(nn.Module):
    """One layer of the decoder."""

    def __init__(self, layer: Any) -> None:
        super().__init__()
        self.norm, self.attention = layer.self_attn_layer_norm, SelfAttention(layer.self_attn)
        cross = layer.encoder_attn
        self.cross_norm, self.cross_output = layer.encoder_attn_layer_norm, cross.out_proj
        self.cross_query = stacked([cross.q_proj], [(cross.embed_dim // cross.num_heads) ** -0.5])
        self.feed_forward = FeedForward(layer)

    def forward(
        self, states: Tensor, caches: Sequence[Tensor], cross: Sequence[Tensor], lengths: Tensor, length: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        heads = self.attention.heads
        query, key, value = self.attention.project(self.norm(states))
        attended, *caches = CachedAttention.apply(  # type: ignore[no-untyped-call]
            query, key, value, *caches, lengths, length, heads
        )
        states = states + self.attention.output(attended)
        query = self.cross_query(self.cross_norm(states))
        # All hypotheses look at the same clip, and no token of them at another: one sequence of all their tokens.
        attended = CrossAttention.apply(query.flatten(0, 1)[None], *cross, heads)  # type: ignore[no-untyped-call]
        states = states + self.cross_output(attended).view_as(states)
        return (self.feed_forward(states), *caches)


class Decoder(nn.Module):
    """Tokens and caches -> logits of the wanted positions, and the caches with the new tokens."""

    def __init__(self, model: WhisperForConditionalGeneration) -> None:
        super().__init__()
        decoder = model.model.decoder
        self.embedding = nn.Parameter(decoder.embed_tokens.weight.data)
        self.places = nn.Parameter(decoder.embed_positions.weight.data)
        self.layers = nn.ModuleList(DecoderLayer(layer) for layer in decoder.layers)
        self.norm = decoder.layer_norm
        self.head = model.proj_out

    def forward(
        self, tokens: Tensor, positions: Tensor, lengths: Tensor, length: Tensor, *tensors: Tensor
    ) -> tuple[Tensor, ...]:
        count = tokens.shape[1]
        first = length.to(torch.int64) - count
        states = self.embedding[tokens] + self.places[first + torch.arange(count, device=tokens.device)]
        caches, cross = tensors[: len(tensors) // 2], tensors[len(tensors) // 2 :]
        present: list[Tensor] = []
        for index, layer in enumerate(self.layers):
            own = slice(2 * index, 2 * index + 2)
            states, *new = layer(states, caches[own], cross[own], lengths, length)
            present += new
        return (self.head(self.norm(states).index_select(1, positions)), *present)


def export_whisper(model: WhisperForConditionalGeneration) -> Graphs:
    """The FP32 graphs of a Whisper model, of any size."""
    config = model.config
    heads, layers = config.decoder_attention_heads, config.decoder_layers
    size = config.d_model // heads
    cross, past, present = (tensor_names(kind, layers) for kind in ("cross", "past", "present"))
    cache = torch.zeros(1, heads, config.max_target_positions, size)
    cached = {0: "hypotheses", 2: "capacity"}
    positions = {2: "positions"}
    encoder = trace(
        Encoder(model),
        (torch.randn(1, config.num_mel_bins, EXAMPLE_FRAMES),),
        {"input_features": {2: "frames"}},
        dict.fromkeys(cross, positions),
    )
    example = (
        torch.zeros(1, EXAMPLE_TOKENS, dtype=torch.int64),
        torch.tensor([EXAMPLE_TOKENS - 1]),
        torch.tensor([EXAMPLE_TOKENS - 1], dtype=torch.int32),
        torch.tensor(EXAMPLE_TOKENS, dtype=torch.int32),
        *(cache.clone() for _ in past),
        *(torch.zeros(1, heads, EXAMPLE_FRAMES // 2, size) for _ in cross),
    )
    decoder = trace(
        Decoder(model),
        example,
        {
            "input_ids": {0: "hypotheses", 1: "tokens"},
            "positions": {0: "wanted"},
            "lengths": {0: "hypotheses"},
            "length": {},
            **dict.fromkeys(past, cached),
            **dict.fromkeys(cross, positions),
        },
        {"logits": {0: "hypotheses", 1: "wanted"}, **dict.fromkeys(present, cached)},
    )
    return Graphs(encoder, decoder)


def tensor_names(kind: str, layers: int) -> list[str]:
    """Names of the keys and values of each layer, such as `past_key_0`."""
    return [f"{kind}_{part}_{layer}" for layer in range(layers) for part in ("key", "value")]
