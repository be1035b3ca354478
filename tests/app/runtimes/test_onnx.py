from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from app.runtimes.graph import Tensor
from app.runtimes.onnx import OnnxGraph


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file with two inputs and two outputs, and a word about itself."""
    inputs = [
        helper.make_tensor_value_info("a", TensorProto.FLOAT, ["batch", None, 2]),
        helper.make_tensor_value_info("b", TensorProto.INT64, ["batch"]),
    ]
    outputs = [helper.make_tensor_value_info(name, kind, None) for name, kind in (("minus", 1), ("same", 7))]
    nodes = [helper.make_node("Neg", ["a"], ["minus"]), helper.make_node("Identity", ["b"], ["same"])]
    model = helper.make_model(helper.make_graph(nodes, "", inputs, outputs), ir_version=9)
    model.opset_import[0].version = 17
    helper.set_model_props(model, {"said": "of itself"})
    onnx.save(model, tmp_path / "model.onnx")
    return tmp_path / "model.onnx"


def test_it_says_what_it_takes_and_gives(path: Path) -> None:
    graph = OnnxGraph(path, threads=1)
    assert graph.inputs == {"a": Tensor("float32", (None, None, 2)), "b": Tensor("int64", (None,))}
    assert graph.outputs == ("minus", "same")
    assert graph.metadata == {"said": "of itself"}


def test_only_the_outputs_that_are_wanted_are_given(path: Path) -> None:
    graph = OnnxGraph(path, threads=1)
    feeds = {"a": np.ones((1, 3, 2), dtype=np.float32), "b": np.array([7])}
    assert list(graph(feeds, ["same"])) == ["same"]
    computed = graph(feeds, ["same", "minus"])
    np.testing.assert_array_equal(computed["minus"], -feeds["a"])
    np.testing.assert_array_equal(computed["same"], [7])
