"""Weights of 4 bits, for products of ONNX Runtime (`MatMulNBits`).

`BLOCK` inputs of an output share a scale: with one scale for a whole channel, as INT8 has it, 4 bits are too few. The
value of the largest magnitude in a block is exactly -8 of its scale, which may be negative, so that all sixteen steps
are used, as in the format Q4_0 of llama.cpp. Scales are rounded to half precision, so a weight takes 4.5 bits.

Activations are not rounded (`FLOAT_ACTIVATIONS`): ONNX Runtime restores the weights and computes in float32, as fast as
a float32 product. With activations in 8 bits by block, its kernel for one row is fast, and that for hundreds is slower
than float32 (500 rows on a CPU with AVX2).
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray
from onnx import GraphProto, NodeProto, TensorProto, numpy_helper

from scripts.exporting.block_weights import FLOAT_ACTIVATIONS, in_blocks, product_by_block
from scripts.exporting.integer_ranges import LOWEST

BITS: Final = 4


def round_blocks(weight: NDArray[np.float32]) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Round a matrix, shape (outputs, inputs), to integers from -8 to 7 with a scale for each block of inputs.

    Returns integers of shape (outputs, blocks, BLOCK) and scales of shape (outputs, blocks, 1), so that weight ~ scale
    * integer. A last block that is not full is filled with zeros. A block whose scale would round to zero has the scale
    1, and only zeros.
    """
    blocks = in_blocks(weight)
    extreme = np.take_along_axis(blocks, np.abs(blocks).argmax(axis=2, keepdims=True), axis=2)
    scale = (extreme / np.float32(LOWEST)).astype(np.float16).astype(np.float32)
    scale[scale == 0] = 1
    return np.rint(blocks / scale).clip(LOWEST, -LOWEST - 1).astype(np.int8), scale


def product_with_4_bits(graph: GraphProto, node: NodeProto, weight: TensorProto) -> NodeProto:
    """The node that replaces a MatMul with a constant weight, shape (inputs, outputs). Adds its blocks to the graph."""
    inputs, outputs = weight.dims
    values, scales = f"{weight.name}_int4", f"{weight.name}_scales"
    if not any(tensor.name == values for tensor in graph.initializer):
        integers, scale = round_blocks(np.ascontiguousarray(numpy_helper.to_array(weight).T))
        unsigned = (integers - LOWEST).astype(np.uint8)
        packed = unsigned[:, :, 0::2] | (unsigned[:, :, 1::2] << BITS)
        graph.initializer.append(numpy_helper.from_array(packed, values))
        graph.initializer.append(numpy_helper.from_array(scale[:, :, 0], scales))
    return product_by_block(node, values, scales, (outputs, inputs), BITS, FLOAT_ACTIVATIONS)
