import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from app.models import open_model
from app.recognizer import Options, compute_windows, decode_windows
from app.settings import BUNDLED_MODEL
from app.transcript import joined
from scripts.benchmarking.engines import CTC, EngineSpec, artifact_spec
from scripts.benchmarking.process import EngineFailed, EngineProcess
from tests.checkpoints import RATE_HZ, babbling
from tests.conftest import ROOT
from tests.recognizers import ctc_recognizer

SPEC = artifact_spec("onnx_int8", open_model(BUNDLED_MODEL), CTC)
MIB = 1 << 20


@pytest.fixture(scope="module")
def engine() -> Iterator[EngineProcess]:
    with EngineProcess(SPEC, threads=1, callers=2) as engine:
        engine.load()
        yield engine


def test_it_computes_the_same_as_the_engine(engine: EngineProcess) -> None:
    clips = [babbling(1.0, 1), babbling(1.5, 2), babbling(0.7, 3)]
    here = ctc_recognizer(BUNDLED_MODEL, "onnx_int8")
    for clip in clips:
        np.testing.assert_array_equal(engine.output(clip), here.emissions([clip])[0].argmax(axis=1))
    windows = [here.windows(clip, Options()) for clip in clips]
    assert engine.texts(clips) == [joined(decode_windows(here, one, compute_windows(here, one))) for one in windows]


def test_it_imports_its_own_runtime_only(engine: EngineProcess) -> None:
    modules = engine.modules()
    assert "onnxruntime" in modules
    assert not {"torch", "transformers", "datasets", "matplotlib", "fastapi", "openvino"} & modules


def test_its_memory_is_its_own() -> None:
    ballast = np.ones(300 * MIB // 8)
    with EngineProcess(SPEC, threads=1, callers=1) as engine:
        assert "onnxruntime" not in engine.modules()
        before = engine.resident_bytes
        assert engine.load() > 0
        after = engine.resident_bytes
        assert 10 * MIB < before < after <= engine.peak_bytes < ballast.nbytes


def test_it_measures_the_time_of_the_call(engine: EngineProcess) -> None:
    begin = time.perf_counter()
    taken_s = engine.latency_s(babbling(2.0, 1))
    assert 0 < taken_s < time.perf_counter() - begin


def test_throughput_is_that_of_all_callers(engine: EngineProcess) -> None:
    clips = [babbling(0.5, 1), babbling(1.0, 2)]
    begin = time.perf_counter()
    rate = engine.throughput(clips, seconds=0.2)
    taken_s = time.perf_counter() - begin
    least = 2 * 1.5 * RATE_HZ  # a pass of each caller
    assert taken_s > 0.2
    assert least / taken_s < rate < np.inf


def test_errors_of_the_engine_are_passed_on(engine: EngineProcess) -> None:
    with pytest.raises(EngineFailed, match="TypeError"):
        engine.output(None)  # type: ignore[arg-type]
    assert engine.latency_s(babbling(0.5, 1)) > 0, "it goes on"


def test_an_engine_that_cannot_be_loaded(tmp_path: Path) -> None:
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"no model")
    with (
        EngineProcess(EngineSpec("x", "X", CTC, "onnx_file", BUNDLED_MODEL, (broken,)), 1, 1) as engine,
        pytest.raises(EngineFailed, match=r"broken\.onnx"),
    ):
        engine.load()


def test_a_process_that_dies_raises() -> None:
    with EngineProcess(SPEC, threads=1, callers=1) as engine:
        engine.modules()
        os.kill(engine.pid, signal.SIGKILL)
        with pytest.raises(EngineFailed, match="SIGKILL"):
            engine.modules()


def test_it_ends_with_its_parent() -> None:
    """Even if the parent is killed and cannot clean up."""
    code = (
        "import time\n"
        "from app.models import open_model\n"
        "from app.settings import BUNDLED_MODEL\n"
        "from scripts.benchmarking.engines import artifact_spec\n"
        "from scripts.benchmarking.process import EngineProcess\n"
        f"engine = EngineProcess(artifact_spec('onnx_int8', open_model(BUNDLED_MODEL), {CTC!r}), 1, 1)\n"
        "engine.modules()\n"
        "print(engine.pid, flush=True)\n"
        "time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        parent.kill()
    assert ended(child)


def ended(pid: int, within_s: float = 60.0) -> bool:
    """Whether a process exits within the time. A zombie that its new parent has not reaped counts as exited."""
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        try:
            state = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0]
        except FileNotFoundError:
            return True
        if state == "Z":
            return True
        time.sleep(0.02)
    return False
