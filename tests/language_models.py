"""Small language models, and emissions of a model that is unsure of what it hears."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from app.families.ctc.decoding import Vocabulary
from scripts.language_modeling.kneser_ney import Order
from scripts.language_modeling.making import Estimated, Unit, Weights, estimate_model

TOKENS = ("[PAD]", "[UNK]", "|", *"abdeiklmnrstu")
VOCABULARY = Vocabulary(TOKENS, blank=0, word_delimiter="|", special=frozenset({"[PAD]", "[UNK]", ""}))
SENTENCES = (
    *("ali bakla sattı", "ali et aldı", "ali elma aldı", "dede ali ile ata bindi", "ata nal lazım"),
    *("dede et sattı", "dede elma sattı", "ali dedeme et aldı", "nal ata lazım", "bakla dede ile sattı"),
)
WEIGHTS = Weights(0.5, 1.0)
LINES = tuple(sentence.replace("ı", "i").replace("z", "s") for sentence in SENTENCES)


def language_model(unit: Unit, order: int = 3) -> Estimated:
    """A model of a few sentences."""
    return estimate_model(LINES, unit, order, (1,))


def add_language_model(folder: Path, unit: Unit, weights: Weights = WEIGHTS) -> Path:
    """Give a model's folder a language model of a few sentences. Returns the folder."""
    made = language_model(unit)
    made.write(folder / "language_model")
    made.write_weights(folder / "language_model", weights)
    return folder


def add_alphabet(folder: Path, labels: list[str], is_bpe: bool = False) -> None:
    """Write `alphabet.json` as pyctcdecode does."""
    content = json.dumps({"labels": labels, "is_bpe": is_bpe})
    (folder / "alphabet.json").write_text(content, encoding="utf-8")


def unsure_emissions(seed: int, texts: int = 1, doubt: float = 0.3) -> NDArray[np.float32]:
    """Log-probabilities of spoken `LINES`, shape (frames, tokens), float32. doubt: share of letters with a rival."""
    random = np.random.default_rng(seed)
    rows: list[NDArray[np.float64]] = []
    for _ in range(texts):
        line = LINES[random.integers(len(LINES))]
        for letter in f"{line} ":
            token = TOKENS.index("|" if letter == " " else letter)
            rival = int(random.integers(2, len(TOKENS))) if random.random() < 0.6 else 0
            for _ in range(int(random.integers(1, 3))):
                row = random.normal(0.0, 0.5, len(TOKENS))
                row[token] += 12.0
                if random.random() < doubt:
                    row[rival] = row[token] + random.normal(0.0, 2.0)
                rows.append(row)
            for _ in range(int(random.integers(1, 6))):
                row = random.normal(0.0, 0.5, len(TOKENS))
                row[0] += 12.0
                if random.random() < doubt / 3:
                    row[int(random.integers(2, len(TOKENS)))] = row[0] + random.normal(-1.0, 2.0)
                rows.append(row)
    logits = np.stack(rows)
    shifted = logits - logits.max(axis=1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True)), dtype=np.float32)


NGrams = dict[tuple[int, ...], tuple[float, float]]
"""n-gram of ids -> natural logarithms of its probability and of its back-off weight."""


def ngrams(orders: Sequence[Order]) -> NGrams:
    """The n-grams of all orders of a model."""
    table: NGrams = {}
    below: list[tuple[int, ...]] = [()]
    for order in orders:
        below = [
            (*below[prefix], token) for prefix, token in zip(order.prefix.tolist(), order.token.tolist(), strict=True)
        ]
        values = zip(order.log_probability.tolist(), order.log_backoff.tolist(), strict=True)
        table |= dict(zip(below, values, strict=True))
    return table


def log_probability(table: NGrams, context: tuple[int, ...], token: int) -> float:
    """Natural logarithm of P(token | context), as ARPA files define it: the longest n-gram, after back-off weights."""
    if (*context, token) in table:
        return table[*context, token][0]
    return table.get(context, (0.0, 0.0))[1] + log_probability(table, context[1:], token)
