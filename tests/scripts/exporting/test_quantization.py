from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import ModelProto, numpy_helper, parser

from scripts.exporting import onnx_files
from scripts.exporting.integer_ranges import LARGEST_WEIGHT, WeightBits
from scripts.exporting.onnx_files import graphs_of
from scripts.exporting.quantization import (
    Range,
    calibrate,
    names_matching,
    products_of,
    quantize,
    quantize_range,
    quantize_weight,
    split_gemms,
)

RANDOM = np.random.default_rng(0)
HEADER = '<ir_version: 9, opset_import: ["" : 17]>'


def model_of(text: str, **weights: tuple[int, ...]) -> ModelProto:
    """A model in ONNX's text form, with random weights of these shapes."""
    model: ModelProto = parser.parse_model(f"{HEADER}\n{text}")
    for name, shape in weights.items():
        values = np.random.default_rng(len(name)).normal(0, 0.3, shape).astype(np.float32)
        model.graph.initializer.append(numpy_helper.from_array(values, name))
    return model


def run(model: ModelProto, **feed: NDArray[Any]) -> NDArray[np.float32]:
    onnx.checker.check_model(model, full_check=True)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, feed)[0])


def operators(model: ModelProto) -> list[str]:
    return [node.op_type for graph in graphs_of(model.graph) for node in graph.node]


def weights_of(model: ModelProto) -> dict[str, NDArray[Any]]:
    graphs = graphs_of(model.graph)
    return {tensor.name: numpy_helper.to_array(tensor) for graph in graphs for tensor in graph.initializer}


def copy_of(model: ModelProto) -> ModelProto:
    copy: ModelProto = ModelProto.FromString(model.SerializeToString())
    return copy


ROWS = RANDOM.normal(0, 1, (1, 12, 4)).astype(np.float32)
CLOSE = 0.06
"""Largest rounding error of the products below: 4 to 8 activations up to 3, and weights up to 1, in 8 bits."""
PAIR = """
pair (float[1, time, 4] x) => (float[1, time, 3] y)
{
    [first] a = MatMul (x, one)
    [second] b = MatMul (x, two)
    y = Add (a, b)
}
"""
CHAIN = """
chain (float[1, time, 4] x) => (float[1, time, 3] z)
{
    [first] y = MatMul (x, one)
    [second] z = MatMul (y, two)
}
"""


@pytest.mark.parametrize("shape", [(4, 3), (5, 4, 3), (200, 7)])
@pytest.mark.parametrize("limit", LARGEST_WEIGHT.values())
def test_weights_are_rounded_to_the_nearest_of_their_channel(shape: tuple[int, ...], limit: int) -> None:
    weight = RANDOM.normal(0, 1, shape).astype(np.float32)
    weight[..., 0] *= 1e-4
    weight[..., 1] = 0
    rounded, scale = quantize_weight(weight, limit)
    assert rounded.dtype == np.int8
    assert scale.dtype == np.float32
    assert rounded.shape == shape
    assert scale.shape == ((*shape[:-2], 1, shape[-1]) if len(shape) > 2 else shape[1:])
    assert np.abs(rounded).max() == limit
    assert (np.abs(rounded * scale - weight) <= 0.5001 * scale).all()
    assert (rounded[..., 1] == 0).all()
    assert (scale[..., 1] == 1).all()


def test_weights_too_small_for_a_scale_are_zero() -> None:
    rounded, scale = quantize_weight(np.full((2, 2), 1e-45, np.float32), LARGEST_WEIGHT[7])
    assert (rounded == 0).all()
    assert (scale == 1).all()


@pytest.mark.parametrize("values", [Range(-1, 3), Range(0.5, 2), Range(-3, -1), Range(0, 0), Range(-1e-3, 5)])
def test_ranges_are_those_of_dynamic_quantization(values: Range) -> None:
    model = model_of(
        "dynamic (float[2] x) => (float scale, uint8 zero) { bytes, scale, zero = DynamicQuantizeLinear (x) }"
    )
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    expected = session.run(None, {"x": np.array(values, np.float32)})
    scale, zero_point = quantize_range(values)
    assert zero_point == expected[1]
    assert scale > 0
    if values != Range(0, 0):
        assert scale == pytest.approx(expected[0], rel=1e-6)


