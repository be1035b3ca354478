"""Chooses the backend for `ASR_BACKEND=auto`: the fastest on this machine among the proven ones."""

import hashlib
import importlib.metadata
import importlib.util
import json
import logging
from collections.abc import Mapping, Sequence
from typing import Any

from app import __version__
from app.artifacts import Artifact, ArtifactError, UnprovenError, why_unproven
from app.cores import available_cores
from app.cpu import this_cpu
from app.models import Model, load_express, warm_up
from app.recognizer import AnyRecognizer
from app.runtimes.registry import BACKENDS, EXPORTED, REFERENCE, is_int8
from app.speed import measure_speeds
from app.speed_record import keep, recall, record_files

logger = logging.getLogger("dikte")

CLEARLY_FASTER = 1.1
"""Speeds that differ by less are ranked by `EXPORTED`, because other work on the machine disturbs them as much."""
FAST_INT8 = {"AVX2", "dotprod"}
"""Instructions that multiply several bytes at once. With one of them a runtime computes INT8 faster than FP32 (measured
on x86, from AVX2 on), so its FP32 backend need not be measured."""
SMALL_BYTES = 64 << 20
"""Up to this size, FP32 on one runtime may be faster than INT8 on another: less of the time goes into products."""
MAX_TOGETHER_BYTES = 1 << 30
"""Backends whose files are larger in total are not loaded side by side."""


def rank_backends(model: Model, workers: int, threads: int) -> list[str]:
    """The backends that can serve the artifact here, the fastest first; the others are fallbacks if it fails.

    Speeds are measured (`app.speed`), unless they are on record for the same CPU, versions, settings and files.
    Backends that `find_rivals` leaves out come last. workers, threads: as in `ASR_WORKERS` and `ASR_THREADS`.

    Raises ArtifactError, with a reason for each backend, if none can serve.
    """
    candidates = find_candidates(model)
    compared = find_rivals(model, candidates)
    slower = [backend for backend in candidates if backend not in compared]
    if len(compared) == 1:
        logger.info("ASR_BACKEND=auto: %s has no rival here, so nothing is measured", compared[0])
        return [*compared, *slower]
    speeds = recall_or_measure(model, compared, workers, threads)
    if not speeds:
        return candidates  # loading each of them reports what is wrong with it
    first = next(backend for backend in EXPORTED if speeds.get(backend, 0.0) * CLEARLY_FASTER >= max(speeds.values()))
    ranking = sorted(speeds, key=lambda backend: (backend == first, speeds[backend]), reverse=True)
    figures = ", ".join(f"{backend} {speeds[backend]:.3g}" for backend in ranking)
    logger.info("ASR_BACKEND=auto: seconds of audio per second: %s", figures)
    return [*ranking, *slower]


def recall_or_measure(model: Model, backends: list[str], workers: int, threads: int) -> dict[str, float]:
    """Backend -> seconds of audio per second, without those that fail; kept for the next start if none fails."""
    key = describe_conditions(model, backends, workers, threads)
    files = record_files(model.artifact.folder)
    kept = recall(files, key)
    if kept is not None and kept.keys() == set(backends):
        logger.info("ASR_BACKEND=auto: measured before")
        return kept
    speeds = _measure(model, backends, workers, threads)
    if speeds.keys() == set(backends) and keep(files, key, speeds) is None:
        folders = ", ".join(str(path.parent) for path in files)
        logger.warning("ASR_BACKEND=auto: measured at every start, because %s cannot be written", folders)
    return speeds


def find_candidates(model: Model) -> list[str]:
    """The backends that are proven, have all their files and whose packages are installed.

    For a checkpoint that was not exported, only the reference. With `allow_unproven`, unproven backends count if there
    are no others. Hashes are compared later, when a backend is loaded.

    Raises ArtifactError, with a reason for each backend, if there are none.
    """
    reasons: dict[str, Exception] = {}
    for backend in (*EXPORTED, REFERENCE):
        if (reason := _why_not(model, backend)) is not None:
            reasons[backend] = reason
    candidates = [backend for backend in EXPORTED if backend not in reasons]
    if not candidates and model.artifact.allow_unproven:
        candidates = [backend for backend in EXPORTED if isinstance(reasons[backend], UnprovenError)]
    if not candidates and REFERENCE not in reasons:
        candidates = [REFERENCE]
    if not candidates:
        raise no_backend(model.artifact, reasons)
    return candidates


