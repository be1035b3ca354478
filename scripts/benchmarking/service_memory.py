"""The memory of the whole service on one engine, with as many requests at once as it computes at a time."""

import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import soundfile

from app.recognizer import Samples
from scripts.common.service_process import dikte_on, transcribe


def service_peak_bytes(backend: str, model: Path, samples: Samples, rate_hz: int, callers: int, requests: int) -> int:
    """Resident memory of the service at most, from its start through `requests` uploads by each of `callers` clients.

    backend, model: as in `ASR_BACKEND` and `ASR_MODEL_DIR`. samples: the clip that is uploaded, shape (samples,).
    Raises ServiceError when the service does not become ready, and OSError when it refuses the clip.
    """
    settings = {"ASR_WORKERS": str(callers)}
    with tempfile.TemporaryDirectory() as folder, dikte_on(backend, model.resolve(), settings) as service:
        clip = Path(folder) / "clip.wav"
        soundfile.write(clip, samples, rate_hz)
        with ThreadPoolExecutor(callers) as pool:
            list(pool.map(lambda _: transcribe(service.url, clip), range(requests * callers)))
        return service.peak_bytes
