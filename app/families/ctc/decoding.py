"""CTC emissions -> words with start, end and confidence."""

import math
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from app.transcript import Word

Emissions = NDArray[np.float32]
"""Log-probabilities of one clip, shape (frames, vocabulary), float32, without padding frames."""


@dataclass(frozen=True)
class Vocabulary:
    """The tokens of a CTC model: `tokens[i]` is the text of logit i.

    blank: id of the CTC blank. word_delimiter: the token between words. special: tokens without text (padding, unknown,
    start, end). lower_case: whether the tokenizer lower-cases the text.
    """

    tokens: tuple[str, ...]
    blank: int
    word_delimiter: str
    special: frozenset[str]
    lower_case: bool = False

    def is_delimiter(self, text: str) -> bool:
        """Whether the text of a token stands between words."""
        return text == self.word_delimiter or text.isspace()

    @property
    def delimiters(self) -> tuple[int, ...]:
        """Ids of the tokens that stand between words."""
        return tuple(index for index, text in enumerate(self.tokens) if self.is_delimiter(text))


class Run(NamedTuple):
    """Consecutive frames with the same best token.

    start, end: its first frame, and the frame after its last. log_probability: the highest one of the token in them.
    """

    token: int
    start: int
    end: int
    log_probability: float


class AnyWordDecoder(Protocol):
    """Turns the emissions of one clip into words, each as soon as it is final."""

    def add(self, emissions: Emissions) -> list[Word]:
        """Take the next frames, shape (frames, vocabulary), float32 log-probabilities. Returns the final words."""
        ...

    def finish(self) -> list[Word]:
        """The remaining words after the last frame."""
        ...

    @property
    def next_start_s(self) -> float:
        """Earliest start of the next word, seconds; the end of the frames if none has begun."""
        ...


class WordDecoder:
    """Words of the best path (greedy): the best token of each frame, repeats merged, blanks removed.

    frame_s: seconds from one frame to the next.

    A word lasts from the first frame of its first letter to the last frame of its last letter. Its confidence is the
    geometric mean of its letters' probabilities, each at its most certain frame. Source: A. Graves et al.,
    Connectionist Temporal Classification, ICML 2006, section 3.2 (best path decoding).
    """

    def __init__(self, vocabulary: Vocabulary, frame_s: float) -> None:
        self._vocabulary = vocabulary
        self._frame_s = frame_s
        self._frames = 0
        self._last: Run | None = None  # may continue in the next frames
        self._letters: list[Run] = []  # of the incomplete word

    def add(self, emissions: Emissions) -> list[Word]:
        """Take the next frames, shape (frames, vocabulary), float32 log-probabilities.

        Returns the words that are complete.
        """
        if not len(emissions):
            return []
        runs = best_runs(emissions, self._frames)
        self._frames += len(emissions)
        if self._last is not None:
            if self._last.token == runs[0].token:
                log_probability = max(self._last.log_probability, runs[0].log_probability)
                runs[0] = runs[0]._replace(start=self._last.start, log_probability=log_probability)
            else:
                runs.insert(0, self._last)
        self._last = runs.pop()
        return self._take(runs)

    def finish(self) -> list[Word]:
        """The remaining words after the last frame."""
        runs = [] if self._last is None else [self._last]
        self._last = None
        return self._take(runs) + self._end_word()

    @property
    def next_start_s(self) -> float:
        """Earliest start of the next word: of the incomplete one, or the end of the frames."""
        begun = [*self._letters[:1], *([] if self._last is None else [self._last])]
        if begun and (self._letters or begun[0].token != self._vocabulary.blank):
            return begun[0].start * self._frame_s
        return self._frames * self._frame_s

    def _take(self, runs: list[Run]) -> list[Word]:
        vocabulary, words = self._vocabulary, []
        for run in runs:
            text = vocabulary.tokens[run.token]
            if run.token == vocabulary.blank:
                continue
            if vocabulary.is_delimiter(text):
                words += self._end_word()
            elif text not in vocabulary.special:
                self._letters.append(run)
        return words

    def _end_word(self) -> list[Word]:
        letters, self._letters = self._letters, []
        return word_of(letters, self._vocabulary, self._frame_s)


def decode_ctc(emissions: Emissions, vocabulary: Vocabulary, frame_s: float) -> tuple[Word, ...]:
    """The words of a whole clip: log-probabilities, shape (frames, vocabulary), float32. See `WordDecoder`."""
    decoder = WordDecoder(vocabulary, frame_s)
    return tuple(decoder.add(emissions) + decoder.finish())


def best_runs(emissions: Emissions, first_frame: int) -> list[Run]:
    """The best path of consecutive frames, shape (frames, vocabulary), float32, as runs. first_frame: of the clip."""
    best = emissions.argmax(axis=1)
    starts = np.flatnonzero(np.diff(best, prepend=-1))
    highest = np.maximum.reduceat(emissions[np.arange(len(best)), best], starts)
    ends = np.append(starts[1:], len(best))
    return [
        Run(int(token), first_frame + int(start), first_frame + int(end), float(log_probability))
        for token, start, end, log_probability in zip(best[starts], starts, ends, highest, strict=True)
    ]


def word_of(letters: Sequence[Run], vocabulary: Vocabulary, frame_s: float) -> list[Word]:
    """The word that the letters write; none if they write nothing. frame_s: seconds from one frame to the next."""
    text = text_of_runs(letters, vocabulary)
    return [word_of_runs(text, letters, frame_s)] if text else []


def text_of_runs(letters: Sequence[Run], vocabulary: Vocabulary) -> str:
    """The text of consecutive letters."""
    return _readable("".join(vocabulary.tokens[letter.token] for letter in letters), vocabulary)


def word_of_runs(text: str, letters: Sequence[Run], frame_s: float) -> Word:
    """A word that was heard as these letters."""
    confidence = math.exp(sum(letter.log_probability for letter in letters) / len(letters))
    return Word(text, letters[0].start * frame_s, letters[-1].end * frame_s, min(confidence, 1.0))


def _readable(text: str, vocabulary: Vocabulary) -> str:
    """The text with accents and letters composed (NFC), and without the dot that lower-casing an İ leaves over."""
    text = text.lower() if vocabulary.lower_case else text
    return unicodedata.normalize("NFC", text).replace("i\u0307", "i").strip()
