"""The result of a transcription, independent of the model and of the output format."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol, Self

MIN_CONFIDENCE = 1e-9
"""Smaller confidences are raised to this, because their logarithm is taken."""


@dataclass(frozen=True)
class Word:
    """A word, its start and end in seconds from the start of the clip, and the model's confidence in it (0 to 1).

    space_before: whether a space separates it from the word before; not in scripts without spaces. channel, speaker: as
    in its segment.
    """

    text: str
    start_s: float
    end_s: float
    confidence: float
    space_before: bool = True
    channel: int | None = None
    speaker: str | None = None


@dataclass(frozen=True)
class Decoding:
    """How a segment was decoded, by a model that writes token by token.

    tokens: ids of the segment's tokens. temperature: 0 for the most probable text, above for a sample.
    average_log_probability, compression_ratio, no_speech_probability: of the window that the segment belongs to.
    language: ISO 639 code; None for a model of one language. language_probability: None if the caller named it.
    pieces: UTF-8 and log-probability of each of `tokens` that is text; a letter may be split between several tokens.
    """

    tokens: tuple[int, ...]
    temperature: float
    average_log_probability: float
    compression_ratio: float
    no_speech_probability: float
    language: str | None
    language_probability: float | None
    pieces: tuple[tuple[bytes, float], ...] = ()


@dataclass(frozen=True)
class Segment:
    """Words that are shown together, such as one subtitle.

    words: empty if word times were not requested or the model cannot provide them. decoding: None for models that do
    not decode token by token. space_before: whether a space separates it from the segment before. channel: number of
    the only channel in which it was heard, from 0; None if the channels were mixed. speaker: who says it; None if
    unknown.
    """

    text: str
    start_s: float
    end_s: float
    confidence: float
    words: tuple[Word, ...] = ()
    decoding: Decoding | None = None
    space_before: bool = True
    channel: int | None = None
    speaker: str | None = None

    @classmethod
    def of(cls, words: tuple[Word, ...]) -> Self:
        """A segment of one or more words."""
        confidence = mean_confidence(words) or 0.0
        return cls(
            joined(words), words[0].start_s, words[-1].end_s, confidence, words, space_before=words[0].space_before
        )


@dataclass(frozen=True)
class Timings:
    """Wall time of a request by stage, in seconds.

    decode_s: bytes to waveform. queue_s: waiting for a decoding thread, and for the model while none of this clip's
    windows ran. inference_s: time in which at least one of them ran. total_s: all of it, including the overhead between
    stages.
    """

    decode_s: float
    queue_s: float
    inference_s: float
    total_s: float


@dataclass(frozen=True)
class Transcript:
    """The segments of a clip, by their start, and the measurements of its request.

    duration_s: duration of the clip, in seconds.
    """

    segments: tuple[Segment, ...]
    duration_s: float
    timings: Timings

    @property
    def text(self) -> str:
        """The text of all segments."""
        return joined(self.segments)

    @property
    def has_speakers(self) -> bool:
        """Whether any segment has a speaker."""
        return any(segment.speaker is not None for segment in self.segments)

    @property
    def language(self) -> str | None:
        """ISO 639 code of the first segment; None without segments, or from a model of one language."""
        return next((segment.decoding.language for segment in self.segments if segment.decoding), None)

    @property
    def language_probability(self) -> float | None:
        """With which the language was detected; None if it was not."""
        return next((segment.decoding.language_probability for segment in self.segments if segment.decoding), None)

    @property
    def words(self) -> tuple[Word, ...]:
        """The words of all segments; with speakers, who may overlap, by their start."""
        words = (word for segment in self.segments for word in segment.words)
        return tuple(sorted(words, key=lambda word: word.start_s) if self.has_speakers else words)

    @property
    def confidence(self) -> float | None:
        """Geometric mean over all letters, 0 to 1; None if there are no words."""
        return mean_confidence(self.words or self.segments)


class Spaced(Protocol):
    """A part of a text, such as a word or a segment."""

    @property
    def text(self) -> str:
        """The part without spaces around it."""
        ...

    @property
    def space_before(self) -> bool:
        """Whether a space separates it from the part before."""
        ...


def joined(parts: Iterable[Spaced]) -> str:
    """The text of consecutive parts, with a space before those that want one."""
    return "".join((" " if part.space_before else "") + part.text for part in parts).lstrip(" ")


def mean_confidence(parts: tuple[Word, ...] | tuple[Segment, ...]) -> float | None:
    """Geometric mean over the letters of all words or segments; None if there are none."""
    letters = sum(len(part.text) for part in parts)
    if not letters:
        return None
    logarithms = (len(part.text) * math.log(max(part.confidence, MIN_CONFIDENCE)) for part in parts)
    return math.exp(sum(logarithms) / letters)
