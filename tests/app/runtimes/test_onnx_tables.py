from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from app.runtimes.onnx import OnnxGraph
from app.runtimes.onnx_tables import map_tables

ROWS, COLUMNS = 70_000, 64
TABLE = np.random.default_rng(0).integers(0, 256, (ROWS, COLUMNS), dtype=np.uint8)


def save(path: Path, *, operator: str = "Gather", table: np.ndarray = TABLE) -> Path:
    """A model that looks rows up in a table and adds one to them."""
    ids = helper.make_tensor_value_info("ids", TensorProto.INT64, ["rows"])
    found = helper.make_tensor_value_info("found", TensorProto.FLOAT, None)
    nodes = [
        helper.make_node(operator, ["table", "ids"], ["taken"], axis=0),
        helper.make_node("Cast", ["taken"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("Add", ["floats", "one"], ["found"]),
    ]
    constants = [numpy_helper.from_array(table, "table"), numpy_helper.from_array(np.ones((), np.float32), "one")]
    proto = helper.make_model(helper.make_graph(nodes, "rows", [ids], [found], constants), ir_version=9)
    proto.opset_import[0].version = 17
    onnx.save(proto, path)
    return path


def test_a_table_is_mapped_as_it_is_in_the_file(tmp_path: Path) -> None:
    mapped = map_tables(save(tmp_path / "model.onnx"))
    np.testing.assert_array_equal(mapped.tables["table"], TABLE)
    mapped.release()
    np.testing.assert_array_equal(mapped.tables["table"][ROWS // 2], TABLE[ROWS // 2], "read again")


def test_a_session_looks_up_in_the_mapped_table(tmp_path: Path) -> None:
    graph = OnnxGraph(save(tmp_path / "model.onnx"), 1)
    ids = np.array([0, ROWS - 1, 5], dtype=np.int64)
    found = graph({"ids": ids}, ["found"])["found"]
    np.testing.assert_array_equal(found, TABLE[ids].astype(np.float32) + 1)


def test_shapes_that_older_writers_do_not_pack(tmp_path: Path) -> None:
    """A repeated number may be one field for each value, or one field with all of them."""
    path = save(tmp_path / "model.onnx")
    packed = bytes([0x0A, 4, *_varint(ROWS), COLUMNS])
    single = bytes([0x08, *_varint(ROWS), 0x08, COLUMNS])
    model = path.read_bytes()
    one, other = (packed, single) if packed in model else (single, packed)
    assert model.count(one) == 1
    assert len(one) == len(other), "or the lengths of the messages around it would be wrong"
    path.write_bytes(model.replace(one, other))
    np.testing.assert_array_equal(map_tables(path).tables["table"], TABLE)


def _varint(value: int) -> bytes:
    return bytes([value & 0x7F | 0x80, value >> 7 & 0x7F | 0x80, value >> 14])


@pytest.mark.parametrize("kind", ["small", "float", "signed", "not looked up"])
def test_what_is_mapped(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    if kind == "small":
        save(path, table=TABLE[:1000])
    elif kind == "float":
        save(path, table=TABLE.astype(np.float32))
    elif kind == "signed":
        save(path, table=TABLE.view(np.int8))
    else:
        save(path, operator="Add")
    assert list(map_tables(path).tables) == (["table"] if kind == "signed" else [])


def test_external_weights_are_left_to_the_runtime(tmp_path: Path) -> None:
    model = onnx.load(save(tmp_path / "model.onnx"))
    external = tmp_path / "external.onnx"
    onnx.save_model(model, external, save_as_external_data=True, location="external.onnx_data", size_threshold=1024)
    assert map_tables(external).tables == {}


@pytest.mark.parametrize("kept", [0.5, 0.999])
def test_a_broken_file_is_left_to_the_runtime(kept: float, tmp_path: Path) -> None:
    path = save(tmp_path / "model.onnx", table=np.concatenate([TABLE] * 3))
    whole = path.read_bytes()
    path.write_bytes(whole[: int(kept * len(whole))])
    assert map_tables(path).tables == {}
    path.write_bytes(b"\xff" * (5 << 20))
    assert map_tables(path).tables == {}
