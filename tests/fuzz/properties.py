"""Properties that `app.audio.decode` must have for any input."""

import json
import time
from collections.abc import Callable
from typing import BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from app.audio import AudioLimits, Waveform
from app.errors import AudioTooLong, InvalidAudio, UnsupportedMedia
from tests.sounds import MODEL_HZ

Decoder = Callable[[BinaryIO, int, AudioLimits, Callable[[float], object]], Waveform]

LIMITS = AudioLimits(max_duration_s=60.0, max_decoded_bytes=1 << 26, max_channels=8)
EXPECTED_ERRORS = (AudioTooLong, InvalidAudio, UnsupportedMedia)
WAVEFORM = "waveform"
BASE_S, S_PER_MB, S_PER_AUDIO_S = 0.5, 4.0, 0.05
"""Limit of the CPU time of decoding: about ten times the usual time, because shared cores are slower."""
RATE_TOLERANCE_S = 0.1
"""Resampling may make the audio slightly longer, after the limit was checked."""


class Violation(Exception):
    """The decoder misbehaved. The first line of the message is the same for all cases with the same cause."""


class Decoded(NamedTuple):
    """The result of decoding.

    outcome: `WAVEFORM` or the error code. samples: of the waveform; None for an error. audio_s: the metered duration.
    """

    outcome: str
    samples: NDArray[np.float32] | None
    audio_s: float
    cpu_s: float


def cpu_bound_s(size_bytes: int, audio_s: float) -> float:
    """Limit of the CPU time, in seconds, for decoding a file of this size to this duration of audio."""
    return BASE_S + S_PER_MB * size_bytes / 1e6 + S_PER_AUDIO_S * audio_s


def decode_checked(decoder: Decoder, file: BinaryIO) -> Decoded:
    """Decode a file, and check the result. Raises Violation, and any undocumented error of the decoder."""
    metered_s: list[float] = []
    begin_s = time.process_time()
    try:
        waveform = decoder(file, MODEL_HZ, LIMITS, metered_s.append)
    except EXPECTED_ERRORS as error:
        _check_error(error)
        return Decoded(error.code, None, sum(metered_s), time.process_time() - begin_s)
    cpu_s = time.process_time() - begin_s
    if file.closed:
        raise Violation("the file was closed")
    _check_waveform(waveform, sum(metered_s))
    return Decoded(WAVEFORM, waveform.samples, sum(metered_s), cpu_s)


def _check_error(error: AudioTooLong | InvalidAudio | UnsupportedMedia) -> None:
    try:
        body = json.dumps(error.body(), allow_nan=False, ensure_ascii=False).encode()
    except (TypeError, ValueError) as problem:
        raise Violation(f"the error has details that cannot be sent as JSON\n{error.details}") from problem
    if len(body) > 1000 or "\n" in error.message:
        raise Violation(f"the error message is not a short line\n{body[:2000]!r}")


def _check_waveform(waveform: Waveform, metered_s: float) -> None:
    samples, duration_s = waveform.samples, waveform.duration_s
    if waveform.rate_hz != MODEL_HZ or samples.dtype != np.float32 or samples.ndim != 1:
        raise Violation(f"not mono float32 at {MODEL_HZ} Hz\n{waveform.rate_hz} {samples.dtype} {samples.shape}")
    if not np.isfinite(samples).all():
        raise Violation("samples that are not finite")
    if duration_s > LIMITS.max_duration_s + RATE_TOLERANCE_S:
        raise Violation(f"longer than the limit\n{duration_s} s")
    if abs(duration_s - metered_s) > RATE_TOLERANCE_S:
        raise Violation(f"the duration differs from the metered one\n{duration_s} s, metered {metered_s} s")
