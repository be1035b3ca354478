import numpy as np
import pytest
from onnx import helper

from scripts.exporting.block_weights import FLOAT_ACTIVATIONS, in_blocks, product_by_block
from scripts.exporting.integer_ranges import BLOCK


@pytest.mark.parametrize(("inputs", "blocks"), [(1, 1), (31, 1), (32, 1), (33, 2), (96, 3)])
def test_a_last_block_is_filled_with_zeros(inputs: int, blocks: int) -> None:
    weight = np.random.default_rng(0).normal(1, 0.1, (5, inputs)).astype(np.float32)
    found = in_blocks(weight)
    assert found.shape == (5, blocks, BLOCK)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found.reshape(5, -1)[:, :inputs], weight)
    assert not found.reshape(5, -1)[:, inputs:].any()


def test_the_product_takes_the_place_of_the_node() -> None:
    node = helper.make_node("MatMul", ["x", "weight"], ["y"], name="layer")
    found = product_by_block(node, "values", "scales", (48, 40), 4, FLOAT_ACTIVATIONS)
    assert (list(found.input), list(found.output)) == (["x", "values", "scales"], ["y"])
    assert (found.op_type, found.domain, found.name) == ("MatMulNBits", "com.microsoft", "layer_int4")
    attributes = {attribute.name: attribute.i for attribute in found.attribute}
    assert attributes == {"N": 48, "K": 40, "bits": 4, "block_size": BLOCK, "accuracy_level": FLOAT_ACTIVATIONS}
    nameless = helper.make_node("MatMul", ["x", "weight"], ["y"])
    assert product_by_block(nameless, "values", "scales", (48, 40), 8, FLOAT_ACTIVATIONS).name == ""
