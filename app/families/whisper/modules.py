"""A Whisper model as two PyTorch modules, `Encoder` and `Decoder`: what the PyTorch backend runs and the export traces.

| graph | inputs | outputs |
|---|---|---|
| encoder | `input_features` (1, mel bins, frames), `positions`, `log_weights` | `cross_key_0`, `cross_value_0`, ... |
| decoder | `input_ids` (hypotheses, tokens), `wanted`, `lengths`, `length`, caches, cross-attention | `logits`, ... |

- **The encoder takes windows of any length.** `positions` (frames / 2,) int64 are the positional embeddings, and
  `log_weights` (frames / 2,) float32 are added to the attention scores of each position: see
  `app.families.whisper.padding`. They are an additional element of every key, by which queries multiply with one, so
  attention itself is the usual one.
- **The encoder outputs keys and values.** Cross-attention needs the keys and values of each decoder layer, shape (1,
  heads, positions, head size), once per window. The stock model computes them in the decoder.
- **One decoder for prompt and steps.** Its weights are stored once. A call takes the prompt, or one token for each
  hypothesis.
- **Caches are updated in place.** `past_key_0` and `present_key_0` may be the same memory, shape (hypotheses, heads,
  capacity, head size). ONNX Runtime's GroupQueryAttention writes the new rows behind the old ones. Nothing is copied
  from step to step.
- **Hypotheses share the window.** Cross-attention takes the tokens of all hypotheses as one sequence, so a beam needs
  no copy of the encoder's outputs.
- **Logits of wanted positions only.** The projection to the vocabulary is half of the decoder's work. `wanted` lists
  the indices of the tokens in `input_ids` whose logits are needed.
- **Queries for word times.** `query_3` has the scaled queries of cross-attention in layer 3, shape (1, hypotheses x
  tokens, width). With `cross_key_3` they give the attention weights, without another run of the decoder.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import WhisperForConditionalGeneration

from app.families.whisper.graphs import DECODER, ENCODER, decoder_inputs, encoder_inputs, tensor_names
from app.families.whisper.operators import CachedAttention, CrossAttention, Projection, split_heads
from app.runtimes.graph import TorchModule

Columns = tuple[Tensor, Tensor]
"""Weights (outputs, inputs) and biases (outputs,) of a linear layer."""


def columns_of(layer: Any, scale: float = 1.0) -> Columns:
    """A layer, scaled. Some layers of Whisper have no bias."""
    weight = layer.weight.data * scale
    return weight, torch.zeros(len(weight)) if layer.bias is None else layer.bias.data * scale


def with_element(columns: Columns, heads: int, value: float) -> Columns:
    """Add one element to each head's output, which is always `value`."""
    weight, bias = (part.unflatten(0, (heads, -1)) for part in columns)
    weight = functional.pad(weight, (0, 0, 0, 1))
    bias = functional.pad(bias, (0, 1), value=value)
    return weight.flatten(0, 1), bias.flatten()


def without_elements(layer: Any, heads: int) -> nn.Linear:
    """A layer that ignores an additional last element of each head in its input."""
    weight = functional.pad(layer.weight.data.unflatten(1, (heads, -1)), (0, 1)).flatten(1)
    return stacked((weight, layer.bias.data))


def stacked(*layers: Columns) -> nn.Linear:
    """One linear layer whose output concatenates those of several."""
    weight, bias = (torch.cat(parts) for parts in zip(*layers, strict=True))
    linear = nn.Linear(weight.shape[1], weight.shape[0])
    linear.weight.data, linear.bias.data = weight, bias
    return linear


