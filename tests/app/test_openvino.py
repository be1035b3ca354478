import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from app.cores import available_cores
from app.engines.openvino import OpenVinoRuntime, frames_step, padded_length
from app.windows import Framing
from tests.checkpoints import babbling, exported

ROOT = Path(__file__).resolve().parents[2]
FRAMING = Framing(hop=320, receptive_field=400)


@pytest.fixture(scope="module")
def model(checkpoints: Path) -> Path:
    return exported("cahya_like", checkpoints) / "model.onnx"


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


@pytest.mark.parametrize("threads", [1, available_cores(), available_cores() + 3])
def test_as_many_calls_run_at_once_as_the_cores_allow(model: Path, threads: int) -> None:
    compiled = OpenVinoRuntime(model, FRAMING, threads)._model
    assert compiled.get_property("NUM_STREAMS") == max(1, available_cores() // threads)
    assert compiled.get_property("ENABLE_CPU_PINNING") is False


def test_more_callers_than_cores_get_their_own_results(model: Path) -> None:
    runtime = OpenVinoRuntime(model, FRAMING, threads=1)
    clips = [babbling(0.3 + 0.01 * seed, seed)[np.newaxis] for seed in range(40)]
    serial = [runtime(clip, np.array([clip.shape[1]])) for clip in clips]
    with ThreadPoolExecutor(available_cores() * 4) as pool:
        concurrent = list(pool.map(lambda clip: runtime(clip, np.array([clip.shape[1]])), clips))
    for expected, logits in zip(serial, concurrent, strict=True):
        np.testing.assert_array_equal(logits, expected)


def test_a_result_stays_as_it_is_when_the_next_is_computed(model: Path) -> None:
    runtime = OpenVinoRuntime(model, FRAMING, threads=1)
    first = runtime(babbling(0.5, 1)[np.newaxis], np.array([8_000]))
    before = first.copy()
    for seed in range(2, 8):
        runtime(babbling(0.5, seed)[np.newaxis], np.array([8_000]))
    np.testing.assert_array_equal(first, before)
    assert first.flags.owndata


@pytest.mark.parametrize("hop", [640, 160], ids=["too many", "too few"])
def test_frames_that_the_settings_do_not_say_are_found(model: Path, hop: int) -> None:
    """Although frames of the padding are cut off."""
    framing = Framing(hop, FRAMING.receptive_field)
    samples = babbling(0.5, 1)[np.newaxis]
    padded = padded_length(samples.shape[1], framing)
    gives, expected = FRAMING.frames(padded), framing.frames(padded)
    message = f"the model gave {gives} frames for {padded} samples, its settings say {expected}"
    with pytest.raises(ValueError, match=message):
        OpenVinoRuntime(model, framing, threads=1)(samples, np.array([samples.shape[1]]))


def test_a_file_that_is_no_model_is_said(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"no model")
    with pytest.raises(RuntimeError):
        OpenVinoRuntime(tmp_path / "model.onnx", FRAMING, threads=1)


def test_a_signal_is_handled_after_a_model_is_dropped_in_another_thread(model: Path) -> None:
    """OpenVINO's CPU plugin unmaps the alternate signal stack of the thread that loaded it when it is destroyed."""
    code = f"""
import os, pathlib, signal, threading
from app.engines.openvino import OpenVinoRuntime
from app.windows import Framing
signal.signal(signal.SIGUSR1, lambda *_: print("handled"))
models = [OpenVinoRuntime(pathlib.Path({str(model)!r}), Framing(320, 400), threads=1)]
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
