import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from app.families.ctc.letter_model import END, FIRST, START, LetterScorer, perplexity, quantize, read_letter_model
from tests.language_models import TOKENS, VOCABULARY, add_language_model, language_model, log_probability, ngrams

ORDER = 3
TEXTS = ("ali et aldi", "dede nal", "bbb", "", "a", "kumru ali")


def tokens_of(text: str) -> list[int]:
    return [TOKENS.index("|" if letter == " " else letter) for letter in text]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return add_language_model(tmp_path, "letter") / "language_model" / "letters.npz"


def test_scores_are_the_probabilities_of_the_ngrams(path: Path) -> None:
    """The longest n-gram, after back-off weights; with the weights for the log-probability and for each word."""
    estimated = language_model("letter", ORDER)
    table = ngrams(estimated.orders)
    ids = {name: index for index, name in enumerate(estimated.names, FIRST)}
    assert "r" not in ids, "an unknown letter is among the texts"
    alpha, beta = 0.7, 1.3
    scorer = LetterScorer(VOCABULARY, *read_letter_model(path), alpha, beta)
    for text in TEXTS:
        whole = [START, *(ids.get(letter, 0) for letter in text), END]
        expected = sum(
            log_probability(table, tuple(whole[max(0, end - ORDER + 1) : end]), whole[end])
            for end in range(1, len(whole))
        )
        scored = scorer.start()
        for token in tokens_of(text):
            scored = scorer.extend(scored, token)
        words = text.count(" ") + 1
        assert scorer.finish(scored) == pytest.approx(alpha * expected + beta * words, abs=2e-3), text


def test_perplexity_of_a_text(path: Path) -> None:
    scorer = LetterScorer(VOCABULARY, *read_letter_model(path), 1.0, 0.0)
    known, unknown = tokens_of("ali et aldi"), tokens_of("tela itdla")
    scored = scorer.start()
    for token in known:
        scored = scorer.extend(scored, token)
    assert perplexity(scorer, [known]) == pytest.approx(math.exp(-scorer.finish(scored) / (len(known) + 1)))
    assert perplexity(scorer, [known]) < perplexity(scorer, [unknown]) / 2


def test_few_values_are_kept_and_many_are_rounded() -> None:
    few = np.array([-3.0, -1.0, -3.0, -0.5])
    indices, table = quantize(few)
    assert table[indices].tolist() == few.tolist()
    many = np.random.default_rng(0).normal(size=10_000)
    indices, table = quantize(many)
    assert table.shape == (256,)
    assert np.abs(table[indices] - many).mean() < 0.01


@pytest.mark.parametrize("size", [0, 1, 100, -1, -200])
def test_a_file_that_was_cut_off_is_refused(path: Path, size: int) -> None:
    content = path.read_bytes()
    path.write_bytes(content[:size])
    with pytest.raises(ValueError, match=r"letters\.npz"):
        read_letter_model(path)


def test_no_damaged_byte_is_a_crash(path: Path) -> None:
    """Either it is found, or it is in a part of the file that says nothing."""
    content = path.read_bytes()
    before = read_letter_model(path)
    found = 0
    for place in range(0, len(content), 41):
        path.write_bytes(content[:place] + bytes([content[place] ^ 0xFF]) + content[place + 1 :])
        try:
            letters, orders = read_letter_model(path)
        except ValueError:
            found += 1
            continue
        assert letters == before[0]
        assert [order.token.tolist() for order in orders] == [order.token.tolist() for order in before[1]]
    assert found > len(content) / 41 / 2


def test_a_file_of_another_kind_is_refused(path: Path) -> None:
    with path.open("wb") as file:
        np.save(file, np.zeros(3))
    with pytest.raises(ValueError, match="no letter model"):
        read_letter_model(path)


def arrays_of(path: Path) -> dict[str, Any]:
    with np.load(path) as arrays:
        return {name: arrays[name] for name in arrays.files}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": np.array(2)}, "of format 2"),
        ({"letters": np.array(["a", "b"])}, "a unigram for each"),
        ({"children_1": np.zeros(3, np.uint8)}, "do not fit together"),
        ({"token_3": np.zeros(0, np.uint8)}, "do not fit together"),
        ({"token_2": None}, "no letter model"),
    ],
)
def test_parts_that_do_not_fit_are_refused(path: Path, change: dict[str, np.ndarray | None], message: str) -> None:
    changed = {name: value for name, value in (arrays_of(path) | change).items() if value is not None}
    with path.open("wb") as file:
        np.savez(file, **changed)
    with pytest.raises(ValueError, match=message):
        LetterScorer(VOCABULARY, *read_letter_model(path), 1.0, 0.0)


def test_an_ngram_without_its_suffix_is_refused(path: Path) -> None:
    arrays = arrays_of(path)
    arrays["token_2"] = arrays["token_2"][::-1].copy()
    with path.open("wb") as file:
        np.savez(file, **arrays)
    with pytest.raises(ValueError, match="without its suffix"):
        LetterScorer(VOCABULARY, *read_letter_model(path), 1.0, 0.0)
