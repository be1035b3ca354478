"""An n-gram language model over letters and spaces, in a compact file of its own.

Such a model knows where words end and how they are inflected, and no word is unknown to it.
"""

import math
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.families.ctc.decoding import Vocabulary
from app.families.ctc.scorer import Scored

START, END = 1, 2
"""Ids of the start and the end of a text. 0 stands for letters that the text did not have; the others follow."""
FIRST = 3
SPACE = " "
FORMAT = 1
LEVELS = 256
"""Values that a probability can have within one order of the file."""


@dataclass(frozen=True)
class LetterOrder:
    """The n-grams of one order, sorted by the n-gram before and the last letter; each of shape (n-grams,).

    token: the last letter, uint8. children: how many n-grams of the next order begin with it, uint8; all 0 in the last.
    probability, backoff: indices into the tables of natural logarithms, uint8; tables: shape (256,), float32.
    """

    token: NDArray[np.uint8]
    children: NDArray[np.uint8]
    probability: NDArray[np.uint8]
    backoff: NDArray[np.uint8]
    probabilities: NDArray[np.float32]
    backoffs: NDArray[np.float32]


def write_letter_model(path: Path, letters: Sequence[str], orders: Sequence[LetterOrder]) -> None:
    """Write a model. letters: the text of the ids from 3 on; one of them is the space."""
    arrays: dict[str, Any] = {"format": np.array(FORMAT), "letters": np.array(list(letters))}
    for number, order in enumerate(orders, 1):
        arrays |= {f"{name}_{number}": getattr(order, name) for name in LetterOrder.__dataclass_fields__}
    with path.open("wb") as file:
        np.savez_compressed(file, **arrays)