def last_elements(width: int, heads: int) -> Tensor:
    """One at the last element of each head, zero elsewhere, shape (width,)."""
    return functional.pad(torch.zeros(heads, width // heads - 1), (0, 1), value=1.0).flatten()


class WindowAttention(nn.Module):
    """Self-attention of the encoder: queries, keys and values in one product, queries scaled."""

    def __init__(self, attention: Any) -> None:
        super().__init__()
        self.heads: int = attention.num_heads
        query = columns_of(attention.q_proj, (attention.embed_dim // attention.num_heads) ** -0.5)
        query = with_element(query, self.heads, 1.0)
        key = with_element(columns_of(attention.k_proj), self.heads, 0.0)
        self.projections = stacked(query, key, columns_of(attention.v_proj))
        self.widths = [len(query[1]), len(key[1]), attention.embed_dim]
        self.weighted = nn.Parameter(last_elements(len(key[1]), self.heads))
        self.output = attention.out_proj

    def forward(self, states: Tensor, log_weights: Tensor) -> Tensor:
        """States (1, positions, width) and log-weights (positions, 1) -> the attended values, projected."""
        query, key, value = self.projections(states).split(self.widths, dim=-1)
        key = key + log_weights * self.weighted
        attended = CrossAttention.apply(  # type: ignore[no-untyped-call]
            query, key, value, self.heads, self.widths[2]
        )
        projected: Tensor = self.output(attended)
        return projected


class TokenAttention(nn.Module):
    """Self-attention of the decoder: queries, keys and values in one product, queries scaled."""

    def __init__(self, attention: Any) -> None:
        super().__init__()
        self.heads: int = attention.num_heads
        scale = (attention.embed_dim // attention.num_heads) ** -0.5
        query, key, value = attention.q_proj, attention.k_proj, attention.v_proj
        self.projections = stacked(columns_of(query, scale), columns_of(key), columns_of(value))
        self.output = attention.out_proj

    def project(self, states: Tensor) -> tuple[Tensor, ...]:
        """(batch, time, width) -> queries, keys and values, each of that shape."""
        return tuple(self.projections(states).chunk(3, dim=-1))


class FeedForward(nn.Module):
    """The last part of every layer, with its norm and its residual connection."""

    def __init__(self, layer: Any) -> None:
        super().__init__()
        self.norm, self.expand, self.contract = layer.final_layer_norm, layer.fc1, layer.fc2

    def forward(self, states: Tensor) -> Tensor:
        """(batch, time, width) -> the same shape."""
        expanded = functional.gelu(self.expand(self.norm(states)))
        contracted: Tensor = states + self.contract(expanded)
        return contracted


class EncoderLayer(nn.Module):
    """One layer of the encoder."""

    def __init__(self, layer: Any) -> None:
        super().__init__()
        self.norm, self.attention = layer.self_attn_layer_norm, WindowAttention(layer.self_attn)
        self.feed_forward = FeedForward(layer)

    def forward(self, states: Tensor, log_weights: Tensor) -> Tensor:
        """States (1, positions, width) and log-weights (positions, 1) -> new states."""
        states = states + self.attention(self.norm(states), log_weights)
        outputs: Tensor = self.feed_forward(states)
        return outputs


class Encoder(nn.Module):
    """Log-mel features -> keys and values of cross-attention, by name."""

    def __init__(self, model: WhisperForConditionalGeneration) -> None:
        super().__init__()
        encoder = model.model.encoder
        self.first, self.second, self.norm = encoder.conv1, encoder.conv2, encoder.layer_norm
        self.positions = nn.Parameter(encoder.embed_positions.weight.data)
        self.layers = nn.ModuleList(EncoderLayer(layer) for layer in encoder.layers)
        attentions = [layer.encoder_attn for layer in model.model.decoder.layers]
        self.heads: int = attentions[0].num_heads
        self.cross = nn.ModuleList(
            # ONNX Runtime wants keys and values of one head size, so values have an element too.
            stacked(
                *(with_element(columns_of(layer), self.heads, 0.0) for layer in (attention.k_proj, attention.v_proj))
            )
            for attention in attentions
        )
        self.weighted = nn.Parameter(last_elements(attentions[0].embed_dim + self.heads, self.heads))
        self.names = tensor_names("cross", len(attentions))

    def forward(self, input_features: Tensor, positions: Tensor, log_weights: Tensor) -> dict[str, Tensor]:
        """(1, mel bins, frames) -> keys and values, each of shape (1, heads, frames / 2, head size + 1)."""
        states = functional.gelu(self.first(input_features))
        states = functional.gelu(self.second(states)).transpose(1, 2)
        states = states + self.positions[positions]
        column = log_weights[:, None]
        for layer in self.layers:
            states = layer(states, column)
        states = self.norm(states)
        cross: list[Tensor] = []
        for layer in self.cross:
            key, value = layer(states).chunk(2, dim=-1)
            cross += [split_heads(key + column * self.weighted, self.heads), split_heads(value, self.heads)]
        return dict(zip(self.names, cross, strict=True))


class DecoderLayer(nn.Module):
    """One layer of the decoder."""

    def __init__(self, layer: Any) -> None:
        super().__init__()
        self.norm, self.attention = layer.self_attn_layer_norm, TokenAttention(layer.self_attn)
        cross = layer.encoder_attn
        self.cross_norm = layer.encoder_attn_layer_norm
        self.cross_output = without_elements(cross.out_proj, cross.num_heads)
        query = columns_of(cross.q_proj, (cross.embed_dim // cross.num_heads) ** -0.5)
        self.cross_query = stacked(with_element(query, cross.num_heads, 1.0))
        self.feed_forward = FeedForward(layer)

    def forward(
        self, states: Tensor, caches: Sequence[Tensor], cross: Sequence[Tensor], lengths: Tensor, length: Tensor
    ) -> tuple[Tensor, Tensor, list[Tensor]]:
        """States (hypotheses, tokens, width) -> new states, queries (1, hypotheses x tokens, width) and caches."""
        heads = self.attention.heads
        query, key, value = self.attention.project(self.norm(states))
        attended, *present = CachedAttention.apply(  # type: ignore[no-untyped-call]
            query, key, value, *caches, lengths, length, heads
        )
        states = states + self.attention.output(attended)
        # All hypotheses attend to the same window and none to another's tokens: one sequence of all their tokens.
        query = self.cross_query(self.cross_norm(states)).flatten(0, 1)[None]
        width = self.cross_output.in_features
        attended = CrossAttention.apply(query, *cross, heads, width)  # type: ignore[no-untyped-call]
        states = states + self.cross_output(attended).view_as(states)
        return self.feed_forward(states), query, present


class Decoder(nn.Module):
    """Tokens and caches -> logits, queries and caches, by name.

    query_layers: the layers whose queries are outputs.
    """

    def __init__(self, model: WhisperForConditionalGeneration, query_layers: Sequence[int]) -> None:
        super().__init__()
        decoder = model.model.decoder
        self.embedding = nn.Parameter(decoder.embed_tokens.weight.data)
        self.positions = nn.Parameter(decoder.embed_positions.weight.data)
        self.layers = nn.ModuleList(DecoderLayer(layer) for layer in decoder.layers)
        self.norm = decoder.layer_norm
        head = model.proj_out.weight.data
        tied = head.data_ptr() == self.embedding.data.data_ptr()
        self.head = None if tied else nn.Parameter(head)
        self.query_layers = tuple(query_layers)

    def forward(
        self, input_ids: Tensor, wanted: Tensor, lengths: Tensor, length: Tensor, **tensors: Tensor
    ) -> dict[str, Tensor]:
        """Compute all outputs; shapes and types are in the module's docstring."""
        tokens = input_ids.shape[1]
        first = length.to(torch.int64) - tokens
        states = self.embedding[input_ids] + self.positions[first + torch.arange(tokens)]
        past, cross, present = (tensor_names(kind, len(self.layers)) for kind in ("past", "cross", "present"))
        outputs: dict[str, Tensor] = {}
        for index, layer in enumerate(self.layers):
            own = slice(2 * index, 2 * index + 2)
            caches, keys_and_values = ([tensors[name] for name in names[own]] for names in (past, cross))
            states, query, updated = layer(states, caches, keys_and_values, lengths, length)
            outputs |= dict(zip(present[own], updated, strict=True))
            if index in self.query_layers:
                outputs[f"query_{index}"] = query
        rows = self.norm(states.index_select(1, wanted)).flatten(0, 1)
        head = self.embedding if self.head is None else self.head
        logits = Projection.apply(rows, head).unflatten(0, (-1, wanted.shape[0]))  # type: ignore[no-untyped-call]
        return {"logits": logits} | outputs


def torch_modules(model: WhisperForConditionalGeneration, query_layers: Sequence[int]) -> Mapping[str, TorchModule]:
    """The modules of a model with the names of their inputs and outputs, by graph. query_layers: as in `Decoder`."""
    layers = model.config.decoder_layers
    queries = [f"query_{layer}" for layer in query_layers]
    outputs = ("logits", *queries, *tensor_names("present", layers))
    return {
        ENCODER: TorchModule(Encoder(model), encoder_inputs(model.config.num_mel_bins), tensor_names("cross", layers)),
        DECODER: TorchModule(Decoder(model, query_layers), decoder_inputs(layers), outputs),
    }
