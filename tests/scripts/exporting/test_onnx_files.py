import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray
from onnx import helper, numpy_helper, parser
from torch.nn.utils import parametrize
from transformers import AutoModelForCTC, PreTrainedModel

from scripts.exporting import onnx_files
from scripts.exporting.onnx_files import (
    HALF_ROUNDING,
    MIN_STORED_ELEMENTS,
    MOST_WEIGHTS_BYTES,
    count_operators,
    graphs_of,
    reads_of,
    remove_weight_norm,
    restore_halves,
    save,
    stock_export,
    store_compactly,
    store_rounded,
    trace,
    weights_bytes,
)
from scripts.exporting.onnx_runtime_form import export_for_batches
from tests.checkpoints import SHAPES, babbling, built, exporting, tiny_model
from tests.reference import session_on_one_thread


def load(shape: str, checkpoints: Path) -> PreTrainedModel:
    model: PreTrainedModel = AutoModelForCTC.from_pretrained(built(shape, checkpoints), dtype=torch.float32)
    model.eval()
    return model


def session_of(path: Path) -> Callable[[NDArray[np.float32]], NDArray[np.float32]]:
    session = session_on_one_thread(path)

    def run(samples: NDArray[np.float32]) -> NDArray[np.float32]:
        (logits,) = session.run(["logits"], {"input_values": samples})
        return np.asarray(logits, dtype=np.float32)

    return run


