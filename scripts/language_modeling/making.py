"""Makes the files of a language model from lines of text: a model over letters, or one over words in the hub's form."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from app.families.ctc.decoding import Vocabulary
from app.families.ctc.language_model import ATTRIBUTES_FILE, LETTERS_FILE, UNIGRAMS_FILE
from app.families.ctc.letter_model import FIRST, SPACE, LetterOrder, LetterScorer, quantize, write_letter_model
from app.families.ctc.scorer import Scorer
from app.families.ctc.word_model import WordScorer
from scripts.language_modeling.arpa import write_arpa
from scripts.language_modeling.kneser_ney import Order, estimate

Unit = Literal["letter", "word"]
SPECIAL_NAMES = ("<unk>", "<s>", "</s>")
ARPA_FILE = "ngrams.arpa"
UNKNOWN_OFFSET = -10.0
"""Of word models, as pyctcdecode has it by default."""


@dataclass(frozen=True)
class Weights:
    """alpha: weight of the language model's log-probabilities. beta: added for each word."""

    alpha: float
    beta: float


START_WEIGHTS: dict[Unit, Weights] = {"letter": Weights(0.7, 1.0), "word": Weights(0.5, 1.5)}


@dataclass(frozen=True)
class Estimated:
    """A model without its weights. names: text of the ids from 3 on: letters or words."""

    unit: Unit
    names: Sequence[str]
    orders: Sequence[Order]

    def write(self, folder: Path) -> None:
        """Write the n-grams and, for words, the known words."""
        folder.mkdir(parents=True, exist_ok=True)
        if self.unit == "letter":
            write_letter_model(folder / LETTERS_FILE, self.names, letter_orders(self.orders))
        else:
            write_arpa(folder / ARPA_FILE, [*SPECIAL_NAMES, *self.names], self.orders)
            (folder / UNIGRAMS_FILE).write_text("".join(f"{name}\n" for name in self.names), encoding="utf-8")

    def write_weights(self, folder: Path, weights: Weights) -> None:
        """Write `attrs.json`."""
        attributes: dict[str, float | bool] = {"alpha": weights.alpha, "beta": weights.beta}
        if self.unit == "word":
            attributes |= {"unk_score_offset": UNKNOWN_OFFSET, "score_boundary": True}
        (folder / ATTRIBUTES_FILE).write_text(json.dumps(attributes) + "\n", encoding="utf-8")

    def scorer(self, folder: Path, vocabulary: Vocabulary, weights: Weights) -> Scorer:
        """The scorer of the model that was written to the folder."""
        if self.unit == "letter":
            return LetterScorer(vocabulary, self.names, letter_orders(self.orders), weights.alpha, weights.beta)
        return WordScorer(
            vocabulary,
            folder / ARPA_FILE,
            self.names,
            alpha=weights.alpha,
            beta=weights.beta,
            unknown_offset=UNKNOWN_OFFSET,
            score_boundary=True,
        )


def estimate_model(lines: Sequence[str], unit: Unit, order: int, min_counts: Sequence[int]) -> Estimated:
    """Estimate a model from lines of words that are separated by single spaces.

    min_counts: as of `estimate`. Raises ValueError if there is no text, or it has too many letters for the file.
    """
    split = [list(line) if unit == "letter" else line.split() for line in lines if line]
    names = sorted({part for parts in split for part in parts} | ({SPACE} if unit == "letter" else set()))
    if unit == "letter" and len(names) + FIRST > np.iinfo(np.uint8).max:
        raise ValueError(f"the text has {len(names)} different letters; a model of letters takes at most 252")
    ids = {name: index for index, name in enumerate(names, FIRST)}
    orders = estimate([[ids[part] for part in parts] for parts in split], len(names) + FIRST, order, min_counts)
    return Estimated(unit, names, orders)


def letter_orders(orders: Sequence[Order]) -> list[LetterOrder]:
    """The orders as the file of a letter model has them."""
    made = []
    for number, order in enumerate(orders, 1):
        followers = orders[number].prefix if number < len(orders) else np.zeros(0, dtype=np.int64)
        children = np.bincount(followers, minlength=len(order)).astype(np.uint8)
        probability, probabilities = quantize(order.log_probability)
        backoff, backoffs = quantize(order.log_backoff)
        made.append(LetterOrder(order.token.astype(np.uint8), children, probability, backoff, probabilities, backoffs))
    return made
