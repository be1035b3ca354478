"""A typical simple service, for comparison: `librosa.load`, the processor, and one session, all with default settings.

    python scripts/tools/plain_service.py --checkpoint_dir cahya/wav2vec2-base-turkish --onnx_path model.onnx

It is one process. The route is a plain `def`, which FastAPI runs in its pool of 40 threads: an `async def` with the
same code would block all other requests while it computes. It contains no code of Dikte. Needs requirements-train.txt.
"""

import argparse
import time
from pathlib import Path
from typing import Any

import librosa
import numpy as np
import onnxruntime
import uvicorn
from fastapi import FastAPI, UploadFile
from transformers import Wav2Vec2Processor

RATE_HZ = 16_000


def create_app(checkpoint: str, model: Path) -> FastAPI:
    """An app with `POST /transcribe`, on an ONNX file and the tokenizer and feature extractor of the checkpoint."""
    processor: Any = Wav2Vec2Processor.from_pretrained(checkpoint)
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    app = FastAPI()

    @app.get("/readyz")
    def readyz() -> dict[str, str]:
        return {"status": "ready"}

    @app.post("/transcribe")
    def transcribe(file: UploadFile) -> dict[str, Any]:
        samples, _ = librosa.load(file.file, sr=RATE_HZ)
        begin = time.perf_counter()
        inputs = processor(samples, sampling_rate=RATE_HZ, return_tensors="np")
        (logits,) = session.run(None, {session.get_inputs()[0].name: inputs.input_values.astype(np.float32)})
        (text,) = processor.batch_decode(logits.argmax(axis=-1))
        return {"text": text, "inference_time": time.perf_counter() - begin, "model": checkpoint}

    return app


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint_dir", required=True, help="checkpoint folder or hub id")
    parser.add_argument("--onnx_path", type=Path, required=True, help="ONNX file of the checkpoint")
    parser.add_argument("--port", type=int, default=8001)
    arguments = parser.parse_args()
    app = create_app(arguments.checkpoint_dir, arguments.onnx_path)
    uvicorn.run(app, host="127.0.0.1", port=arguments.port, log_level="warning")


if __name__ == "__main__":
    main()
