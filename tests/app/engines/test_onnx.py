from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from app.artifacts import ArtifactError
from app.engines.onnx import OnnxRuntime

Input = tuple[str, int, list[int | str]]
WAVEFORM: Input = ("input_values", TensorProto.FLOAT, ["batch", "samples"])
MASK: Input = ("attention_mask", TensorProto.INT64, ["batch", "samples"])
LENGTHS: Input = ("lengths", TensorProto.INT64, ["batch"])

Save = Callable[..., Path]


@pytest.fixture
def save(tmp_path: Path) -> Save:
    """`save(nodes, inputs)`: a file whose outputs are `other` and `logits`, each made by one of the nodes."""

    def saving(
        nodes: list[onnx.NodeProto], *inputs: Input, logits: str = "logits", kind: int = TensorProto.FLOAT
    ) -> Path:
        graph = helper.make_graph(
            nodes,
            "model",
            [helper.make_tensor_value_info(*of_graph) for of_graph in inputs],
            [helper.make_tensor_value_info(name, kind, None) for name in ("other", logits)],
        )
        path = tmp_path / "model.onnx"
        onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
        return path

    return saving


def nodes_with(logits: onnx.NodeProto, waveform: str = "input_values") -> list[onnx.NodeProto]:
    return [helper.make_node("Neg", [waveform], ["other"]), logits]


VALUES = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 0.0]], dtype=np.float32)
VALUE_LENGTHS = np.array([3, 2], dtype=np.int64)


def test_the_output_called_logits_is_taken(save: Save) -> None:
    path = save(nodes_with(helper.make_node("Add", ["input_values"] * 2, ["logits"])), WAVEFORM)
    np.testing.assert_array_equal(OnnxRuntime(path, threads=1)(VALUES, VALUE_LENGTHS), 2 * VALUES)


def test_names_of_others_are_no_hindrance(save: Save) -> None:
    nodes = nodes_with(helper.make_node("Add", ["audio"] * 2, ["probabilities"]), "audio")
    path = save(nodes, ("audio", *WAVEFORM[1:]), logits="probabilities")
    np.testing.assert_array_equal(OnnxRuntime(path, threads=1)(VALUES, VALUE_LENGTHS), -VALUES)


@pytest.mark.parametrize("order", [(WAVEFORM, MASK), (MASK, WAVEFORM)])
def test_an_attention_mask_covers_the_sound(save: Save, order: tuple[Input, ...]) -> None:
    cast = helper.make_node("Cast", ["attention_mask"], ["logits"], to=TensorProto.FLOAT)
    runtime = OnnxRuntime(save(nodes_with(cast), *order), threads=1)
    np.testing.assert_array_equal(runtime(VALUES, VALUE_LENGTHS), [[1, 1, 1], [1, 1, 0]])


def test_lengths_are_given_where_they_are_wanted(save: Save) -> None:
    cast = helper.make_node("Cast", ["lengths"], ["logits"], to=TensorProto.FLOAT)
    runtime = OnnxRuntime(save(nodes_with(cast), WAVEFORM, LENGTHS), threads=1)
    np.testing.assert_array_equal(runtime(VALUES, VALUE_LENGTHS), [3, 2])


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ([WAVEFORM, ("speaker", TensorProto.INT64, ["batch"])], r"inputs that nothing is known of: speaker"),
        ([("input_values", TensorProto.FLOAT, ["batch", 16_000])], r"for clips of exactly 16000 samples"),
        ([("input_values", TensorProto.FLOAT16, ["batch", "samples"])], r"input_values of tensor\(float16\) in 2 "),
        ([("input_features", TensorProto.FLOAT, ["batch", "frames", 80])], r"input_features of .* in 3 dimensions"),
    ],
)
def test_a_model_of_something_else_is_refused(save: Save, inputs: list[Input], message: str) -> None:
    name, kind, _ = inputs[0]
    path = save(nodes_with(helper.make_node("Abs", [name], ["logits"]), name), *inputs, kind=kind)
    with pytest.raises(ArtifactError, match=message):
        OnnxRuntime(path, threads=1)
