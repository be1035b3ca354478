"""What a transcription is, whatever model made it and whatever format it leaves in."""

import math
from dataclasses import dataclass
from typing import Self

LEAST_CONFIDENCE = 1e-9
"""A smaller one counts as this: its logarithm is taken."""


@dataclass(frozen=True)
class Word:
    """A word, where it was said (seconds from the start of the clip), and how sure the model is (0 to 1)."""

    text: str
    start_s: float
    end_s: float
    confidence: float


@dataclass(frozen=True)
class Segment:
    """Words that are shown together, such as one subtitle.

    words: empty if the model was not asked for the times of words, or cannot tell them.
    """

    text: str
    start_s: float
    end_s: float
    confidence: float
    words: tuple[Word, ...] = ()

    @classmethod
    def of(cls, words: tuple[Word, ...]) -> Self:
        """The segment of some words, joined by single spaces; at least one."""
        text = " ".join(word.text for word in words)
        return cls(text, words[0].start_s, words[-1].end_s, mean_confidence(words) or 0.0, words)


@dataclass(frozen=True)
class Timings:
    """Where the time of a request went, in seconds of wall clock.

    decode_s: bytes to waveform. queue_s: waiting for a thread to decode it, and for the model while none of this
    clip's windows ran. inference_s: at least one of them ran. total_s: all of it, and the little between.
    """

    decode_s: float
    queue_s: float
    inference_s: float
    total_s: float


@dataclass(frozen=True)
class Transcript:
    """The segments of a clip and what was measured on the way. duration_s: of the clip."""

    segments: tuple[Segment, ...]
    duration_s: float
    timings: Timings

    @property
    def text(self) -> str:
        """The segments, joined by single spaces."""
        return " ".join(segment.text for segment in self.segments)

    @property
    def words(self) -> tuple[Word, ...]:
        """The words of all segments."""
        return tuple(word for segment in self.segments for word in segment.words)

    @property
    def confidence(self) -> float | None:
        """Geometric mean over all letters, 0 to 1; None where nothing was said."""
        return mean_confidence(self.words or self.segments)


def mean_confidence(parts: tuple[Word, ...] | tuple[Segment, ...]) -> float | None:
    """Geometric mean over the letters of all words or segments; None if there are none."""
    letters = sum(len(part.text) for part in parts)
    if not letters:
        return None
    logarithms = (len(part.text) * math.log(max(part.confidence, LEAST_CONFIDENCE)) for part in parts)
    return math.exp(sum(logarithms) / letters)