def find_rivals(model: Model, candidates: Sequence[str]) -> list[str]:
    """The candidates that may be the fastest here and so must be measured.

    On a CPU with INT8 instructions: the INT8 backends, and for a small model the FP32 backends of other runtimes.
    """
    int8 = [backend for backend in candidates if any(map(is_int8, model.files_of(backend)))]
    if not int8 or not FAST_INT8 & set(this_cpu().features):
        return list(candidates)
    runtimes = {BACKENDS[backend].packages for backend in int8}
    small = [backend for backend in candidates if _size_bytes(model, backend) <= SMALL_BYTES]
    others = [backend for backend in small if BACKENDS[backend].packages not in runtimes]
    return [backend for backend in candidates if backend in (*int8, *others)]


def describe_conditions(model: Model, candidates: Sequence[str], workers: int, threads: int) -> dict[str, Any]:
    """Everything that the candidates' speeds depend on, as a JSON object."""
    cpu = this_cpu()
    packages = sorted({package for backend in candidates for package in BACKENDS[backend].packages})
    return {
        "cpu": {"model": cpu.model, "features": list(cpu.features), "cores": available_cores()},
        "workers": workers,
        "threads": threads,
        "versions": {"dikte": __version__} | {package: _version(package) for package in packages},
        "manifest": hashlib.sha256(json.dumps(model.artifact.manifest, sort_keys=True).encode()).hexdigest(),
        "bytes": {backend: _size_bytes(model, backend) for backend in candidates},
    }


def _why_not(model: Model, backend: str) -> ArtifactError | None:
    """Why a backend is not a candidate, as far as can be told without loading it; None if it is one."""
    needed, artifact = BACKENDS[backend], model.artifact
    for name in model.files_of(backend):
        if not (artifact.folder / name).is_file():
            return ArtifactError(f"{name} is missing")
    for package in needed.packages:
        if importlib.util.find_spec(package) is None:
            return ArtifactError(f"needs {package}: pip install -r {needed.requirements}")
    if needed.is_reference:
        exported = any((artifact.folder / name).is_file() for other in EXPORTED for name in model.files_of(other))
        return ArtifactError("serves an exported model only if ASR_BACKEND names it") if exported else None
    reason = why_unproven(artifact.manifest, backend)
    return UnprovenError(f"not proven: {reason}") if reason else None


def _size_bytes(model: Model, backend: str) -> int:
    """Total size of a backend's files, including external weights."""
    paths = {path for name in model.files_of(backend) for path in model.artifact.folder.glob(f"{name}*")}
    return sum(path.stat().st_size for path in paths)


def _measure(model: Model, candidates: list[str], workers: int, threads: int) -> dict[str, float]:
    """The speeds of the candidates; those that fail are logged and left out."""
    together = sum(_size_bytes(model, backend) for backend in candidates) <= MAX_TOGETHER_BYTES
    groups = [candidates] if together else [[backend] for backend in candidates]
    tried = model.trial_copy()  # unproven reasons count only for the chosen backend, when it is loaded

    def load(backend: str) -> AnyRecognizer:
        recognizer = load_express(tried, backend, threads)
        warm_up(recognizer, tried.artifact)
        return recognizer

    logger.info("ASR_BACKEND=auto: measuring %s for a few seconds", ", ".join(candidates))
    measured = measure_speeds(load, groups, workers)
    for backend, reason in measured.failures.items():
        logger.warning("ASR_BACKEND=auto: %s is left out: %s", backend, reason)
    return measured.speeds


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:  # installed under another name
        return "unknown"


def no_backend(artifact: Artifact, reasons: Mapping[str, Exception]) -> ArtifactError:
    """The error that gives a reason for each backend; an UnprovenError if one of them could run."""
    listed = "; ".join(f"{backend}: {reason}" for backend, reason in reasons.items())
    message = f"no backend can serve {artifact.name}: {listed}"
    if any(isinstance(reason, UnprovenError) for reason in reasons.values()):
        return UnprovenError(f"{message}; prove it anew with `{artifact.proving_command}`")
    return ArtifactError(message)
