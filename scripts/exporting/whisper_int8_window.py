"""Keys and values of cross-attention in INT8. Each step of the decoder reads all of them; in float32, those of a full
window are nearly as many bytes as the decoder's weights in INT8 (whisper-base: 37 MB and 49 MB).

| tensor | shape |
|---|---|
| `cross_key_0`, `cross_value_0`: from the encoder to the decoder | (1, heads, positions, head size), int8 |
| `cross_key_0_scale`, `cross_value_0_scale`: likewise, by channel of the window | (1, heads, 1, head size), float32 |
| `log_weights`: input of the decoder too; added to the scores, not an element of the keys | (positions,), float32 |
| `updated_key_0`, `updated_value_0`: outputs of the decoder | those of its inputs, in the same memory |

ONNX Runtime's GroupQueryAttention multiplies floats by these bytes on every CPU. It is made for caches, so it outputs
them, and writes nothing: there is no new key. A call may not have more tokens than the window has positions.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import WhisperForConditionalGeneration

from app.families.whisper.graphs import LOG_WEIGHTS_INPUT, layer_names, scale_name
from app.families.whisper.modules import Decoder, Encoder, columns_of, scaled_queries, stacked
from app.families.whisper.operators import group_query_attention, join_heads, split_heads

MAX_INT8 = 127
SMALLEST_SCALE = 1e-20
"""Scale of a channel of zeros."""


def window_names(layer: int) -> tuple[str, ...]:
    """Names of the keys and values of one decoder layer, and of their scales."""
    names = layer_names("cross", layer)
    return (*names, *map(scale_name, names))


class Int8Encoder(Encoder):
    """Log-mel features -> keys, values and their scales, by name."""

    def __init__(self, model: WhisperForConditionalGeneration) -> None:
        super().__init__(model)
        layers = model.model.decoder.layers
        self.cross = nn.ModuleList(Int8KeysAndValues(layer.encoder_attn) for layer in layers)
        self.names = tuple(name for layer in range(len(layers)) for name in window_names(layer))


class Int8Decoder(Decoder):
    """Tokens and caches -> logits, queries and caches, by name."""

    def __init__(self, model: WhisperForConditionalGeneration, query_layers: Sequence[int]) -> None:
        super().__init__(model, query_layers)
        shared = ("bias", "last", "positions")
        for index, layer in enumerate(self.layers):
            layer.cross = Int8AttentionToWindow(model.model.decoder.layers[index].encoder_attn)
            self.window[index] = (*window_names(index), *shared)
            self.updated[index] = (*layer_names("present", index), *layer_names("updated", index))

    def forward(
        self, input_ids: Tensor, wanted: Tensor, lengths: Tensor, length: Tensor, **tensors: Tensor
    ) -> dict[str, Tensor]:
        """Compute all outputs."""
        log_weights = tensors[LOG_WEIGHTS_INPUT]
        positions = torch._shape_as_tensor(log_weights).to(torch.int32)
        shared = {
            "bias": log_weights.expand(1, 1, input_ids.shape[0] * input_ids.shape[1], -1),
            "last": positions - 1,
            "positions": positions,
        }
        return super().forward(input_ids, wanted, lengths, length, **tensors, **shared)


class Int8KeysAndValues(nn.Module):
    """`KeysAndValues` in INT8."""

    def __init__(self, attention: Any) -> None:
        super().__init__()
        self.heads: int = attention.num_heads
        self.projections = stacked(columns_of(attention.k_proj), columns_of(attention.v_proj))

    def forward(self, states: Tensor, _: Tensor) -> tuple[Tensor, ...]:
        """States (1, positions, width) -> key, value and their scales."""
        both = self.projections(states)
        scales = (both.abs().amax(dim=(0, 1)) / MAX_INT8).clamp_min(SMALLEST_SCALE)
        rounded = Rounded.apply(both * (1 / scales))  # type: ignore[no-untyped-call]
        parts = (*rounded.chunk(2, dim=-1), *scales[None, None].chunk(2, dim=-1))
        return tuple(split_heads(part, self.heads) for part in parts)


class Int8AttentionToWindow(nn.Module):
    """`AttentionToWindow` with keys and values in INT8."""

    def __init__(self, attention: Any) -> None:
        super().__init__()
        self.heads: int = attention.num_heads
        self.query, self.output = stacked(scaled_queries(attention)), attention.out_proj

    def forward(self, states: Tensor, window: Sequence[Tensor]) -> tuple[Tensor, Tensor, list[Tensor]]:
        """Attend to a window; states and results are those of `AttentionToWindow`, with keys and values as caches."""
        query = self.query(states)
        attended, *updated = Int8Attention.apply(  # type: ignore[no-untyped-call]
            query, *window, self.heads, self.output.in_features
        )
        return self.output(attended), query, updated


class Rounded(torch.autograd.Function):
    """Round values to INT8; in ONNX, QuantizeLinear with the scale 1.

    With a scale for each channel, QuantizeLinear takes many times as long as a product by the scales before it.
    """

    @staticmethod
    def forward(_: Any, values: Tensor) -> Tensor:
        """Compute it with PyTorch."""
        return values.round().clamp(-MAX_INT8 - 1, MAX_INT8).to(torch.int8)

    @staticmethod
    def symbolic(graph: Any, values: Any) -> Any:
        """The ONNX node."""
        scale = graph.op("Constant", value_t=torch.tensor(1.0))
        zero = graph.op("Constant", value_t=torch.tensor(0, dtype=torch.int8))
        output = graph.op("QuantizeLinear", values, scale, zero)
        return output.setType(values.type().with_dtype(torch.int8))


class Int8Attention(torch.autograd.Function):
    """softmax(query key^T + bias) value for each head, with keys and values in INT8; in ONNX, GroupQueryAttention of
    ONNX Runtime.

    query: shape (1, tokens, width), scaled. key, value, and their scales: see the module. bias: shape (1, 1, tokens,
    positions). last: positions less one, shape (1,), int32. positions: shape (1,), int32. width: of query and
    output. Returns the attended values, and keys and values.
    """

    @staticmethod
    def forward(
        _: Any,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_scale: Tensor,
        value_scale: Tensor,
        bias: Tensor,
        last: Tensor,
        positions: Tensor,
        heads: int,
        width: int,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Compute it with PyTorch."""
        attended = functional.scaled_dot_product_attention(
            split_heads(query, heads), key * key_scale, value * value_scale, attn_mask=bias, scale=1.0
        )
        return join_heads(attended), key, value

    @staticmethod
    def symbolic(
        graph: Any,
        query: Any,
        key: Any,
        value: Any,
        key_scale: Any,
        value_scale: Any,
        bias: Any,
        last: Any,
        positions: Any,
        heads: int,
        width: int,
    ) -> tuple[Any, ...]:
        """The ONNX node."""
        no_new_token = graph.op("Constant", value_t=torch.zeros(1, 0, width))
        absent = graph.op("prim::Constant")
        absent.setType(torch._C.OptionalType.ofTensor())
        attended = query.type().with_sizes([1, None, width])
        return group_query_attention(
            graph,
            (
                *(query, no_new_token, no_new_token, key, value, last, positions),
                *(absent, absent, absent, bias, absent, key_scale, value_scale),
            ),
            (attended, key.type(), value.type()),
            heads,
            causal_i=0,
            kv_cache_bit_width_i=8,
            k_quant_type_s="PER_CHANNEL",
            v_quant_type_s="PER_CHANNEL",
        )
