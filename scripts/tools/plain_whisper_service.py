"""A typical simple service for Whisper, for comparison: faster-whisper behind FastAPI.

    python scripts/tools/plain_whisper_service.py --model_dir whisper-base-ct2 --language en

The model is a folder that CTranslate2's converter made. It is one process. The route is a plain `def`, which FastAPI
runs in its pool of 40 threads; CTranslate2 computes `--num_workers` files at once, each on `--cpu_threads` threads. It
contains no code of Dikte. Needs requirements-peers.txt.
"""

import argparse
import time
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import FastAPI, UploadFile
from faster_whisper import WhisperModel


def create_app(model: WhisperModel, name: str, language: str | None = None, vad_filter: bool = False) -> FastAPI:
    """An app with `POST /transcribe`.

    name: of the model, for the answers. language: ISO 639-1 code; None detects it in each file. vad_filter: whether
    silence is removed first.
    """
    app = FastAPI()

    @app.get("/readyz")
    def readyz() -> dict[str, str]:
        return {"status": "ready"}

    @app.post("/transcribe")
    def transcribe(file: UploadFile) -> dict[str, Any]:
        begin = time.perf_counter()
        segments, _ = model.transcribe(
            file.file,
            language=language,
            beam_size=1,
            without_timestamps=True,
            condition_on_previous_text=False,
            vad_filter=vad_filter,
        )
        text = "".join(segment.text for segment in segments).strip()  # the segments are computed here
        return {"text": text, "inference_time": time.perf_counter() - begin, "model": name}

    return app


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model_dir", type=Path, required=True, help="folder that CTranslate2's converter made")
    parser.add_argument("--language", help="ISO 639-1 code of the speech (default: detected in each file)")
    parser.add_argument("--compute_type", default="int8", help="CTranslate2's type of weights and products")
    parser.add_argument("--cpu_threads", type=int, default=1, help="threads of one file")
    parser.add_argument("--num_workers", type=int, default=1, help="files that are computed at once")
    parser.add_argument("--vad_filter", action="store_true", help="remove silence with Silero VAD first")
    parser.add_argument("--port", type=int, default=8001)
    arguments = parser.parse_args()
    model = WhisperModel(
        str(arguments.model_dir),
        device="cpu",
        compute_type=arguments.compute_type,
        cpu_threads=arguments.cpu_threads,
        num_workers=arguments.num_workers,
    )
    app = create_app(model, arguments.model_dir.name, arguments.language, arguments.vad_filter)
    uvicorn.run(app, host="127.0.0.1", port=arguments.port, log_level="warning")


if __name__ == "__main__":
    main()
