"""Rounds weights to 4 bits, and compares products of ONNX Runtime with the formula."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import ModelProto, numpy_helper, parser

from app.artifacts import MANIFEST_NAME, ArtifactError, open_artifact
from app.models import open_model
from scripts.export import export
from scripts.exporting.four_bit_weights import round_blocks
from scripts.exporting.graph_export import Quantization
from scripts.exporting.integer_ranges import BLOCK
from scripts.exporting.onnx_files import count_operators, store_compactly
from scripts.exporting.quantization import quantize
from tests.checkpoints import built, exported, exporting, options
from tests.recognizers import ctc_recognizer

RANDOM = np.random.default_rng(0)


def restored(weight: NDArray[np.float32]) -> NDArray[np.float32]:
    """The weights after rounding, of the same shape (outputs, inputs)."""
    integers, scale = round_blocks(weight)
    return (integers * scale).reshape(len(weight), -1)[:, : weight.shape[1]]


@pytest.mark.parametrize("inputs", [1, 31, 32, 33, 96])
def test_every_value_is_near_its_own(inputs: int) -> None:
    weight = RANDOM.normal(0, 1, (5, inputs)).astype(np.float32)
    integers, scale = round_blocks(weight)
    blocks = -(-inputs // BLOCK)
    assert (integers.shape, scale.shape) == ((5, blocks, BLOCK), (5, blocks, 1))
    assert (integers.min(), integers.max()) >= (-8, -8)
    assert integers.max() <= 7
    np.testing.assert_array_equal(scale, scale.astype(np.float16))
    steps = np.repeat(np.abs(scale[:, :, 0]), BLOCK, axis=1)[:, :inputs]
    assert (np.abs(restored(weight) - weight) <= steps * 1.01).all(), "one step for a clipped value"
    assert np.mean(np.abs(restored(weight) - weight) <= steps * 0.505) > 0.9
    extreme = np.abs(weight[:, :BLOCK]).argmax(axis=1)
    rows = np.arange(5)
    np.testing.assert_allclose(restored(weight)[rows, extreme], weight[rows, extreme], rtol=2**-11)


def test_zeros_and_tiny_values_become_zeros() -> None:
    weight = np.zeros((2, 64), np.float32)
    weight[1, 3] = 1e-9
    integers, scale = round_blocks(weight)
    assert not integers.any()
    assert (scale == 1).all()


@pytest.mark.parametrize("inputs", [40, 64])
def test_a_product_computes_with_the_rounded_weights(inputs: int, tmp_path: Path) -> None:
    weight = RANDOM.normal(0, 0.3, (inputs, 48)).astype(np.float32)
    model: ModelProto = parser.parse_model(
        f"""
        <ir_version: 9, opset_import: ["" : 17]>
        one (float[1, time, {inputs}] x) => (float[1, time, 48] y) {{ [product] y = MatMul (x, weight) }}
        """
    )
    model.graph.initializer.append(numpy_helper.from_array(weight, "weight"))
    assert quantize(model, bits=4) == 1
    path = tmp_path / "model.onnx"
    onnx.save(model, path)
    store_compactly(path)
    assert count_operators(path)["MatMulNBits"] == 1
    rows = RANDOM.normal(0, 1, (1, 200, inputs)).astype(np.float32)
    (found,) = onnxruntime.InferenceSession(path).run(None, {"x": rows})
    np.testing.assert_allclose(found, rows @ restored(weight.T).T, atol=1e-5)
    assert np.abs(found - rows @ weight).max() > 1e-2


def test_other_products_keep_seven_bits() -> None:
    model: ModelProto = parser.parse_model(
        """
        <ir_version: 9, opset_import: ["" : 17, "com.microsoft" : 1]>
        one (float[1, time, 32] x, float[2, time, 8] z) => (float[1, time, 4] y, float[2, time, 4] w) {
            [layer] a = MatMul (x, layer_weight)
            [row] y = MatMul (a, row_weight)
            [pair] w = MatMul (z, pair_weight)
        }
        """
    )
    for name, shape in (("layer_weight", (32, 16)), ("row_weight", (16, 4)), ("pair_weight", (2, 8, 4))):
        model.graph.initializer.append(numpy_helper.from_array(RANDOM.normal(size=shape).astype(np.float32), name))
    assert quantize(model, bits=4, by_row=["row"]) == 3
    names = [node.op_type for node in model.graph.node]
    assert [names.count(name) for name in ("MatMulNBits", "MatMulIntegerToFloat", "MatMulInteger")] == [1, 1, 1]
    stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    assert stored.keys() >= {"layer_weight_int4", "row_weight_int8", "pair_weight_int8"}
    assert np.abs(stored["pair_weight_int8"].astype(int)).max() == 64
    with pytest.raises(ValueError, match="4 bits have no static quantization"):
        quantize(model, ranges={}, bits=4)


@pytest.fixture(scope="module")
def artifact(checkpoints: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("four bits")
    with exporting():
        export(str(built("small", checkpoints)), folder, options(checkpoints, quantization=Quantization(bits=4)))
    return folder


def test_an_artifact_has_them_in_its_int8_file(artifact: Path, checkpoints: Path) -> None:
    quantization = open_artifact(artifact).read_json(MANIFEST_NAME)["quantization"]
    assert quantization["method"].startswith(
        "linear layers: weights of 4 bits per block of 32; others: dynamic, 7 bits"
    )
    assert quantization["operators"]["MatMulNBits"] == 1 + 2 * 6 + 1
    seven = open_artifact(exported("small", checkpoints)).read_json(MANIFEST_NAME)["quantization"]["operators"]
    kept = seven["MatMul"], seven["MatMulIntegerToFloat"], 1  # by the front end; and the positional convolution
    operators = quantization["operators"]
    assert (operators["MatMul"], operators["MatMulIntegerToFloat"], operators["MatMulInteger"]) == kept
    smaller, larger = (
        (folder / "model_int8.onnx").stat().st_size for folder in (artifact, exported("small", checkpoints))
    )
    assert smaller < larger
    open_model(artifact)
    ctc_recognizer(artifact, "onnx_int8")


@pytest.mark.parametrize(
    "others",
    [{"openvino": True, "quantization": Quantization(bits=4)}, {"quantization": Quantization("static", bits=4)}],
)
def test_what_has_no_such_weights_is_refused(others: dict[str, object], checkpoints: Path, tmp_path: Path) -> None:
    with exporting(), pytest.raises(ArtifactError, match="--weight_bits 4 is for ONNX Runtime"):
        export(str(built("small", checkpoints)), tmp_path, options(checkpoints, **others))
    assert not (tmp_path / "model.onnx").exists()
