"""Weights in blocks that share a scale, and the product of ONNX Runtime that reads them, `MatMulNBits`."""

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto, helper

from scripts.exporting.integer_ranges import BLOCK

FLOAT_ACTIVATIONS, INT8_ACTIVATIONS = 1, 4
"""`accuracy_level` of `MatMulNBits`: it computes in float32, or rounds activations to 8 bits by block too."""


def in_blocks(weight: NDArray[np.float32]) -> NDArray[np.float32]:
    """A matrix, shape (outputs, inputs), in blocks of inputs: shape (outputs, blocks, BLOCK).

    A last block that is not full is filled with zeros.
    """
    outputs, inputs = weight.shape
    blocks = -(-inputs // BLOCK)
    padded = np.zeros((outputs, blocks * BLOCK), dtype=np.float32)
    padded[:, :inputs] = weight
    return padded.reshape(outputs, blocks, BLOCK)


def product_by_block(
    node: NodeProto, values: str, scales: str, shape: tuple[int, int], bits: Literal[4, 8], activations: int
) -> NodeProto:
    """The node that replaces a product with a constant weight.

    node: whose first input and whose outputs stay. values, scales: names of the blocks and the scales in the graph.
    shape: (outputs, inputs) of the weight. activations: `FLOAT_ACTIVATIONS` or `INT8_ACTIVATIONS`.
    """
    outputs, inputs = shape
    return helper.make_node(
        "MatMulNBits",
        [node.input[0], values, scales],
        list(node.output),
        name=node.name and f"{node.name}_int{bits}",
        domain="com.microsoft",
        K=inputs,
        N=outputs,
        bits=bits,
        block_size=BLOCK,
        accuracy_level=activations,
    )
