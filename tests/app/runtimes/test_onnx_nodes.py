import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from app.runtimes.onnx import session_options
from app.runtimes.onnx_nodes import extended, int64_tensor, node


def model() -> bytes:
    """A model of two nodes: minus = -a, with a tensor between them."""
    value = helper.make_tensor_value_info("a", TensorProto.FLOAT, ["rows", 3])
    minus = helper.make_tensor_value_info("minus", TensorProto.FLOAT, None)
    nodes = [helper.make_node("Identity", ["a"], ["between"]), helper.make_node("Neg", ["between"], ["minus"])]
    proto = helper.make_model(helper.make_graph(nodes, "minus", [value], [minus]), ir_version=9)
    proto.opset_import[0].version = 17
    return bytes(proto.SerializeToString())


COLUMNS = np.array([2, 0], dtype=np.int64)
LONGER = extended(
    model(),
    [
        node("Gather", ("between", "columns"), ("chosen",), axis=1),
        node("Transpose", ("chosen",), ("turned",), perm=(1, 0)),
        node("Pad", ("turned", "pads"), ("padded",), mode="edge"),
        node("Clip", ("padded", "", "highest"), ("clipped",)),
    ],
    [int64_tensor("columns", COLUMNS), int64_tensor("pads", np.array([0, 0, 0, 1], dtype=np.int64))],
    inputs=("highest",),
    outputs=("clipped",),
)


def test_the_extended_model_computes_both_outputs() -> None:
    session = onnxruntime.InferenceSession(LONGER, session_options(1), providers=["CPUExecutionProvider"])
    values = np.arange(6, dtype=np.float32).reshape(2, 3)
    feeds = {"a": values, "highest": np.array(4, dtype=np.float32)}
    minus, clipped = session.run(["minus", "clipped"], feeds)
    np.testing.assert_array_equal(minus, -values)
    np.testing.assert_array_equal(clipped, np.minimum(values[[0, 1, 1]][:, COLUMNS].T, 4))


def test_onnx_reads_what_is_written() -> None:
    graph = onnx.load_from_string(LONGER).graph
    assert [item.op_type for item in graph.node] == ["Identity", "Neg", "Gather", "Transpose", "Pad", "Clip"]
    assert graph.node[2] == helper.make_node("Gather", ["between", "columns"], ["chosen"], name="chosen", axis=1)
    assert graph.node[3] == helper.make_node("Transpose", ["chosen"], ["turned"], name="turned", perm=[1, 0])
    assert graph.node[4] == helper.make_node("Pad", ["turned", "pads"], ["padded"], name="padded", mode="edge")
    np.testing.assert_array_equal(numpy_helper.to_array(graph.initializer[0]), COLUMNS)


def test_a_tensor_of_any_shape_and_sign() -> None:
    values = np.array([[-(2**62), -1], [300, 2**62], [0, 1]], dtype=np.int64)
    tensor = onnx.TensorProto.FromString(int64_tensor("values", values))
    np.testing.assert_array_equal(numpy_helper.to_array(tensor), values)
