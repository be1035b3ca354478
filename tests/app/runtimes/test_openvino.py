import subprocess
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import openvino
import pytest
from numpy.typing import NDArray

from app.cores import available_cores
from app.runtimes.graph import Tensor
from app.runtimes.openvino import CACHED_OPERATORS, CORE, OpenVinoGraph
from tests.checkpoints import babbling, exported

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def model(checkpoints: Path) -> Path:
    return exported("cahya_like", checkpoints) / "model.onnx"


def load(model: Path, threads: int = 1) -> OpenVinoGraph:
    return OpenVinoGraph(model, threads, lambda inputs: True)


def feeds(samples: NDArray[np.float32]) -> dict[str, NDArray[Any]]:
    return {"input_values": samples[np.newaxis], "lengths": np.array([len(samples)])}


def logits(graph: OpenVinoGraph, samples: NDArray[np.float32]) -> NDArray[np.float32]:
    return graph(feeds(samples), ["logits"])["logits"]


def test_it_says_what_it_takes_and_gives(model: Path) -> None:
    graph = load(model)
    assert graph.inputs == {"input_values": Tensor("float32", (None, None)), "lengths": Tensor("int64", (None,))}
    assert graph.outputs == ("logits",)


@pytest.fixture
def compile_options(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The options of the graph that the test compiles, on a CPU with bfloat16."""
    options: dict[str, Any] = {}

    class Core:
        read_model = CORE.read_model

        def get_property(self, device: str, name: str) -> list[str]:
            return ["FP32", "BF16"]

        def compile_model(self, model: Any, device: str, given: dict[str, Any]) -> None:
            options.update(given)

    monkeypatch.setattr("app.runtimes.openvino.CORE", Core())
    return options


@pytest.mark.parametrize("few", [True, False])
def test_code_for_many_shapes_is_kept_within_a_limit(model: Path, few: bool, compile_options: dict[str, Any]) -> None:
    asked: list[set[str]] = []

    def few_shapes(inputs: Mapping[str, Tensor]) -> bool:
        asked.append(set(inputs))
        return few

    OpenVinoGraph(model, 1, few_shapes)
    assert asked == [{"input_values", "lengths"}]
    assert compile_options.get("CPU_RUNTIME_CACHE_CAPACITY") == (None if few else CACHED_OPERATORS)


@pytest.mark.parametrize("steps", [True, False])
def test_a_decoder_computes_in_float32(
    model: Path, tmp_path: Path, steps: bool, compile_options: dict[str, Any]
) -> None:
    openvino.save_model(CORE.read_model(model), tmp_path / "model.xml")
    OpenVinoGraph(tmp_path / "model.xml", 1, lambda inputs: True, steps=steps)
    assert compile_options["INFERENCE_PRECISION_HINT"] == ("f32" if steps else "bf16")


@pytest.mark.parametrize("threads", [1, available_cores(), available_cores() + 3])
def test_as_many_calls_run_at_once_as_the_cores_allow(model: Path, threads: int) -> None:
    compiled = load(model, threads)._model
    assert compiled.get_property("NUM_STREAMS") == max(1, available_cores() // threads)
    assert compiled.get_property("ENABLE_CPU_PINNING") is False


def test_more_callers_than_cores_get_their_own_results(model: Path) -> None:
    graph = load(model)
    clips = [babbling(0.3 + 0.01 * seed, seed) for seed in range(40)]
    serial = [logits(graph, clip) for clip in clips]
    with ThreadPoolExecutor(available_cores() * 4) as pool:
        concurrent = list(pool.map(lambda clip: logits(graph, clip), clips))
    for expected, computed in zip(serial, concurrent, strict=True):
        np.testing.assert_array_equal(computed, expected)


def test_a_result_stays_as_it_is_when_the_next_is_computed(model: Path) -> None:
    graph = load(model)
    first = logits(graph, babbling(0.5, 1))
    before = first.copy()
    for seed in range(2, 8):
        logits(graph, babbling(0.5, seed))
    np.testing.assert_array_equal(first, before)
    assert first.flags.owndata


def test_a_file_that_is_no_model_is_said(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"no model")
    with pytest.raises(RuntimeError):
        load(tmp_path / "model.onnx")


def test_a_signal_is_handled_after_a_model_is_dropped_in_another_thread(model: Path) -> None:
    """OpenVINO's CPU plugin unmaps the alternate signal stack of the thread that loaded it when it is destroyed."""
    code = f"""
import os, pathlib, signal, threading
from app.runtimes.openvino import OpenVinoGraph
signal.signal(signal.SIGUSR1, lambda *_: print("handled"))
models = [OpenVinoGraph(pathlib.Path({str(model)!r}), 1, lambda inputs: True)]
thread = threading.Thread(target=models.clear)
thread.start()
thread.join()
os.kill(os.getpid(), signal.SIGUSR1)
"""
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (run.returncode, run.stdout) == (0, "handled\n"), run.stderr


def test_nothing_is_reported_to_its_makers() -> None:
    """Importing OpenVINO sends a message to a statistics service, as NNCF does when it is used."""
    code = (
        "import app, openvino, nncf.telemetry, sys; from openvino.tools.ovc.telemetry_utils import tm;"
        "print(tm.__name__, type(nncf.telemetry.telemetry).__name__, sys.modules['openvino_telemetry'])"
    )
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["openvino.tools.ovc.telemetry_stub", "MagicMock", "None"]
