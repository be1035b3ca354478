"""CTC emissions -> words with start, end and confidence."""

import math
import unicodedata
from dataclasses import dataclass
from itertools import groupby
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from app.transcript import Word

Emissions = NDArray[np.float32]
"""Log-probabilities, shape (frames, vocabulary), float32, of one clip, cut to its own length."""


@dataclass(frozen=True)
class Vocabulary:
    """The tokens of a CTC model: `tokens[i]` is the text of logit i.

    blank: id of the CTC blank. word_delimiter: the token between words. special: tokens that are not said
    (padding, unknown, start, end). lower_case: the text is to be lower-cased, as the tokenizer was told to.
    """

    tokens: tuple[str, ...]
    blank: int
    word_delimiter: str
    special: frozenset[str]
    lower_case: bool = False


class _Letter(NamedTuple):
    """One token of the best path: the frames it spans (end exclusive) and its highest log-probability."""

    text: str
    start: int
    end: int
    log_probability: float


def decode_ctc(emissions: Emissions, vocabulary: Vocabulary, frame_s: float) -> tuple[Word, ...]:
    """Words of the best path (greedy): the best token of each frame, repeats merged, blanks removed.

    emissions: log-probabilities, shape (frames, vocabulary), float32.
    frame_s: seconds from one frame to the next.

    A word lasts from the first frame of its first letter to the last frame of its last. Its confidence is the
    geometric mean of its letters' probabilities, each taken at its most certain frame.
    Source: A. Graves et al., Connectionist Temporal Classification, ICML 2006, section 3.2 (best path decoding).
    """
    words = []
    for is_delimiter, group in groupby(
        _best_path(emissions, vocabulary),
        key=lambda letter: letter.text == vocabulary.word_delimiter or letter.text.isspace(),
    ):
        letters = [] if is_delimiter else [letter for letter in group if letter.text not in vocabulary.special]
        text = _readable("".join(letter.text for letter in letters), vocabulary)
        if text:
            confidence = math.exp(sum(letter.log_probability for letter in letters) / len(letters))
            words.append(Word(text, letters[0].start * frame_s, letters[-1].end * frame_s, min(confidence, 1.0)))
    return tuple(words)


def confidence_of(words: tuple[Word, ...]) -> float | None:
    """Geometric mean over the letters of all words; None without words."""
    letters = sum(len(word.text) for word in words)
    if not letters:
        return None
    return math.exp(sum(len(word.text) * math.log(max(word.confidence, 1e-9)) for word in words) / letters)


def _best_path(emissions: Emissions, vocabulary: Vocabulary) -> list[_Letter]:
    if not len(emissions):
        return []
    best = emissions.argmax(axis=1)
    starts = np.flatnonzero(np.diff(best, prepend=-1))
    highest = np.maximum.reduceat(emissions[np.arange(len(best)), best], starts)
    ends = np.append(starts[1:], len(best))
    return [
        _Letter(vocabulary.tokens[token], int(start), int(end), float(log_probability))
        for token, start, end, log_probability in zip(best[starts], starts, ends, highest, strict=True)
        if token != vocabulary.blank
    ]


def _readable(text: str, vocabulary: Vocabulary) -> str:
    """Letters as people write them: accents joined to their letter, and no dot left over from lower-casing an İ."""
    text = text.lower() if vocabulary.lower_case else text
    return unicodedata.normalize("NFC", text).replace("i\u0307", "i").strip()
