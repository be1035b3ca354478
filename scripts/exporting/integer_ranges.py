"""The integers of quantized models. Training imitates them without the packages that an export needs."""

from typing import Literal

MAX_UINT8, MAX_INT16 = 255, 32_767
WeightBits = Literal[7, 8]
LayerBits = Literal[4, 7, 8]
"""Bits of the weights of linear layers. With 4, other products have 7."""
EXACT_MAX_INT8 = MAX_INT16 // (2 * MAX_UINT8)
"""64: the largest weight for which the sum of two products with bytes fits in 16 bits (2 x 255 x 64 = 32,640)."""
LARGEST_WEIGHT: dict[WeightBits, int] = {7: EXACT_MAX_INT8, 8: 127}
"""Number of bits -> largest absolute value of a weight."""
GELU_MINIMUM = -0.17
"""A lower bound of GELU, whose minimum is -0.16997 at -0.7518."""
GELU_ZERO_POINT = 64
"""Number of byte values for negative numbers, if rows come from a GELU."""
BLOCK = 32
"""Inputs of an output that share a scale, in products by block: those with weights of 4 bits, and those of Whisper's
decoder. Larger blocks are not faster there (measured: 32, 64, 128)."""
LOWEST = -8
"""The lowest integer of 4 bits; the highest is 7. A byte holds two of them, each minus `LOWEST`."""