def read_letter_model(path: Path) -> tuple[list[str], list[LetterOrder]]:
    """What `write_letter_model` wrote. Raises ValueError if it is broken, or of another format."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:  # numpy leaves broken files open
            file_format = int(arrays["format"])
            if file_format == FORMAT:
                count = sum(name.startswith("token_") for name in arrays.files)
                fields = LetterOrder.__dataclass_fields__
                orders = [
                    LetterOrder(**{name: arrays[f"{name}_{number}"] for name in fields})
                    for number in range(1, count + 1)
                ]
                return [str(letter) for letter in arrays["letters"]], orders
    except Exception as error:  # zipfile, zlib and numpy have errors of their own for a damaged file
        raise ValueError(f"{path.name} is no letter model: {error}") from error
    raise ValueError(f"{path.name} is of format {file_format}, not {FORMAT}")


class LetterScorer:
    """The `Scorer` of a letter model.

    alpha: weight of its log-probabilities. beta: added for each word. letters, orders: as in the file. Raises
    ValueError if they do not fit together.
    """

    def __init__(
        self, vocabulary: Vocabulary, letters: Sequence[str], orders: Sequence[LetterOrder], alpha: float, beta: float
    ) -> None:
        self._alpha, self._beta = alpha, beta
        ids = {letter: index for index, letter in enumerate(letters, FIRST)}
        texts = [SPACE if vocabulary.is_delimiter(text) else text for text in vocabulary.tokens]
        texts = [text.lower() if vocabulary.lower_case else text for text in texts]
        self._ids = [bytes([ids.get(text, 0)]) for text in texts]
        self._bonus = [beta if text == SPACE else 0.0 for text in texts]
        self._join(len(letters) + FIRST, orders)
        self._start = Scored(0.0, self._follow(0, bytes([START]))[1])

    def start(self) -> Scored:
        """The empty text."""
        return self._start

    def extend(self, before: Scored, token: int) -> Scored:
        """A text with one more letter or space."""
        log_probability, state = self._follow(before.state, self._ids[token])
        return Scored(before.score + self._alpha * log_probability + self._bonus[token], state)

    def finish(self, whole: Scored) -> float:
        """The score of a whole text: its last word counts, too."""
        log_probability, _ = self._follow(whole.state, bytes([END]))
        return whole.score + self._alpha * log_probability + self._beta

    def _follow(self, context: int, letter: bytes) -> tuple[float, int]:
        """Log-probability of a letter (its id) in a context, and the context after it."""
        first, letters, left_out = self._first, self._letters, 0.0
        while (place := letters.find(letter, first[context], first[context + 1])) < 0:
            left_out += self._log_backoff[context]
            context = self._suffix[context]
        return left_out + self._log_probability[place], self._context[place]

    def _join(self, size: int, orders: Sequence[LetterOrder]) -> None:
        """Join the orders to one trie: node 0 is the empty context, and those of an order follow each other.

        Of each node: its last letter, its first child (the last one is before the first of the next node), its
        log-probability and back-off, its suffix (what is left without the first letter), and the longest suffix that
        anything follows, which is the context after it.
        """
        if not orders or orders[0].token.tolist() != list(range(size)):
            raise ValueError("the letter model does not have a unigram for each of its letters")
        bases = np.cumsum([1, *(len(order.token) for order in orders)])
        tokens = np.concatenate([np.zeros(1, np.uint8), *(order.token for order in orders)])
        counts = np.concatenate([np.array([size]), *(order.children.astype(np.int64) for order in orders)])
        if counts.sum() != bases[-1] - 1 or counts[bases[-2] :].any():
            raise ValueError("the letter model's orders do not fit together")
        parents = np.repeat(np.arange(len(counts)), counts)
        keys = np.append(-1, parents * size + tokens[1:])
        suffix = np.zeros(len(counts), dtype=np.int32)
        context = np.zeros(len(counts), dtype=np.int32)
        for number, (low, high) in enumerate(pairwise(bases.tolist())):
            nodes = np.arange(low, high)
            if number:
                wanted = suffix[parents[nodes - 1]].astype(np.int64) * size + tokens[nodes]
                found = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
                if (keys[found] != wanted).any():
                    raise ValueError("the letter model has an n-gram without its suffix")
                suffix[nodes] = found
            context[nodes] = np.where(counts[nodes] > 0, nodes, context[suffix[nodes]])
        none = np.zeros(1, np.float32)
        probabilities = np.concatenate([none, *(order.probabilities[order.probability] for order in orders)])
        backoffs = np.concatenate([none, *(order.backoffs[order.backoff] for order in orders)])
        self._letters = tokens.tobytes()
        self._first = array("i", np.append(1, 1 + np.cumsum(counts)).astype(np.int32).tobytes())
        self._suffix = array("i", suffix.tobytes())
        self._context = array("i", context.tobytes())
        self._log_probability = array("f", probabilities.astype(np.float32).tobytes())
        self._log_backoff = array("f", backoffs.astype(np.float32).tobytes())


def quantize(values: NDArray[np.float64]) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """The nearest of `LEVELS` values for each, shape (values,), and these values, shape (256,), float32.

    Equally many values go to each level, so levels are dense where values are.
    """
    distinct = np.unique(values.astype(np.float32))
    if len(distinct) > LEVELS:
        ordered = np.sort(values)
        distinct = np.unique([part.mean() for part in np.array_split(ordered, LEVELS)]).astype(np.float32)
    table = np.full(LEVELS, distinct[-1], dtype=np.float32)
    table[: len(distinct)] = distinct
    middles = (distinct[1:] + distinct[:-1]) / 2
    return np.searchsorted(middles, values).astype(np.uint8), table


def perplexity(scorer: LetterScorer, texts: Sequence[Sequence[int]]) -> float:
    """Perplexity per token of texts in tokens of the CTC model, their ends included, with alpha 1 and beta 0."""
    total = 0.0
    for text in texts:
        scored = scorer.start()
        for token in text:
            scored = scorer.extend(scored, token)
        total += scorer.finish(scored)
    return math.exp(-total / sum(len(text) + 1 for text in texts))
