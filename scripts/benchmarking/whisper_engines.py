"""Engines of Whisper models: Dikte's own, and the pipelines of other projects, each as its documentation uses it.

All transcribe greedily, in the language of the spec, without timestamps; a call goes from samples to text.
"""

import threading
from collections.abc import Callable, Mapping
from typing import Any

from app.models import load_recognizer, open_model
from app.recognizer import Options, Samples
from scripts.benchmarking.engines import OWN_LOADER, EngineSpec, Loader
from scripts.speech.recognition import text_of


class WhisperEngine:
    """An `Engine` that turns samples into text."""

    def __init__(self, transcribe: Callable[[Samples], str]) -> None:
        self._transcribe = transcribe

    def compute(self, samples: Samples) -> str:
        """The text of a clip."""
        return self._transcribe(samples)

    output = text = compute


def _backend(spec: EngineSpec, threads: int, callers: int) -> WhisperEngine:
    """As the service loads it: each of `callers` calls uses as many threads as there are in all."""
    recognizer = load_recognizer(open_model(spec.settings), spec.backend, threads * callers)
    options = Options(language=spec.language or None)
    return WhisperEngine(lambda samples: text_of(recognizer, samples, options))


def _of_pipeline(spec: EngineSpec, pipeline: Any) -> WhisperEngine:
    """An engine on a pipeline of transformers."""
    asked = {"language": spec.language, "task": "transcribe"} if spec.language else {}
    rate_hz = pipeline.feature_extractor.sampling_rate

    def transcribe(samples: Samples) -> str:
        result = pipeline({"raw": samples, "sampling_rate": rate_hz}, generate_kwargs=dict(asked))
        return str(result["text"])

    return WhisperEngine(transcribe)


def _transformers(spec: EngineSpec, threads: int, callers: int) -> WhisperEngine:
    """`pipeline("automatic-speech-recognition", model=...)`, on PyTorch."""
    import torch
    from transformers import pipeline
    from transformers.utils import logging

    logging.set_verbosity_error()
    torch.set_num_threads(threads)
    return _of_pipeline(spec, pipeline("automatic-speech-recognition", str(spec.settings), device="cpu"))


def _optimum(spec: EngineSpec, threads: int, callers: int) -> WhisperEngine:
    """The same pipeline on optimum's `ORTModelForSpeechSeq2Seq`, with its defaults, except for the threads."""
    import onnxruntime
    from optimum.onnxruntime import ORTModelForSpeechSeq2Seq
    from transformers import AutoProcessor, pipeline
    from transformers.utils import logging

    logging.set_verbosity_error()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    model = ORTModelForSpeechSeq2Seq.from_pretrained(spec.settings, session_options=options)
    processor: Any = AutoProcessor.from_pretrained(spec.settings)
    return _of_pipeline(
        spec,
        pipeline(
            "automatic-speech-recognition",
            model=model,
            tokenizer=processor.tokenizer,
            feature_extractor=processor.feature_extractor,
        ),
    )


def _faster_whisper(compute_type: str) -> Loader:
    """faster-whisper with its best settings for CPUs: greedy, no timestamps, no previous text."""

    def load(spec: EngineSpec, threads: int, callers: int) -> WhisperEngine:
        from faster_whisper import WhisperModel

        model = WhisperModel(
            str(spec.settings), device="cpu", compute_type=compute_type, cpu_threads=threads, num_workers=callers
        )

        def transcribe(samples: Samples) -> str:
            segments, _ = model.transcribe(
                samples,
                language=spec.language or None,
                beam_size=1,
                without_timestamps=True,
                condition_on_previous_text=False,
            )
            return "".join(segment.text for segment in segments)

        return WhisperEngine(transcribe)

    return load


def _openvino_genai(spec: EngineSpec, threads: int, callers: int) -> WhisperEngine:
    """OpenVINO GenAI's `WhisperPipeline`: one for each caller, because it computes one clip at a time."""
    import openvino_genai

    asked = {"language": f"<|{spec.language}|>", "task": "transcribe"} if spec.language else {}
    pipelines = threading.local()
    load = threading.Lock()

    def loaded() -> Any:
        if not hasattr(pipelines, "own"):
            with load:
                pipelines.own = openvino_genai.WhisperPipeline(spec.settings, "CPU", INFERENCE_NUM_THREADS=threads)
        return pipelines.own

    loaded()
    return WhisperEngine(lambda samples: str(loaded().generate(samples, **asked)))


LOADERS: Mapping[str, Loader] = {
    OWN_LOADER: _backend,
    "transformers": _transformers,
    "optimum": _optimum,
    "faster_whisper_int8": _faster_whisper("int8"),
    "faster_whisper_float32": _faster_whisper("float32"),
    "openvino_genai": _openvino_genai,
}
"""Name -> function that loads an engine."""
