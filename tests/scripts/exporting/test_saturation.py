"""INT8 gives the same results on CPUs that add pairs of products in 16 bits. The tests emulate that, for any CPU."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import numpy_helper
from transformers import AutoModelForCTC

from app.audio import AudioLimits, decode
from app.families.ctc.graph import LENGTHS_INPUT
from app.families.ctc.recognizer import input_values
from app.settings import BUNDLED_MODEL
from scripts.exporting.graph_export import Quantization, export_fp32, export_int8
from scripts.exporting.integer_ranges import EXACT_MAX_INT8, WeightBits
from scripts.exporting.onnx_files import graphs_of
from tests.checkpoints import RATE_HZ, babbling, built, exporting
from tests.recognizers import ctc_graph, ctc_settings
from tests.saturation import exact_product, run_model, saturating_product

SAMPLES = Path(__file__).resolve().parents[3] / "samples"
SPEECH_S = 0.4


def weights_of(path: Path) -> list[NDArray[np.int8]]:
    """Every INT8 weight of a model."""
    graphs = graphs_of(onnx.load(path).graph)
    tensors = [numpy_helper.to_array(tensor) for graph in graphs for tensor in graph.initializer]
    return [values for values in tensors if values.dtype == np.int8]


def speech() -> NDArray[np.float32]:
    """The start of a sample as input of the bundled model, shape (1, samples)."""
    with (SAMPLES / "short.wav").open("rb") as file:
        samples = decode(file, RATE_HZ, AudioLimits(60.0, 1 << 30, 8)).samples
    return input_values(samples[: int(SPEECH_S * RATE_HZ)], ctc_settings(BUNDLED_MODEL).features)[np.newaxis]


class TestProduct:
    def test_pairs_saturate_in_both_directions(self) -> None:
        left = np.array([[255, 255, 1, 1]], np.uint8)
        right = np.array([[127, -127, 100], [127, -127, -100], [5, 5, 5], [6, 6, 6]], np.int8)
        assert saturating_product(left, right).tolist() == [[32_767 + 11, -32_768 + 11, 11]]
        assert exact_product(left, right).tolist() == [[64_770 + 11, -64_770 + 11, 11]]

    def test_the_largest_exact_weights_never_do(self) -> None:
        left = np.full((1, 5), 255, np.uint8)
        for weight in (EXACT_MAX_INT8, -EXACT_MAX_INT8):
            right = np.full((5, 1), weight, np.int8)
            assert saturating_product(left, right).tolist() == [[5 * 255 * weight]]
        right = np.full((5, 1), EXACT_MAX_INT8 + 1, np.int8)
        assert saturating_product(left, right) < exact_product(left, right)

    @pytest.mark.parametrize("shapes", [((7, 5), (5, 3)), ((2, 7, 6), (6, 3)), ((2, 4, 7, 6), (4, 6, 3))])
    def test_any_shape(self, shapes: tuple[tuple[int, ...], tuple[int, ...]]) -> None:
        random = np.random.default_rng(0)
        left = random.integers(0, 256, shapes[0], np.uint8)
        right = random.integers(-EXACT_MAX_INT8, EXACT_MAX_INT8 + 1, shapes[1]).astype(np.int8)
        np.testing.assert_array_equal(saturating_product(left, right), exact_product(left, right))


class TestBundledModel:
    """The weights of a product, and its activations for real audio."""

    PATH = BUNDLED_MODEL / "model_int8.onnx"

    def test_no_weight_is_too_large(self) -> None:
        weights = weights_of(self.PATH)
        assert len(weights) > 40
        assert max(np.abs(values.astype(int)).max() for values in weights) == EXACT_MAX_INT8

    def test_it_computes_the_same_without_vnni(self) -> None:
        model, values = onnx.load(self.PATH), speech()
        exact, saturating = (run_model(model, {"input_values": values}, saturates) for saturates in (False, True))
        np.testing.assert_array_equal(saturating, exact)
        here = ctc_graph(ctc_settings(BUNDLED_MODEL), self.PATH)(values, np.array([values.shape[1]]))
        assert (here.argmax(axis=-1) == exact.argmax(axis=-1)).mean() >= 0.95, (
            "and the same as ONNX Runtime on this CPU"
        )


@pytest.fixture(scope="module", params=["dynamic", "static"])
def method(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture(scope="module")
def int8(method: Any, checkpoints: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[WeightBits, Path]:
    """A checkpoint in INT8, by the bits of its weights."""
    folder = tmp_path_factory.mktemp("saturation")
    model = AutoModelForCTC.from_pretrained(built("cahya_like", checkpoints)).eval()
    paths: dict[WeightBits, Path] = {7: folder / "7.onnx", 8: folder / "8.onnx"}
    with exporting():
        export_fp32(model, folder / "model.onnx")
        for bits, path in paths.items():
            export_int8(model, folder / "model.onnx", path, Quantization(method, bits=bits), [feeds(2.0, seed=1)])
    return paths


def feeds(duration_s: float, seed: int) -> dict[str, NDArray[Any]]:
    samples = babbling(duration_s, seed)[np.newaxis]
    return {"input_values": samples, LENGTHS_INPUT: np.array([samples.shape[1]])}


def difference(path: Path) -> float:
    """The largest change of a model's logits by saturation."""
    model = onnx.load(path)
    names = {value.name for value in model.graph.input}
    inputs = {name: values for name, values in feeds(1.0, seed=2).items() if name in names}
    exact, saturating = (run_model(model, inputs, saturates) for saturates in (False, True))
    return float(np.abs(saturating - exact).max())


def test_seven_bits_are_exact(int8: dict[WeightBits, Path]) -> None:
    assert difference(int8[7]) == 0


def test_eight_bits_are_not(int8: dict[WeightBits, Path]) -> None:
    assert difference(int8[8]) > 0.01
