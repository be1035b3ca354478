"""The memory of the whole service on one engine, with as many requests at once as it computes at a time."""

import os
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import soundfile

from app.recognizer import Samples
from scripts.common import ROOT
from scripts.common.service import free_port, resident_bytes, transcribe, wait_until_ready

START_TIMEOUT_S = 300.0
"""PyTorch and a large checkpoint, on a machine that is busy with something else."""


def service_peak_bytes(backend: str, model: Path, samples: Samples, rate_hz: int, callers: int, requests: int) -> int:
    """Resident memory of the service at most, from its start through `requests` uploads by each of `callers` clients.

    backend, model: as in `ASR_BACKEND` and `ASR_MODEL_DIR`. samples: the clip that is uploaded, shape (samples,).
    Raises OSError (TimeoutError among them) when the service does not become ready, or refuses the clip.
    """
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    settings = {
        "ASR_HOST": "127.0.0.1",
        "ASR_PORT": str(port),
        "ASR_BACKEND": backend,
        "ASR_MODEL_DIR": str(model.resolve()),
        "ASR_WORKERS": str(callers),
        "ASR_ALLOW_UNPROVEN": "true",  # random weights measure as well
        "ASR_LOG_LEVEL": "warning",
    }
    with tempfile.TemporaryDirectory() as folder:
        clip = Path(folder) / "clip.wav"
        soundfile.write(clip, samples, rate_hz)
        service = subprocess.Popen([sys.executable, "-m", "app"], cwd=ROOT, env=os.environ | settings)
        try:
            wait_until_ready(url, START_TIMEOUT_S)
            with ThreadPoolExecutor(callers) as pool:
                list(pool.map(lambda _: transcribe(url, clip), range(requests * callers)))
            return resident_bytes(service.pid, "VmHWM")
        finally:
            service.kill()
            service.wait()