@pytest.fixture(scope="module")
def files(checkpoints: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Shape -> folder with the model.onnx of optimum, without weight norm, before it is stored compactly."""
    made: dict[str, Path] = {}

    def get(shape: str) -> Path:
        if shape not in made:
            made[shape] = tmp_path_factory.mktemp(shape)
            with exporting():
                model = load(shape, checkpoints)
                remove_weight_norm(model)
                onnx.save(stock_export(model), made[shape] / "model.onnx")
        return made[shape]

    return get


@pytest.mark.parametrize("shape", SHAPES)
def test_onnx_computes_what_pytorch_computes(shape: str, checkpoints: Path, files: Callable[[str], Path]) -> None:
    model, run = load(shape, checkpoints), session_of(files(shape) / "model.onnx")
    for duration_s in (0.025, 0.3, 2.0):  # the shortest has one frame
        samples = babbling(duration_s, seed=5)[np.newaxis] * 5
        with torch.inference_mode():
            expected = model(torch.from_numpy(samples)).logits.numpy()
        actual = run(samples)
        assert actual.shape == expected.shape == (1, (samples.shape[1] - 400) // 320 + 1, model.config.vocab_size)
        np.testing.assert_allclose(actual, expected, atol=1e-4, rtol=0)


def test_weight_norm_is_replaced_by_its_value(checkpoints: Path) -> None:
    model = load("cahya_like", checkpoints)
    convolution = model.get_submodule("wav2vec2.encoder.pos_conv_embed.conv")
    assert isinstance(convolution, torch.nn.Conv1d)
    assert parametrize.is_parametrized(convolution)
    weight = convolution.weight.detach().clone()
    remove_weight_norm(model)
    assert not any(parametrize.is_parametrized(module) for module in model.modules())
    torch.testing.assert_close(convolution.weight, weight, rtol=0, atol=0)
    remove_weight_norm(model)  # nothing is left to do


class Doubling(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = torch.nn.Linear(2, 2, bias=False)

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        doubled: torch.Tensor = self.inner(values) * 2
        return doubled


def test_a_module_is_traced_for_the_dimensions_that_vary() -> None:
    module = Doubling()
    time = {1: "time"}
    with exporting():
        model = trace(module, (torch.zeros(1, 3, 2),), {"values": time}, {"doubled": time}, prefix="part/")
    onnx.checker.check_model(model, full_check=True)
    between = {name for node in model.graph.node for name in (node.name, *node.input, *node.output)}
    assert all(name.startswith("part/") for name in between - {"values", "doubled"})
    assert [dim.dim_param or dim.dim_value for dim in model.graph.input[0].type.tensor_type.shape.dim] == [1, "time", 2]
    values = torch.randn(1, 7, 2)
    (actual,) = onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"values": values.numpy()})
    with torch.inference_mode():
        np.testing.assert_allclose(actual, module(values).numpy(), atol=1e-6)


def test_the_exporter_learns_the_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    """PyTorch stores weights of more than 2 GB in that folder, if the path is a string."""
    export, paths = torch.onnx.export, []

    def exporter(module: torch.nn.Module, example: Any, path: Any, **options: Any) -> None:
        paths.append(path)
        export(module, example, path, **options)

    monkeypatch.setattr(torch.onnx, "export", exporter)
    with exporting():
        trace(Doubling(), (torch.zeros(1, 3, 2),), {"values": {}}, {"doubled": {}})
    assert [type(path) for path in paths] == [str]


LOOP = """
<ir_version: 9, opset_import: ["" : 17]>
looping (int64 trips, float[2] step, float[2] start) => (float[2] end)
{
    doubled = Add (step, step)
    end = Loop <body = one (int64 index, bool go_on, float[2] before) => (bool again, float[2] after)
    {
        again = Identity (go_on)
        after = Add (before, doubled)
    }> (trips, , start)
}
"""


def test_operators_in_loops_count(tmp_path: Path) -> None:
    model = parser.parse_model(LOOP)
    onnx.save(model, tmp_path / "model.onnx")
    assert count_operators(tmp_path / "model.onnx") == {"Add": 2, "Loop": 1, "Identity": 1}
    assert [graph.name for graph in graphs_of(model.graph)] == ["one", "looping"]
    (loop,) = (node for node in model.graph.node if node.op_type == "Loop")
    assert reads_of(loop) == {"trips", "start", "go_on", "before", "doubled", "again", "after"}


def adding(values: NDArray[np.float32]) -> Any:
    """A graph of one node: x + values."""
    kind = helper.make_tensor_type_proto(onnx.TensorProto.FLOAT, values.shape)
    graph = helper.make_graph(
        [helper.make_node("Add", ["x", "w"], ["y"])],
        "add",
        [helper.make_value_info("x", kind)],
        [helper.make_value_info("y", kind)],
        [numpy_helper.from_array(values, "w")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


class TestSave:
    @pytest.fixture
    def little(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Limit the weights in one file to 1000 bytes."""
        monkeypatch.setattr(onnx_files, "MOST_WEIGHTS_BYTES", 1_000)

    @pytest.mark.usefixtures("little")
    def test_weights_lie_beside_a_model_that_is_too_large_for_one_file(self, tmp_path: Path) -> None:
        path, weights = tmp_path / "model.onnx", tmp_path / "model.onnx_data"
        values = np.random.default_rng(0).normal(size=2_000).astype(np.float32)
        for _ in range(2):  # existing files are replaced
            save(adding(values), path)
            assert path.stat().st_size < 1_000
            assert weights.read_bytes() == values.tobytes()
            assert weights.stat().st_mode == path.stat().st_mode
        (result,) = onnxruntime.InferenceSession(path).run(None, {"x": np.zeros_like(values)})
        np.testing.assert_array_equal(result, values)

    def test_all_others_are_one_file(self, tmp_path: Path) -> None:
        path, weights = tmp_path / "model.onnx", tmp_path / "model.onnx_data"
        weights.write_bytes(b"of a larger one")
        save(adding(np.ones(2_000, np.float32)), path)
        assert path.stat().st_size > 8_000
        assert not weights.exists()

    @pytest.mark.parametrize("store", [store_compactly, store_rounded])
    @pytest.mark.usefixtures("little")
    def test_external_weights_are_stored_in_half_precision_too(
        self, store: Callable[[Path], None], tmp_path: Path
    ) -> None:
        path, weights = tmp_path / "model.onnx", tmp_path / "model.onnx_data"
        values = np.arange(2_000, dtype=np.float32)
        save(adding(values), path)
        store(path)
        assert weights.stat().st_size == 4_000
        (result,) = onnxruntime.InferenceSession(path).run(None, {"x": np.zeros_like(values)})
        np.testing.assert_array_equal(result, values)

    def test_what_fits_in_half_comes_back_to_one_file(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        path, weights = tmp_path / "model.onnx", tmp_path / "model.onnx_data"
        monkeypatch.setattr(onnx_files, "MOST_WEIGHTS_BYTES", 4_000)
        save(adding(np.arange(2_000, dtype=np.float32)), path)
        assert weights.exists()
        store_compactly(path)
        assert not weights.exists()
        assert onnx.load(path, load_external_data=False).graph.initializer[0].data_type == onnx.TensorProto.FLOAT16

    def test_weights_of_loops_count(self) -> None:
        model = parser.parse_model(LOOP)
        inner, outer = graphs_of(model.graph)
        inner.initializer.append(numpy_helper.from_array(np.zeros((3, 5), np.float16), "a"))
        outer.initializer.append(numpy_helper.from_array(np.zeros((), np.int64), "b"))
        assert weights_bytes(model) == 3 * 5 * 2 + 8

    def test_the_nodes_of_the_largest_models_fit_into_one_file(self) -> None:
        """Those of wav2vec2-base are 1 MB."""
        assert MOST_WEIGHTS_BYTES < onnx.checker.MAXIMUM_PROTOBUF - 100e6


class TestStoreRounded:
    def test_weights_lose_at_most_what_half_precision_cannot_hold(self, tmp_path: Path) -> None:
        path = tmp_path / "model.onnx"
        values = np.random.default_rng(0).normal(0, 0.02, 4 * MIN_STORED_ELEMENTS).astype(np.float32)
        onnx.save(adding(values), path)
        before = path.stat().st_size
        store_rounded(path)
        assert path.stat().st_size < 0.55 * before
        (result,) = onnxruntime.InferenceSession(path).run(None, {"x": np.zeros_like(values)})
        np.testing.assert_allclose(result, values, rtol=HALF_ROUNDING, atol=2.0**-25)
        assert (result != values).any()

    @pytest.mark.parametrize("value", [70_000.0, 1e-9, 1e-30, np.nan, np.inf])
    def test_what_half_precision_cannot_hold_stays(self, tmp_path: Path, value: float) -> None:
        path = tmp_path / "model.onnx"
        onnx.save(adding(np.full(MIN_STORED_ELEMENTS, value, np.float32)), path)
        store_rounded(path)
        (initializer,) = onnx.load(path).graph.initializer
        assert initializer.data_type == onnx.TensorProto.FLOAT

    def test_a_model_computes_nearly_the_same(self, files: Callable[[str], Path], tmp_path: Path) -> None:
        path = Path(shutil.copyfile(files("layer_norm_like") / "model.onnx", tmp_path / "model.onnx"))
        samples = babbling(1.0, seed=6)[np.newaxis] * 5
        before, bytes_before = session_of(path)(samples), path.stat().st_size
        store_rounded(path)
        after = session_of(path)(samples)
        assert 1e-5 < np.abs(after - before).max() < 0.05 * before.std()
        assert path.stat().st_size < 0.7 * bytes_before
        onnx.checker.check_model(path)


class TestStoreCompactly:
    @pytest.fixture
    def half(self, checkpoints: Path, tmp_path: Path) -> Path:
        """The FP32 file of a checkpoint whose weights were published in half precision."""
        model = load("layer_norm_like", checkpoints)
        remove_weight_norm(model)
        path = tmp_path / "model.onnx"
        with exporting():
            onnx.save(stock_export(model.half().float()), path)
        return path

    def test_the_same_bits_in_half_the_bytes(self, half: Path) -> None:
        samples = babbling(1.0, seed=6)[np.newaxis] * 5
        before, bytes_before = session_of(half)(samples), half.stat().st_size
        store_compactly(half)
        np.testing.assert_array_equal(session_of(half)(samples), before)
        assert half.stat().st_size < 0.7 * bytes_before
        onnx.checker.check_model(half)

    @pytest.mark.parametrize("store", [store_compactly, store_rounded])
    def test_it_can_be_undone(self, half: Path, store: Callable[[Path], None]) -> None:
        before, operators = {item.name: item for item in onnx.load(half).graph.initializer}, count_operators(half)
        store(half)
        model = onnx.load(half)
        restore_halves(model.graph)
        assert {item.name: item for item in model.graph.initializer} == before
        onnx.save(model, half)
        assert count_operators(half) == operators

    def test_weights_in_a_loop_are_stored_so_too(self, tmp_path: Path) -> None:
        path = tmp_path / "model.onnx"
        with exporting():
            onnx.save(export_for_batches(tiny_model("wav2vec2", "group", conv_dim=[32] * 7).half().float()), path)
        store_compactly(path)
        halves = [
            item.name
            for graph in graphs_of(onnx.load(path).graph)
            for item in graph.initializer
            if item.data_type == onnx.TensorProto.FLOAT16
        ]
        assert sum(name.startswith("front_end/") for name in halves) == 6
        model = onnx.load(path)
        restore_halves(model.graph)
        assert not {name for graph in graphs_of(model.graph) for node in graph.node for name in node.input} & set(
            halves
        )
        feed = {"input_values": babbling(2.5, seed=6)[np.newaxis], "lengths": np.array([40_000])}
        before, after = (
            onnxruntime.InferenceSession(file.SerializeToString()).run(None, feed)[0]
            for file in (onnx.load(path), model)
        )
        np.testing.assert_array_equal(before, after)

    def test_a_second_call_changes_nothing(self, half: Path) -> None:
        store_compactly(half)
        once = half.read_bytes()
        store_compactly(half)
        assert half.read_bytes() == once

    def test_weights_that_do_not_fit_stay(self, files: Callable[[str], Path], tmp_path: Path) -> None:
        source, path = files("cahya_like") / "model.onnx", tmp_path / "model.onnx"
        shutil.copyfile(source, path)
        store_compactly(path)
        before, after = ({item.name: item for item in onnx.load(file).graph.initializer} for file in (source, path))
        head = next(name for name, item in before.items() if list(item.dims) == [32, 40])
        assert after[head] == before[head]

    @pytest.mark.parametrize(
        ("value", "fits"), [(1.5, True), (-0.0, True), (2.0**-24, True), (0.1, False), (70_000.0, False), (1e-9, False)]
    )
    def test_a_number_is_stored_short_only_if_nothing_is_lost(self, tmp_path: Path, value: float, fits: bool) -> None:
        path = tmp_path / "model.onnx"
        onnx.save(adding(np.full(MIN_STORED_ELEMENTS, value, np.float32)), path)
        store_compactly(path)
        (initializer,) = onnx.load(path).graph.initializer
        assert (initializer.data_type == onnx.TensorProto.FLOAT16) == fits
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        (result,) = session.run(None, {"x": np.full(MIN_STORED_ELEMENTS, -0.0, np.float32)})
        assert result.tobytes() == (np.full(MIN_STORED_ELEMENTS, -0.0 + value, np.float32)).tobytes()

    def test_small_ones_are_left_alone(self, tmp_path: Path) -> None:
        path = tmp_path / "model.onnx"
        onnx.save(adding(np.ones(MIN_STORED_ELEMENTS - 1, np.float32)), path)
        store_compactly(path)
        assert count_operators(path) == {"Add": 1}
