"""An n-gram language model over letters and spaces, in a compact file of its own.

Such a model knows where words end and how they are inflected, and no word is unknown to it.
"""

import math
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from app.families.ctc.beam_search import Scored
from app.families.ctc.decoding import Vocabulary

START, END = 1, 2
"""Ids of the start and the end of a text. 0 stands for letters that the text did not have; the others follow."""
FIRST = 3
SPACE = " "
FORMAT = 1
MAX_ROWS = 20_000
"""Contexts whose probabilities are kept at hand; the others are computed again. One takes about 1 KB."""
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
    arrays: dict[str, NDArray[np.generic]] = {"format": np.array(FORMAT), "letters": np.array(list(letters))}
    for number, order in enumerate(orders, 1):
        arrays |= {f"{name}_{number}": getattr(order, name) for name in LetterOrder.__dataclass_fields__}
    with path.open("wb") as file:
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]


def read_letter_model(path: Path) -> tuple[list[str], list[LetterOrder]]:
    """What `write_letter_model` wrote. Raises ValueError if it is broken, or of another format."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            if int(arrays["format"]) != FORMAT:
                raise ValueError(f"{path.name} is of format {int(arrays['format'])}, not {FORMAT}")
            count = sum(name.startswith("token_") for name in arrays.files)
            fields = LetterOrder.__dataclass_fields__
            orders = [
                LetterOrder(**{name: arrays[f"{name}_{number}"] for name in fields}) for number in range(1, count + 1)
            ]
            return [str(letter) for letter in arrays["letters"]], orders
    except (BadZipFile, EOFError, KeyError, OSError, TypeError) as error:
        raise ValueError(f"{path.name} is no letter model: {error}") from error


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
        tokens = vocabulary.tokens
        texts = [SPACE if text == vocabulary.word_delimiter or text.isspace() else text for text in tokens]
        texts = [text.lower() if vocabulary.lower_case else text for text in texts]
        self._ids = np.array([ids.get(text, 0) for text in texts])
        self._bonus = np.array([beta if text == SPACE else 0.0 for text in texts])
        self._join(len(letters) + FIRST, orders)
        self._rows: dict[int, tuple[list[Scored], float]] = {}
        self._lock = threading.Lock()
        self._start = self._child(0, START)

    def start(self) -> Scored:
        """The empty text."""
        return Scored(0.0, self._start)

    def extend(self, before: Scored, token: int) -> Scored:
        """A text with one more letter or space."""
        steps, _ = self._row(before.state)
        step = steps[token]
        return Scored(before.score + step.score, step.state)

    def finish(self, whole: Scored) -> float:
        """The score of a whole text: its last word counts, too."""
        return whole.score + self._row(whole.state)[1]

    def _row(self, state: int) -> tuple[list[Scored], float]:
        """What each token of the CTC model adds in this context, and the context after it; and what the end adds."""
        found = self._rows.get(state)
        if found is None:
            log_probabilities, states = self._follow(state)
            scores = self._alpha * log_probabilities[self._ids] + self._bonus
            steps = [Scored(*step) for step in zip(scores.tolist(), states[self._ids].tolist(), strict=True)]
            found = steps, self._alpha * float(log_probabilities[END]) + self._beta
            with self._lock:
                if len(self._rows) >= MAX_ROWS:
                    self._rows = {}
                self._rows[state] = found
        return found

    def _join(self, size: int, orders: Sequence[LetterOrder]) -> None:
        """Join the orders to one trie: node 0 is the empty context, and those of an order follow each other."""
        if not orders or len(orders[0].token) != size:
            raise ValueError("the letter model does not have a unigram for each of its letters")
        self._size = size
        bases = np.cumsum([1, *(len(order.token) for order in orders)])
        self._log_probability = np.concatenate(
            [np.zeros(1, np.float32), *(order.probabilities[order.probability] for order in orders)]
        )
        self._log_backoff = np.concatenate(
            [np.zeros(1, np.float32), *(order.backoffs[order.backoff] for order in orders)]
        )
        self._token = np.concatenate([np.zeros(1, np.uint8), *(order.token for order in orders)])
        counts = np.concatenate([np.array([size]), *(order.children.astype(np.int64) for order in orders)])
        self._first = np.cumsum(np.append(1, counts))
        if self._first[-1] != bases[-1] or counts[bases[-2] :].any():
            raise ValueError("the letter model's orders do not fit together")
        # The suffix of a node: what is left of its text without the first letter, if the model has that.
        parents = np.repeat(np.arange(len(counts)), counts)
        self._suffix = np.zeros(len(counts), dtype=np.int64)
        keys = np.append(-1, parents * size + self._token[1:])
        for low, high in zip(bases[1:-1].tolist(), bases[2:].tolist(), strict=True):
            nodes = np.arange(low, high)
            wanted = self._suffix[parents[nodes - 1]] * size + self._token[nodes]
            found = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
            if (keys[found] != wanted).any():
                raise ValueError("the letter model has an n-gram without its suffix")
            self._suffix[nodes] = found

    def _child(self, node: int, token: int) -> int:
        first, after = int(self._first[node]), int(self._first[node + 1])
        place = first + int(np.searchsorted(self._token[first:after], token))
        return place if place < after and self._token[place] == token else 0

    def _follow(self, state: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Log-probability of each id in a context, and the longest context that the model has after it."""
        chain = [state]
        while chain[-1]:
            chain.append(int(self._suffix[chain[-1]]))
        log_probabilities = np.zeros(self._size)
        states = np.zeros(self._size, dtype=np.int64)
        for node in reversed(chain):
            if node:
                log_probabilities += float(self._log_backoff[node])
            first, after = int(self._first[node]), int(self._first[node + 1])
            tokens = self._token[first:after]
            log_probabilities[tokens] = self._log_probability[first:after]
            states[tokens] = np.arange(first, after)
        # A node that nothing follows is no context: its suffix is.
        while (idle := (states > 0) & (self._first[states + 1] == self._first[states])).any():
            backoff = self._log_backoff[states[idle]]
            if backoff.any():
                break
            states[idle] = self._suffix[states[idle]]
        return log_probabilities, states


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
