"""The plain services that Dikte is compared with: what most teams write around a model of the same checkpoint."""

import sys
from dataclasses import dataclass, field
from pathlib import Path

from app.cores import available_cores
from app.families.whisper import WhisperFamily
from app.models import open_model
from scripts.benchmarking.baselines import BaselineError, have_baselines_made, source_of
from scripts.benchmarking.ctc_baselines import CTC_BASELINES
from scripts.benchmarking.engines import installed
from scripts.benchmarking.whisper_baselines import WHISPER_BASELINES
from scripts.common import SAMPLES
from scripts.common.service_process import ServiceProcess
from scripts.load_testing.answers import LoadError

CTC_BASELINE, WHISPER_BASELINE = "matmul_qint8", "faster_whisper_int8"
BASELINES = {baseline.key: baseline for baseline in (*CTC_BASELINES, *WHISPER_BASELINES)}


@dataclass(frozen=True)
class PlainOptions:
    """Options of the plain services.

    baselines: folder in which their models are cached. The others are for faster-whisper: language is an ISO 639-1
    code, and None detects it in each file; compute_type is CTranslate2's type of weights and products; it computes
    `workers` files at once, each on `threads` threads; vad_filter removes silence first.
    """

    baselines: Path
    language: str | None = None
    compute_type: str = "int8"
    workers: int = field(default_factory=available_cores)
    threads: int = 1
    vad_filter: bool = False


def is_whisper(checkpoint: Path) -> bool:
    """Whether a checkpoint is one of Whisper. Raises ArtifactError if its family is unknown."""
    return isinstance(open_model(checkpoint).family, WhisperFamily)


def describe_plain_service(checkpoint: Path, options: PlainOptions) -> str:
    """The plain service for a checkpoint in words, for the report. Raises the errors of `is_whisper`."""
    if not is_whisper(checkpoint):
        return f"ONNX Runtime, {CTC_BASELINE}"
    silence = ", without silence" if options.vad_filter else ""
    return f"faster-whisper, {options.compute_type}, {options.workers} workers of {options.threads} threads{silence}"


def plain_service(checkpoint: Path, options: PlainOptions) -> ServiceProcess:
    """The plain service for a checkpoint, by its family. Makes its model if it does not exist yet.

    Raises ArtifactError if the family is unknown, and LoadError if the model cannot be made.
    """
    return plain_whisper(checkpoint, options) if is_whisper(checkpoint) else plain_ctc(checkpoint, options)


def plain_ctc(checkpoint: Path, options: PlainOptions) -> ServiceProcess:
    """`scripts/tools/plain_service.py` on plain INT8 of a CTC checkpoint. Raises LoadError if it cannot be made."""
    model = baseline_path(CTC_BASELINE, checkpoint, options.baselines)
    words = ["--checkpoint_dir", str(checkpoint), "--onnx_path", str(model), "--port", "{port}"]
    return ServiceProcess([sys.executable, "scripts/tools/plain_service.py", *words], {})


def plain_whisper(checkpoint: Path, options: PlainOptions) -> ServiceProcess:
    """`scripts/tools/plain_whisper_service.py` on a Whisper checkpoint.

    Raises LoadError if faster-whisper is not installed, or if the model cannot be made.
    """
    if not installed("faster_whisper"):
        raise LoadError("not installed: faster-whisper; pip install -r requirements-peers.txt")
    model = baseline_path(WHISPER_BASELINE, checkpoint, options.baselines)
    words = ["--model_dir", str(model), "--port", "{port}", "--compute_type", options.compute_type]
    words += ["--num_workers", str(options.workers), "--cpu_threads", str(options.threads)]
    words += ["--language", options.language] if options.language else []
    words += ["--vad_filter"] if options.vad_filter else []
    return ServiceProcess([sys.executable, "scripts/tools/plain_whisper_service.py", *words], {})


def baseline_path(key: str, checkpoint: Path, baselines: Path) -> Path:
    """Path of a baseline's model in the cache, where it is made if it does not exist yet.

    Raises LoadError if it cannot be made.
    """
    source = source_of(checkpoint, baselines, SAMPLES)
    try:
        failed = have_baselines_made(source, [key])
    except BaselineError as error:
        raise LoadError(str(error)) from error
    if reason := failed.get(key):
        raise LoadError(f"the model of the plain service: {reason}")
    return BASELINES[key].path(source)
