"""INT8 products as a CPU without VNNI computes them, and whole models on such products.

AVX2 and AVX-512 without VNNI multiply 8 bits by VPMADDUBSW: two neighbouring products of an unsigned and a signed byte
are added in 16 bits, and a sum that does not fit becomes the largest or least number that does (Intel 64 and IA-32
Architectures Software Developer's Manual, volume 2). The sums are then added in 32 bits.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto
from onnx.reference import ReferenceEvaluator
from onnx.reference.op_run import OpRun
from onnx.reference.ops.op_loop import Loop as ReferenceLoop

ROWS = 64
"""Rows of a product that are computed at a time, for the pairs of all columns lie in memory."""


def saturating_product(left: NDArray[np.uint8], right: NDArray[np.int8]) -> NDArray[np.int32]:
    """(..., rows, inner) @ (inner, columns) or (..., inner, columns), as without VNNI."""
    if right.ndim > 2:
        leading = np.broadcast_shapes(left.shape[:-2], right.shape[:-2])
        lefts, rights = (
            np.broadcast_to(part, leading + part.shape[-2:]).reshape(-1, *part.shape[-2:]) for part in (left, right)
        )
        products = [saturating_product(*both) for both in zip(lefts, rights, strict=True)]
        return np.stack(products).reshape(*leading, left.shape[-2], right.shape[-1])
    flat = left.reshape(-1, left.shape[-1]).astype(np.int32)
    odd = flat.shape[1] % 2
    flat, weights = np.pad(flat, ((0, 0), (0, odd))), np.pad(right.astype(np.int32), ((0, odd), (0, 0)))
    limits = np.iinfo(np.int16)
    blocks = []
    for start in range(0, len(flat), ROWS):
        rows = flat[start : start + ROWS, :, None]
        pairs = rows[:, ::2] * weights[::2] + rows[:, 1::2] * weights[1::2]
        blocks.append(pairs.clip(limits.min, limits.max).sum(axis=1, dtype=np.int32))
    return np.concatenate(blocks).reshape(*left.shape[:-1], right.shape[1])


def exact_product(left: NDArray[np.uint8], right: NDArray[np.int8]) -> NDArray[np.int32]:
    """The same as with VNNI, AMX or Arm's dot products. In float64, which holds such sums exactly and has a BLAS."""
    return (left.astype(np.float64) @ right.astype(np.float64)).astype(np.int32)


class Loop(ReferenceLoop):
    """The reference lays what the rounds give end to end, where the standard stacks it."""

    def _run(self, *inputs: Any, **context: Any) -> Any:
        outputs = super()._run(*inputs, **context)  # type: ignore[no-untyped-call]
        return tuple(laid.reshape(int(inputs[0]), -1, *laid.shape[1:]) for laid in outputs)


def run_model(model: ModelProto, feeds: dict[str, NDArray[Any]], saturating: bool) -> NDArray[np.float32]:
    """The first output of an INT8 model of ours, computed by onnx's reference implementation on such products."""
    product = saturating_product if saturating else exact_product

    def integers(left: Any, right: Any, zero_point: Any) -> Any:
        """What ONNX Runtime does about zero points: they are taken away after the product."""
        columns = right.sum(axis=-2, keepdims=True, dtype=np.int32)
        return product(left, right) - np.int32(0 if zero_point is None else zero_point) * columns

    class MatMulInteger(OpRun):
        def _run(self, left: Any, right: Any, left_zero: Any = None, right_zero: Any = None) -> tuple[Any]:
            return (integers(left, right, left_zero),)

    class MatMulIntegerToFloat(OpRun):
        op_domain = "com.microsoft"

        def _run(self, left: Any, right: Any, left_scale: Any, right_scale: Any, left_zero: Any = None) -> tuple[Any]:
            return ((integers(left, right, left_zero) * (left_scale * right_scale)).astype(np.float32),)

    class MultiHeadAttention(OpRun):
        op_domain = "com.microsoft"

        def _run(
            self, query: Any, key: Any, value: Any, num_heads: int | None = None, scale: float | None = None
        ) -> tuple[Any]:
            query, key, value = (
                part.reshape(*part.shape[:2], num_heads, -1).swapaxes(1, 2) for part in (query, key, value)
            )
            scores = query @ key.swapaxes(2, 3) * np.float32(scale)
            weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
            weights /= weights.sum(axis=-1, keepdims=True)
            mixed = (weights @ value).swapaxes(1, 2)
            return (mixed.reshape(*mixed.shape[:2], -1),)

    new_ops: list[Any] = [Loop, MatMulInteger, MatMulIntegerToFloat, MultiHeadAttention]
    evaluator = ReferenceEvaluator(model, new_ops=new_ops)
    outputs: Any = evaluator.run(None, feeds)
    return np.asarray(outputs[0], dtype=np.float32)