def test_activations_of_several_products_are_quantized_once() -> None:
    model = model_of(PAIR, one=(4, 3), two=(4, 3))
    expected = run(model, x=ROWS)
    assert quantize(model) == 2
    assert sorted(operators(model)) == sorted(
        ["DynamicQuantizeLinear", *["MatMulInteger", "Cast", "Mul", "Mul"] * 2, "Add"]
    )
    np.testing.assert_allclose(run(model, x=ROWS), expected, atol=CLOSE)
    assert {name for name, values in weights_of(model).items() if values.dtype == np.float32} == {
        "one_scale",
        "two_scale",
    }


def test_weights_that_two_products_share_are_stored_once() -> None:
    model = model_of(PAIR.replace("two", "one"), one=(4, 3))
    expected = run(model, x=ROWS)
    assert quantize(model) == 2
    assert weights_of(model).keys() == {"one_int8", "one_scale"}
    np.testing.assert_allclose(run(model, x=ROWS), expected, atol=CLOSE)


@pytest.mark.parametrize("shapes", [((4, 5), (5, 3)), ((1, 4, 5), (1, 5, 3))], ids=str)
def test_a_product_can_follow_another(shapes: tuple[tuple[int, ...], ...]) -> None:
    one, two = shapes
    model = model_of(CHAIN, one=one, two=two)
    expected = run(model, x=ROWS)
    assert quantize(model) == 2
    np.testing.assert_allclose(run(model, x=ROWS), expected, atol=CLOSE)


def test_nodes_need_no_names() -> None:
    model = model_of(CHAIN, one=(4, 5), two=(5, 3))
    for node in model.graph.node:
        node.name = ""
    scores = parser.parse_model(f"{HEADER} s (float[1, time, 3] z) => (float[1, time, time] s) {{ s = Identity (z) }}")
    turned, product = (
        onnx.helper.make_node("Transpose", ["z"], ["t"], perm=[0, 2, 1]),
        onnx.helper.make_node("MatMul", ["z", "t"], ["s"]),
    )
    model.graph.node.extend([turned, product])
    model.graph.output[0].CopyFrom(scores.graph.output[0])
    assert quantize(model) == 2
    assert operators(model).count("MatMul") == 1, "of activations with activations"
    assert run(model, x=ROWS).shape == (1, 12, 12)


@pytest.mark.parametrize(
    ("node", "split"),
    [
        ("Gemm <transB = 1> (x, turned, bias)", ["MatMul", "Add"]),
        ("Gemm (x, weight)", ["MatMul"]),
        ("Gemm <alpha = 2.0> (x, weight, bias)", ["Gemm"]),
        ("Gemm (x, x)", ["Gemm"]),
    ],
)
def test_linear_layers_of_two_dimensions_are_products(node: str, split: list[str]) -> None:
    model = model_of(
        f"gemm (float[4, 4] x) => (float[4, n] y) {{ y = {node} }}", weight=(4, 3), turned=(3, 4), bias=(3,)
    )
    expected = run(model, x=ROWS[0, :4])
    split_gemms(model)
    assert operators(model) == split
    np.testing.assert_allclose(run(model, x=ROWS[0, :4]), expected, atol=1e-6)
    assert quantize(model) == split.count("MatMul")
    np.testing.assert_allclose(run(model, x=ROWS[0, :4]), expected, atol=CLOSE)


def test_products_in_loops_are_quantized() -> None:
    model = model_of(
        """
        looping (float[1, time, 4] x, int64 trips, bool yes) => (float[1, time, 4] y)
        {
            y = Loop <body = one (int64 index, bool go_on, float[1, time, 4] before)
                => (bool again, float[1, time, 4] after)
            {
                again = Identity (go_on)
                [inner] after = MatMul (before, weight)
            }> (trips, yes, x)
        }
        """
    )
    body = graphs_of(model.graph)[0]
    body.initializer.append(numpy_helper.from_array(np.eye(4, k=1, dtype=np.float32), "weight"))
    feed = {"x": ROWS, "trips": np.array(2), "yes": np.array(True)}
    expected = run(model, **feed)
    assert quantize(model) == 1
    assert [node.op_type for node in graphs_of(model.graph)[0].node].count("MatMulInteger") == 1
    assert not [tensor.name for tensor in graphs_of(model.graph)[0].initializer if tensor.name == "weight"]
    np.testing.assert_allclose(run(model, **feed), expected, atol=CLOSE)


