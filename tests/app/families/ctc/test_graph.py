from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper

from app.artifacts import ArtifactError
from app.families.ctc.graph import CtcGraph, frames_step, padded_length
from app.families.ctc.windows import Framing
from app.runtimes.graph import Tensor, Tensors
from app.runtimes.onnx import OnnxGraph

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


FRAMING = Framing(hop=320, receptive_field=400)


def nodes_with(logits: onnx.NodeProto, waveform: str = "input_values") -> list[onnx.NodeProto]:
    return [helper.make_node("Neg", [waveform], ["other"]), logits]


EVERY_SAMPLE = Framing(hop=1, receptive_field=1)
"""Of models whose frames are samples."""
VALUES = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 0.0]], dtype=np.float32)
VALUE_LENGTHS = np.array([3, 2], dtype=np.int64)


def graph_of(path: Path) -> CtcGraph:
    return CtcGraph(OnnxGraph(path, threads=1), EVERY_SAMPLE)


def test_the_output_called_logits_is_taken(save: Save) -> None:
    path = save(nodes_with(helper.make_node("Add", ["input_values"] * 2, ["logits"])), WAVEFORM)
    np.testing.assert_array_equal(graph_of(path)(VALUES, VALUE_LENGTHS), 2 * VALUES)


def test_names_of_others_are_no_hindrance(save: Save) -> None:
    nodes = nodes_with(helper.make_node("Add", ["audio"] * 2, ["probabilities"]), "audio")
    path = save(nodes, ("audio", *WAVEFORM[1:]), logits="probabilities")
    np.testing.assert_array_equal(graph_of(path)(VALUES, VALUE_LENGTHS), -VALUES)


@pytest.mark.parametrize("order", [(WAVEFORM, MASK), (MASK, WAVEFORM)])
def test_an_attention_mask_covers_the_sound(save: Save, order: tuple[Input, ...]) -> None:
    cast = helper.make_node("Cast", ["attention_mask"], ["logits"], to=TensorProto.FLOAT)
    graph = graph_of(save(nodes_with(cast), *order))
    np.testing.assert_array_equal(graph(VALUES, VALUE_LENGTHS), [[1, 1, 1], [1, 1, 0]])


def test_lengths_are_given_where_they_are_wanted(save: Save) -> None:
    cast = helper.make_node("Cast", ["lengths"], ["numbers"], to=TensorProto.FLOAT)
    axis = helper.make_node("Constant", [], ["axis"], value_ints=[1])
    column = helper.make_node("Unsqueeze", ["numbers", "axis"], ["column"])
    add = helper.make_node("Add", ["input_values", "column"], ["logits"])
    graph = graph_of(save([cast, axis, column, *nodes_with(add)], WAVEFORM, LENGTHS))
    np.testing.assert_array_equal(graph(VALUES, VALUE_LENGTHS), VALUES + np.array([[3], [2]]))


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ([WAVEFORM, ("speaker", TensorProto.INT64, ["batch"])], r"unknown inputs: speaker"),
        ([("input_values", TensorProto.FLOAT, ["batch", 16_000])], r"for clips of exactly 16000 samples"),
        ([("input_values", TensorProto.FLOAT16, ["batch", "samples"])], r"input_values of float16 in 2 "),
        ([("input_features", TensorProto.FLOAT, ["batch", "frames", 80])], r"input_features of .* in 3 dimensions"),
    ],
)
def test_a_model_of_something_else_is_refused(save: Save, inputs: list[Input], message: str) -> None:
    name, kind, _ = inputs[0]
    path = save(nodes_with(helper.make_node("Abs", [name], ["logits"]), name), *inputs, kind=kind)
    with pytest.raises(ArtifactError, match=message):
        graph_of(path)


def test_clips_are_padded_to_few_lengths() -> None:
    lengths = {samples: padded_length(samples, FRAMING) for samples in range(1, 20 * 16_000, 7)}
    for samples, padded in lengths.items():
        frames = FRAMING.frames(padded)
        step = frames_step(frames)
        assert samples <= padded < samples + step * 320 + 400
        assert frames % step == 0
        assert (padded - 400) % 320 == 0, "no sample is too many"
        assert padded_length(padded, FRAMING) == padded
    assert len(set(lengths.values())) == 32 + 16 + 16


@pytest.mark.parametrize(
    ("frames", "step"), [(1, 8), (8, 8), (99, 8), (256, 8), (257, 16), (512, 16), (513, 32), (1_024, 32), (5_000, 32)]
)
def test_longer_clips_are_padded_by_more(frames: int, step: int) -> None:
    assert frames_step(frames) == step


class Compiling:
    """A graph that compiles code for each shape, with a frame for every 320 samples; it notes what it was given."""

    outputs = ("logits",)
    metadata: ClassVar[Mapping[str, str]] = {}
    compiles_shapes = True

    def __init__(self, *others: str) -> None:
        waveform = Tensor("float32", (None, None))
        self.inputs = {"input_values": waveform} | {name: Tensor("int64", (None,)) for name in others}
        self.given: list[tuple[int, int]] = []

    def __call__(self, feeds: Tensors, outputs: Sequence[str]) -> dict[str, NDArray[Any]]:
        samples = feeds["input_values"].shape[1]
        self.given.append((samples, int(feeds["lengths"][0]) if "lengths" in feeds else 0))
        frames = (samples - 400) // 320 + 1
        return {"logits": np.arange(frames, dtype=np.float32).reshape(1, frames, 1)}


def test_where_shapes_are_compiled_clips_are_padded_and_cut_again() -> None:
    graph = Compiling("lengths")
    logits = CtcGraph(graph, FRAMING)(np.ones((1, 9_000), dtype=np.float32), np.array([9_000]))
    assert graph.given == [(padded_length(9_000, FRAMING), 9_000)]
    assert logits.shape == (1, FRAMING.frames(9_000), 1)


def test_but_not_if_the_model_cannot_be_told_how_long_they_are() -> None:
    graph = Compiling()
    CtcGraph(graph, FRAMING)(np.ones((1, 9_000), dtype=np.float32), np.array([9_000]))
    assert graph.given == [(9_000, 0)]


@pytest.mark.parametrize("hop", [640, 160], ids=["too many", "too few"])
def test_frames_that_the_settings_do_not_say_are_found(hop: int) -> None:
    """Although frames of the padding are cut off."""
    framing = Framing(hop, FRAMING.receptive_field)
    padded = padded_length(8_000, framing)
    gives, expected = FRAMING.frames(padded), framing.frames(padded)
    message = f"the model gave {gives} frames for {padded} samples, its settings say {expected}"
    with pytest.raises(ValueError, match=message):
        CtcGraph(Compiling("lengths"), framing)(np.ones((1, 8_000), dtype=np.float32), np.array([8_000]))
