"""An n-gram language model over words, in KenLM's files, scored as pyctcdecode scores it.

Words are scored when they end, by the n-gram model. Until then, a beginning that no known word has is penalized.
Source: pyctcdecode 0.5, `language_model.py`, with which transformers' `Wav2Vec2ProcessorWithLM` decodes.
"""

import math
from bisect import bisect_left
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from app.artifacts import ArtifactError
from app.families.ctc.decoding import Vocabulary
from app.families.ctc.scorer import Scored

LN_10 = math.log(10.0)
"""KenLM's scores are decimal logarithms."""
USUAL_LENGTH = 6
"""The penalty of an unknown beginning grows with its length from this number of letters on."""


class WordScorer:
    """The `Scorer` of a word model.

    path: an ARPA file or a binary one of KenLM. words: the known words; if there are none, those that the file has are
    known, and every beginning of a word is penalized. alpha: weight of the n-gram model. beta: added for each word.
    unknown_offset: added to the decimal logarithm for an unknown word, and the penalty of its beginning.
    score_boundary: whether the start and the end of a text count. Raises ArtifactError if the file cannot be read.
    """

    def __init__(
        self,
        vocabulary: Vocabulary,
        path: Path,
        words: Sequence[str],
        *,
        alpha: float,
        beta: float,
        unknown_offset: float,
        score_boundary: bool,
    ) -> None:
        self._kenlm, self._model = _load(path)
        self._words = sorted({word for word in words if word in self._model})
        self._alpha, self._beta = alpha, beta
        self._unknown_offset = unknown_offset
        self._score_boundary = score_boundary
        tokens = [text.lower() if vocabulary.lower_case else text for text in vocabulary.tokens]
        self._texts = ["" if vocabulary.is_delimiter(text) else text for text in tokens]

    def start(self) -> Scored:
        """The empty text."""
        state = self._kenlm.State()
        if self._score_boundary:
            self._model.BeginSentenceWrite(state)
        else:
            self._model.NullContextWrite(state)
        return Scored(0.0, (state, "", 0.0))

    def extend(self, before: Scored, token: int) -> Scored:
        """A text with one more letter, or with a space, which ends its last word."""
        context, beginning, penalty = before.state
        text = self._texts[token]
        if text:
            beginning += text
            changed = self._penalty(beginning)
            return Scored(before.score - penalty + changed, (context, beginning, changed))
        score, after = self._end_word(context, beginning)
        return Scored(float(before.score - penalty + score), (after, "", 0.0))

    def finish(self, whole: Scored) -> float:
        """The score of a whole text, with its last word and its end."""
        context, beginning, penalty = whole.state
        score: float = whole.score - penalty
        if beginning:
            word_score, context = self._end_word(context, beginning)
            score += word_score
        if self._score_boundary:
            score += self._alpha * LN_10 * float(self._model.BaseScore(context, "</s>", self._kenlm.State()))
        return score

    def _end_word(self, context: Any, word: str) -> tuple[float, Any]:
        after = self._kenlm.State()
        score = self._model.BaseScore(context, word, after)
        known = self._is_beginning(word, whole=True) if self._words else word in self._model
        if not known:
            score += self._unknown_offset
        return self._alpha * LN_10 * float(score) + self._beta, after

    def _penalty(self, beginning: str) -> float:
        if self._is_beginning(beginning):
            return 0.0
        return self._unknown_offset * max(1.0, len(beginning) / USUAL_LENGTH)

    def _is_beginning(self, text: str, whole: bool = False) -> bool:
        """Whether a known word begins with the text, or is the text."""
        place = bisect_left(self._words, text)
        if place == len(self._words):
            return False
        return self._words[place] == text if whole else self._words[place].startswith(text)


def _load(path: Path) -> tuple[Any, Any]:
    """The module `kenlm` and the model in the file."""
    try:
        import kenlm
    except ImportError as error:
        raise ArtifactError("a language model of words needs kenlm: pip install -r requirements.txt") from error
    try:
        return kenlm, kenlm.Model(str(path))
    except (OSError, RuntimeError, ValueError) as error:
        raise ArtifactError(f"KenLM cannot read the language model {path}: {error}") from error