def test_products_that_match_stay_in_float() -> None:
    model = model_of(PAIR, one=(4, 3), two=(4, 3))
    assert names_matching([model], ["f*t"]) == {"first"}
    assert names_matching([model], ["*"]) == {"first", "second"}
    assert names_matching([model], []) == set()
    with pytest.raises(ValueError, match="no product matches third; there are first, second"):
        names_matching([model], ["first", "third"])
    assert quantize(model, keep={"first"}) == 1
    assert [node.name for node in products_of(model.graph)] == ["first"]
    assert {"one", "two_int8"} <= weights_of(model).keys()


@pytest.mark.parametrize(("bits", "largest"), [(7, 64), (8, 127)])
def test_weights_have_the_requested_bits(bits: WeightBits, largest: int) -> None:
    model = model_of(PAIR, one=(4, 3), two=(4, 3))
    assert quantize(model, bits=bits) == 2
    weights = weights_of(model)
    assert np.abs(weights["one_int8"]).max() == np.abs(weights["two_int8"]).max() == largest


class TestStatic:
    FEEDS = tuple(
        {"x": RANDOM.normal(0, size, (1, 12, 4)).astype(np.float32), "other": None} for size in (1.0, 0.5, 2.0)
    )

    def test_ranges_are_the_least_and_greatest_values_of_all_feeds(self) -> None:
        model = model_of(CHAIN, one=(4, 5), two=(5, 3))
        ranges = calibrate(model, self.FEEDS)  # type: ignore[arg-type]  # inputs that the model does not have are ignored
        x = np.concatenate([feed["x"] for feed in self.FEEDS])
        y = x @ weights_of(model)["one"]
        assert ranges.keys() == {"x", "y"}
        np.testing.assert_allclose(ranges["x"], (x.min(), x.max()), rtol=0)
        np.testing.assert_allclose(ranges["y"], (y.min(), y.max()), rtol=1e-5)

    def test_a_model_may_be_too_large_for_one_file(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The session reads the model from files, not from bytes, and the model keeps its weights."""
        model = model_of(CHAIN, one=(4, 500), two=(500, 3))
        ranges, before = calibrate(model, [{"x": ROWS}]), copy_of(model)
        monkeypatch.setattr(onnx_files, "MOST_WEIGHTS_BYTES", 1_000)
        sizes = []

        def session(path: Path, **options: Any) -> onnxruntime.InferenceSession:
            sizes.append(path.stat().st_size)
            return onnxruntime.InferenceSession(path, **options)

        monkeypatch.setattr("scripts.exporting.quantization.InferenceSession", session)
        assert calibrate(model, [{"x": ROWS}]) == ranges
        assert sizes[0] < 2_000
        assert model == before

    def test_activations_are_quantized_with_those_ranges(self) -> None:
        model = model_of(CHAIN, one=(4, 5), two=(5, 3))
        expected = run(model, x=ROWS)
        ranges = calibrate(model, [{"x": ROWS}])
        assert quantize(model, ranges=ranges) == 2
        assert operators(model).count("QuantizeLinear") == 2
        assert "DynamicQuantizeLinear" not in operators(model)
        weights = weights_of(model)
        for name, values in ranges.items():
            scale, zero_point = quantize_range(values)
            assert weights[f"{name}_scale"] == scale
            assert weights[f"{name}_zero_point"] == zero_point
        np.testing.assert_allclose(run(model, x=ROWS), expected, atol=CLOSE)

    def test_calibration_needs_clips(self) -> None:
        with pytest.raises(ValueError, match="nothing to calibrate on"):
            calibrate(model_of(CHAIN, one=(4, 5), two=(5, 3)), [])

    def test_a_missing_range_is_an_error(self) -> None:
        with pytest.raises(ValueError, match="there is no range for y"):
            quantize(model_of(CHAIN, one=(4, 5), two=(5, 3)), ranges={"x": Range(-1, 1)})


MOVED = """
moved (float[1, time, 4] x) => (float[1, rows, 3] y)
<int64[1] zero = {0}, int64[1] one = {1}, int64[1] end = {-1}, int64[1] far = {1000}, int64[3] shape = {1, -1, 8}>
{
    input = Relu (x)
    early = Slice (input, zero, end, one)
    late = Slice (input, one, far, one)
    wide = Concat <axis = 2> (early, late)
    turned = Transpose <perm = [0, 2, 1]> (wide)
    again = Transpose <perm = [0, 2, 1]> (turned)
    patches = Reshape (again, shape)
    [product] y = MatMul (patches, weight)
}
"""


class TestBeforeMoves:
    def test_bytes_are_moved_instead_of_floats(self) -> None:
        model = model_of(MOVED, weight=(8, 3))
        expected = run(model, x=ROWS)
        by_hand = copy_of(model)
        quantize(model)
        (quantizer,) = (node for node in model.graph.node if node.op_type == "DynamicQuantizeLinear")
        assert quantizer.input[0] == "input"
        kinds = [node.op_type for node in model.graph.node]
        assert kinds.index("DynamicQuantizeLinear") < kinds.index("Slice")
        np.testing.assert_allclose(run(model, x=ROWS), expected, atol=CLOSE)

        by_hand.graph.output.append(
            onnx.helper.make_tensor_value_info("patches", onnx.TensorProto.FLOAT, [1, "rows", 8])
        )
        quantize(by_hand)  # graph outputs must stay in float, so nothing is moved
        (quantizer,) = (node for node in by_hand.graph.node if node.op_type == "DynamicQuantizeLinear")
        assert quantizer.input[0] == "patches"
        np.testing.assert_array_equal(run(by_hand, x=ROWS), run(model, x=ROWS))

    @pytest.mark.parametrize(
        ("change", "to"),
        [
            ("[product] y =", "seen = Shape (again) [product] y ="),
            ("(early, late)", "(early, other)"),
        ],
        ids=["another node reads it", "it joins different tensors"],
    )
    def test_quantizers_that_must_not_move_stay(self, change: str, to: str) -> None:
        other = "late_too = Neg (input) other = Slice (late_too, one, far, one) wide ="
        model = model_of(MOVED.replace("wide =", other, 1).replace(change, to), weight=(8, 3))
        expected = run(model, x=ROWS)
        quantize(model)
        (quantizer,) = (node for node in model.graph.node if node.op_type == "DynamicQuantizeLinear")
        assert quantizer.input[0] == "patches"
        np.testing.assert_allclose(run(model, x=ROWS), expected, atol=CLOSE)

    def test_static_ranges_move_too(self) -> None:
        model = model_of(MOVED, weight=(8, 3))
        expected = run(model, x=ROWS)
        quantize(model, ranges=calibrate(model, [{"x": ROWS}]))
        (quantizer,) = (node for node in model.graph.node if node.op_type == "QuantizeLinear")
        assert quantizer.input[0] == "input"
        np.testing.assert_allclose(run(model, x=ROWS), expected, atol=CLOSE)

    def test_weights_read_by_a_loop_stay_in_the_file(self) -> None:
        loop = """
        trips = Constant <value_int = 1> ()
        minus = Constant <value_int = -1> ()
        yes = Less (minus, trips)
        sums = Loop <body = one (int64 index, bool go_on) => (bool again_and, float[1, rows, 8] some)
        {
            again_and = Identity (go_on)
            some = Neg (patches)
        }> (trips, yes)
        [product] y =
        """
        model = model_of(MOVED.replace("[product] y =", loop), weight=(8, 3))
        quantize(model)
        (quantizer,) = (node for node in model.graph.node if node.op_type == "DynamicQuantizeLinear")
        assert quantizer.input[0] == "patches"
        assert run(model, x=ROWS).shape == (1, 11, 3)
