"""Peak memory of the whole service on one engine, with as many concurrent requests as it has workers."""

import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import soundfile

from app.recognizer import Samples
from scripts.common.service_process import dikte_on, transcribe


def service_peak_bytes(backend: str, model: Path, samples: Samples, rate_hz: int, callers: int, requests: int) -> int:
    """Peak resident memory of the service, from its start through `requests` uploads by each of `callers` clients.

    backend, model: as in `ASR_BACKEND` and `ASR_MODEL_DIR`. samples: the clip to upload, shape (samples,), float32.
    Raises ServiceError if the service does not become ready, and OSError if it refuses the clip.
    """
    settings = {"ASR_WORKERS": str(callers)}
    with tempfile.TemporaryDirectory() as folder, dikte_on(backend, model.resolve(), settings) as service:
        clip = Path(folder) / "clip.wav"
        soundfile.write(clip, samples, rate_hz)
        with ThreadPoolExecutor(callers) as pool:
            list(pool.map(lambda _: transcribe(service.url, clip), range(requests * callers)))
        return service.peak_bytes
