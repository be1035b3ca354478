"""Operators of ONNX Runtime that PyTorch does not have: each computes in PyTorch, and is exported as one node."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional


class CrossAttention(torch.autograd.Function):
    """softmax(query key^T) value for each head; in ONNX, the MultiHeadAttention operator of ONNX Runtime.

    query: shape (1, tokens, heads x head size), scaled. key, value: (1, heads, positions, head size), or (1, positions,
    heads x head size). width: of the output, (1, tokens, width), which is that of all heads of the values.
    """

    @staticmethod
    def forward(_: Any, query: Tensor, key: Tensor, value: Tensor, heads: int, width: int) -> Tensor:
        """Compute it with PyTorch."""
        query, key, value = (split_heads(tensor, heads) for tensor in (query, key, value))
        return join_heads(functional.scaled_dot_product_attention(query, key, value, scale=1.0))

    @staticmethod
    def symbolic(graph: Any, query: Any, key: Any, value: Any, heads: int, width: int) -> Any:
        """The ONNX node."""
        output = graph.op("com.microsoft::MultiHeadAttention", query, key, value, num_heads_i=heads, scale_f=1.0)
        return output.setType(query.type().with_sizes([1, None, width]))


def group_query_attention(
    graph: Any, inputs: Sequence[Any], types: Sequence[Any], heads: int, **attributes: Any
) -> tuple[Any, ...]:
    """An ONNX node of GroupQueryAttention, whose query is scaled already and has as many heads as keys and values.

    types: of the attended values, and of the caches of keys and values.
    """
    outputs = graph.op(
        "com.microsoft::GroupQueryAttention",
        *inputs,
        num_heads_i=heads,
        kv_num_heads_i=heads,
        scale_f=1.0,
        outputs=3,
        **attributes,
    )
    return tuple(output.setType(kind) for output, kind in zip(outputs, types, strict=True))


class CachedAttention(torch.autograd.Function):
    """Causal attention of new tokens to the cache and to themselves; in ONNX, GroupQueryAttention of ONNX Runtime.

    query, key, value: shape (hypotheses, tokens, width), the query scaled. past_key, past_value: shape (hypotheses,
    heads, capacity, head size). lengths: number of tokens of each hypothesis after this call, less one, shape
    (hypotheses,), int32. length: the largest number of tokens of a hypothesis after this call, int32. Returns the
    attended values and the caches.
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
        """Compute it with PyTorch, for hypotheses of one length. The caches are updated in place."""
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
    ) -> tuple[Any, ...]:
        """The ONNX node."""
        inputs = (query, key, value, past_key, past_value, lengths, length)
        return group_query_attention(graph, inputs, (query.type(), past_key.type(), past_value.type()), heads)


class Projection(torch.autograd.Function):
    """rows weight^T; in ONNX, a Gemm that takes the weight as it is. The exporter's own MatMul takes its transpose, so
    the embedding, which most models share with the output layer, would be stored twice.

    rows: shape (rows, width). weight: shape (vocabulary, width).
    """

    @staticmethod
    def forward(_: Any, rows: Tensor, weight: Tensor) -> Tensor:
        """Compute it with PyTorch."""
        return rows @ weight.T

    @staticmethod
    def symbolic(graph: Any, rows: Any, weight: Any) -> Any:
        """The ONNX node."""
        output = graph.op("Gemm", rows, weight, transB_i=1)
        return output.setType(rows.type().with_sizes([None, weight.type().sizes()[0]]))


def split_heads(tensor: Tensor, heads: int) -> Tensor:
    """(batch, time, width) -> (batch, heads, time, head size); a tensor of four dimensions is returned as it is."""
    if tensor.dim() == 4:
        return tensor
    split: Tensor = tensor.unflatten(-1, (heads, -1)).transpose(1, 2)
    return split


def join_heads(tensor: Tensor) -> Tensor:
    """(batch, heads, time, head size) -> (batch, time, width)."""
    return tensor.transpose(1, 2).flatten(2)
