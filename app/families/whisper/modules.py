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

from app.families.whisper.graphs import DECODER, ENCODER, decoder_inputs, encoder_inputs, layer_names, tensor_names
from app.families.whisper.operators import CachedAttention, CrossAttention, Projection, split_heads
from app.runtimes.graph import TorchModule

Columns = tuple[Tensor, Tensor]
"""Weights (outputs, inputs) and biases (outputs,) of a linear layer."""


def columns_of(layer: Any, scale: float = 1.0) -> Columns:
    """A layer, scaled. Some layers of Whisper have no bias."""
    weight = layer.weight.data * scale
    return weight, torch.zeros(len(weight)) if layer.bias is None else layer.bias.data * scale


def scaled_queries(attention: Any) -> Columns:
    """The layer that makes queries, times the scale of attention."""
    return columns_of(attention.q_proj, (attention.embed_dim // attention.num_heads) ** -0.5)


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
        query = with_element(scaled_queries(attention), self.heads, 1.0)
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
        key, value = columns_of(attention.k_proj), columns_of(attention.v_proj)
        self.projections = stacked(scaled_queries(attention), key, value)
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


class KeysAndValues(nn.Module):
    """What one decoder layer's cross-attention needs of a window."""

    def __init__(self, attention: Any) -> None:
        super().__init__()
        self.heads: int = attention.num_heads
        # ONNX Runtime wants keys and values of one head size, so values have an element too.
        key, value = (
            with_element(columns_of(layer), self.heads, 0.0) for layer in (attention.k_proj, attention.v_proj)
        )
        self.projections = stacked(key, value)
        self.weighted = nn.Parameter(last_elements(len(key[1]), self.heads))

    def forward(self, states: Tensor, log_weights: Tensor) -> tuple[Tensor, ...]:
        """States (1, positions, width) and log-weights (positions, 1) -> key and value, each of shape (1, heads,
        positions, head size + 1).
        """
        key, value = self.projections(states).chunk(2, dim=-1)
        return split_heads(key + log_weights * self.weighted, self.heads), split_heads(value, self.heads)


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
        self.cross = nn.ModuleList(KeysAndValues(layer.encoder_attn) for layer in model.model.decoder.layers)
        self.names = tensor_names("cross", len(self.cross))

    def forward(self, input_features: Tensor, positions: Tensor, log_weights: Tensor) -> dict[str, Tensor]:
        """(1, mel bins, frames) -> keys and values, each of shape (1, heads, frames / 2, head size + 1)."""
        states = functional.gelu(self.first(input_features))
        states = functional.gelu(self.second(states)).transpose(1, 2)
        states = states + self.positions[positions]
        column = log_weights[:, None]
        for layer in self.layers:
            states = layer(states, column)
        states = self.norm(states)
        return dict(zip(self.names, (tensor for layer in self.cross for tensor in layer(states, column)), strict=True))


class AttentionToWindow(nn.Module):
    """Cross-attention of one decoder layer, queries scaled."""

    def __init__(self, attention: Any) -> None:
        super().__init__()
        self.heads: int = attention.num_heads
        self.query = stacked(with_element(scaled_queries(attention), self.heads, 1.0))
        self.output = without_elements(attention.out_proj, self.heads)

    def forward(self, states: Tensor, window: Sequence[Tensor]) -> tuple[Tensor, Tensor, list[Tensor]]:
        """Attend to keys and values of `KeysAndValues`.

        states: shape (1, tokens, width). Returns the attended values, projected, of that shape; the queries; and caches
        that were updated, of which there are none.
        """
        query = self.query(states)
        attended = CrossAttention.apply(  # type: ignore[no-untyped-call]
            query, *window, self.heads, self.output.in_features
        )
        return self.output(attended), query, []


class DecoderLayer(nn.Module):
    """One layer of the decoder."""

    def __init__(self, layer: Any) -> None:
        super().__init__()
        self.norm, self.attention = layer.self_attn_layer_norm, TokenAttention(layer.self_attn)
        self.cross_norm, self.cross = layer.encoder_attn_layer_norm, AttentionToWindow(layer.encoder_attn)
        self.feed_forward = FeedForward(layer)

    def forward(
        self, states: Tensor, caches: Sequence[Tensor], window: Sequence[Tensor], lengths: Tensor, length: Tensor
    ) -> tuple[Tensor, Tensor, list[Tensor]]:
        """States (hypotheses, tokens, width) -> new states, queries (1, hypotheses x tokens, width) and caches."""
        query, key, value = self.attention.project(self.norm(states))
        attended, *present = CachedAttention.apply(  # type: ignore[no-untyped-call]
            query, key, value, *caches, lengths, length, self.attention.heads
        )
        states = states + self.attention.output(attended)
        # All hypotheses attend to the same window and none to another's tokens: one sequence of all their tokens.
        attended, query, updated = self.cross(self.cross_norm(states).flatten(0, 1)[None], window)
        return self.feed_forward(states + attended.view_as(states)), query, present + updated


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
        self.past, self.window, self.updated = (
            [layer_names(kind, layer) for layer in range(len(self.layers))] for kind in ("past", "cross", "present")
        )

    def forward(
        self, input_ids: Tensor, wanted: Tensor, lengths: Tensor, length: Tensor, **tensors: Tensor
    ) -> dict[str, Tensor]:
        """Compute all outputs; shapes and types are in the module's docstring."""
        tokens = input_ids.shape[1]
        first = length.to(torch.int64) - tokens
        states = self.embedding[input_ids] + self.positions[first + torch.arange(tokens)]
        outputs: dict[str, Tensor] = {}
        for index, layer in enumerate(self.layers):
            caches, window = ([tensors[name] for name in names[index]] for names in (self.past, self.window))
            states, query, updated = layer(states, caches, window, lengths, length)
            outputs |= dict(zip(self.updated[index], updated, strict=True))
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
