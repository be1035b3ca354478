"""Voice activity detection: audio -> speech probabilities (Silero VAD) -> spans of speech."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app.recognizer import Samples
from app.silero import CHUNK_SAMPLES, CONTEXT_SAMPLES, RATE_HZ, SileroNetwork

Probabilities = NDArray[np.float32]
"""Speech probability of each chunk of a clip, shape (chunks,), float32, 0 to 1."""

BLOCK_CHUNKS = 128
"""Chunks per call: 4 s. More are no faster, and fewer pay for calls (measured)."""
TARGET_LEVEL = 0.1
"""RMS level, -20 dB of full scale, to which a quieter clip is amplified for detection. The model's features are
magnitudes, not logarithms: from -40 dB on it finds words late, at -60 dB not at all, while louder than -20 dB changes
nothing (measured with telephone speech)."""
MAX_GAIN = 100.0
"""Most amplification, 40 dB. Noise at any level stays noise to the model."""
LEVEL_CHUNKS = 8
"""The level of a clip is that of its eighth loudest chunk, so at least 256 ms are as loud: a click is not its level."""


@dataclass(frozen=True)
class VoiceSettings:
    """How probabilities become spans of speech.

    threshold: probability at which speech starts. hysteresis: how far below the threshold the probability must fall for
    speech to end; both are Silero's defaults.
    min_speech_ms: shorter speech, before padding, is dropped. Noise, tones and music reach the threshold for 128 ms at
    most; of words of 200 ms between pauses, 160 ms finds 83 % and Silero's default of 250 ms 46 %.
    min_silence_ms: shorter pauses are part of the speech around them. Silero's default.
    padding_before_ms, padding_after_ms: audio added to each span, because weak sounds at the edges of words (f, s, h)
    have a low probability. The probability rises up to 320 ms after a word begins and falls after its end. Spans whose
    paddings meet become one.
    """

    threshold: float = 0.5
    hysteresis: float = 0.15
    min_speech_ms: int = 160
    min_silence_ms: int = 100
    padding_before_ms: int = 400
    padding_after_ms: int = 300


@dataclass(frozen=True)
class Span:
    """Part of a clip: indices of its first sample and of the sample after its last."""

    start: int
    end: int

    @property
    def length(self) -> int:
        """Number of samples."""
        return self.end - self.start


class VoiceDetector:
    """Finds speech in clips. Loads the model. Thread-safe: each call starts anew and computes on its own thread."""

    def __init__(self) -> None:
        self.network = SileroNetwork()

    def probabilities(self, samples: Samples) -> Probabilities:
        """The speech probability of each chunk of `CHUNK_SAMPLES` samples, shape (chunks,), float32.

        samples: a clip at `RATE_HZ`, shape (samples,), float32. Its last chunk is completed with silence. A quiet clip
        is amplified to `TARGET_LEVEL`.
        """
        gain = _gain(samples)
        chunks = -(-len(samples) // CHUNK_SAMPLES)
        probabilities = np.empty(chunks, dtype=np.float32)
        state = self.network.first_state()
        for first in range(0, chunks, BLOCK_CHUNKS):
            last = min(first + BLOCK_CHUNKS, chunks)
            probabilities[first:last], state = self.network(gain * _with_context(samples, first, last), state)
        return probabilities


def speech_spans(
    probabilities: Probabilities, samples_count: int, settings: VoiceSettings = VoiceSettings()
) -> list[Span]:
    """The parts of a clip with speech, in order, without overlap.

    probabilities: shape (chunks,), float32. samples_count: length of the clip in samples. The rules are those of
    `get_speech_timestamps` in silero-vad, but spans whose paddings meet are merged instead of sharing the pause.
    """
    spans: list[Span] = []
    for start, end in _speech_chunks(probabilities, settings):
        if (end - start) * CHUNK_SAMPLES < _samples(settings.min_speech_ms):
            continue
        first = max(0, start * CHUNK_SAMPLES - _samples(settings.padding_before_ms))
        last = min(samples_count, end * CHUNK_SAMPLES + _samples(settings.padding_after_ms))
        if spans and first <= spans[-1].end:
            first = spans.pop().start
        spans.append(Span(first, last))
    return spans


def _speech_chunks(probabilities: Probabilities, settings: VoiceSettings) -> list[tuple[int, int]]:
    """First chunk, and chunk after the last, of each stretch of speech: from `threshold` until the pause begins."""
    stretches: list[tuple[int, int]] = []
    min_silence = _samples(settings.min_silence_ms) / CHUNK_SAMPLES
    start: int | None = None  # of the current stretch
    pause: int | None = None  # where the probability fell in it
    for chunk, probability in enumerate(probabilities.tolist()):
        if probability >= settings.threshold:
            pause = None
            if start is None:
                start = chunk
        elif start is not None and probability < settings.threshold - settings.hysteresis:
            if pause is None:
                pause = chunk
            if chunk + 1 - pause >= min_silence:
                stretches.append((start, pause))
                start = pause = None
    if start is not None:
        stretches.append((start, len(probabilities) if pause is None else pause))
    return stretches


def _samples(duration_ms: int) -> int:
    return duration_ms * RATE_HZ // 1000


def _with_context(samples: Samples, first: int, last: int) -> NDArray[np.float32]:
    """The chunks from `first` up to `last`, with the samples before each.

    samples: the clip, shape (samples,), float32; there is silence before and after it. Shape (last - first,
    CONTEXT_SAMPLES + CHUNK_SAMPLES), float32.
    """
    start, end = first * CHUNK_SAMPLES - CONTEXT_SAMPLES, last * CHUNK_SAMPLES
    part = np.pad(samples[max(0, start) : end], (max(0, -start), max(0, end - len(samples))))
    pieces = np.lib.stride_tricks.sliding_window_view(part, CONTEXT_SAMPLES + CHUNK_SAMPLES)
    return pieces[::CHUNK_SAMPLES]


def _gain(samples: Samples) -> np.float32:
    """The factor that brings a quiet clip, shape (samples,), float32, to `TARGET_LEVEL`; 1 for any other clip."""
    chunks = samples[: len(samples) // CHUNK_SAMPLES * CHUNK_SAMPLES].reshape(-1, CHUNK_SAMPLES)
    if len(chunks) < LEVEL_CHUNKS:
        chunks = samples[np.newaxis]
    powers = np.einsum("ij,ij->i", chunks, chunks) / max(1, chunks.shape[1])
    level = float(np.sqrt(np.sort(powers)[-min(LEVEL_CHUNKS, len(powers))]))
    return np.float32(min(max(TARGET_LEVEL / level, 1.0), MAX_GAIN) if level > 0 else 1.0)
