"""Word and character error rates with confidence intervals."""

from dataclasses import dataclass

import jiwer
import numpy as np
from numpy.typing import NDArray

RESAMPLES = 1_000
"""Number of bootstrap resamples."""


@dataclass(frozen=True)
class ErrorRate:
    """Errors per reference word or character (0.1 is 10 %), and the bounds of the 95 % interval."""

    rate: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.rate:.1%} ({self.low:.1%} to {self.high:.1%})"


@dataclass(frozen=True)
class ClipErrors:
    """Edits (substitutions, deletions and insertions) and reference lengths of one clip, in words and characters."""

    word_errors: int
    words: int
    character_errors: int
    characters: int


def count_errors(reference: str, hypothesis: str) -> ClipErrors:
    """Count the edits between two normalized texts. An empty reference has only insertions."""
    if not reference:
        return ClipErrors(len(hypothesis.split()), 0, len(hypothesis), 0)
    words = jiwer.process_words(reference, hypothesis)
    characters = jiwer.process_characters(reference, hypothesis)
    return ClipErrors(
        words.substitutions + words.deletions + words.insertions,
        words.hits + words.substitutions + words.deletions,
        characters.substitutions + characters.deletions + characters.insertions,
        characters.hits + characters.substitutions + characters.deletions,
    )


def word_error_rate(clips: list[ClipErrors]) -> ErrorRate:
    """WER: all edits over all reference words."""
    return _with_interval([clip.word_errors for clip in clips], [clip.words for clip in clips])


def character_error_rate(clips: list[ClipErrors]) -> ErrorRate:
    """CER: all edits over all reference characters, spaces included."""
    return _with_interval([clip.character_errors for clip in clips], [clip.characters for clip in clips])


def word_error_increase(clips: list[ClipErrors], others: list[ClipErrors]) -> ErrorRate:
    """The WER of `others` minus that of `clips`, which are the same clips on another backend.

    The interval is that of the difference. Both are resampled together: a clip that is difficult for one backend is
    difficult for the other, so the difference is much more precise than either rate.
    """
    errors = [other.word_errors - clip.word_errors for clip, other in zip(clips, others, strict=True)]
    return _with_interval(errors, [clip.words for clip in clips])


def _with_interval(errors: list[int], lengths: list[int]) -> ErrorRate:
    """The ratio of the sums, with a 95 % percentile bootstrap interval over clips.

    Source: M. Bisani and H. Ney, "Bootstrap estimates for confidence intervals in ASR performance evaluation", 2004.
    """
    counts: NDArray[np.int64] = np.array([errors, lengths], dtype=np.int64)
    drawn = np.random.default_rng(0).integers(counts.shape[1], size=(RESAMPLES, counts.shape[1]))
    totals = counts[:, drawn].sum(axis=2)
    low, high = np.percentile(totals[0] / np.maximum(totals[1], 1), [2.5, 97.5])
    return ErrorRate(sum(errors) / max(sum(lengths), 1), float(low), float(high))
