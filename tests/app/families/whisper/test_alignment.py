"""Word times: the parts of the algorithm against plain loops, SciPy and transformers."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.ndimage import median_filter as scipy_median_filter
from transformers.models.whisper.generation_whisper import _dynamic_time_warping, _median_filter

from app.artifacts import open_artifact
from app.families.whisper.alignment import (
    align,
    median_filter,
    split_characters,
    split_words,
    time_warp,
    token_positions,
    without_pauses,
)
from app.families.whisper.settings import read_settings
from app.families.whisper.vocabulary import Vocabulary
from tests.whisper_checkpoints import make_whisper


@pytest.fixture
def vocabulary(checkpoints: Path) -> Vocabulary:
    return read_settings(open_artifact(make_whisper(checkpoints))).vocabulary


def random_costs(rows: int, columns: int, seed: int) -> NDArray[np.float64]:
    return np.random.default_rng(seed).normal(size=(rows, columns))


@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (1, 9), (9, 1), (5, 5), (12, 60), (40, 7)])
@pytest.mark.parametrize("seed", range(4))
def test_the_path_is_that_of_transformers(rows: int, columns: int, seed: int) -> None:
    costs = random_costs(rows, columns, seed)
    for expected, path in zip(_dynamic_time_warping(costs), time_warp(costs), strict=True):
        np.testing.assert_array_equal(path, expected)


def test_the_path_of_equal_costs_is_that_of_transformers() -> None:
    costs = np.zeros((4, 9))
    for expected, path in zip(_dynamic_time_warping(costs), time_warp(costs), strict=True):
        np.testing.assert_array_equal(path, expected)


@pytest.mark.parametrize("seed", range(3))
def test_no_other_path_is_cheaper(seed: int) -> None:
    costs = random_costs(5, 7, seed)

    def cheapest(row: int, column: int) -> float:
        steps = [(row - 1, column - 1), (row - 1, column), (row, column - 1)]
        before = [cheapest(*step) for step in steps if min(step) >= 0]
        return float(costs[row, column]) + (min(before) if before else 0.0)

    rows, columns = time_warp(costs)
    assert (rows[0], columns[0], rows[-1], columns[-1]) == (0, 0, 4, 6)
    assert costs[rows, columns].sum() == pytest.approx(cheapest(4, 6))


@pytest.mark.parametrize("positions", [4, 7, 8, 50])
def test_the_median_filter_is_that_of_scipy_and_transformers(positions: int) -> None:
    values = np.random.default_rng(positions).normal(size=(2, 3, positions)).astype(np.float32)
    filtered = median_filter(values, 7)
    np.testing.assert_array_equal(filtered, scipy_median_filter(values, size=(1, 1, 7), mode="mirror"))
    np.testing.assert_array_equal(filtered, _median_filter(torch.from_numpy(values), 7).numpy())


def test_few_positions_are_not_filtered() -> None:
    values = np.arange(6, dtype=np.float32).reshape(1, 2, 3)
    np.testing.assert_array_equal(median_filter(values, 7), values)


def attending(rows: int, positions: int, prompt: int) -> NDArray[np.float32]:
    """Scores of two heads: after the prompt, token i attends to ten positions from 10 i on."""
    scores = np.zeros((2, rows, positions), dtype=np.float32)
    for row in range(prompt, rows):
        begin = 10 * (row - prompt)
        scores[:, row, begin : begin + 10] = 12
    return scores


def test_tokens_begin_where_they_attend() -> None:
    begins = token_positions(attending(rows=9, positions=60, prompt=3), first_row=3)
    np.testing.assert_allclose(begins, [0, 10, 20, 30, 40, 50], atol=1)


@pytest.mark.parametrize("positions", [1, 2, 5, 40])
def test_constant_attention_and_short_audio_have_times_in_order(positions: int) -> None:
    begins = token_positions(np.zeros((3, 6, positions), dtype=np.float32), first_row=2)
    assert len(begins) == 4
    assert all(before <= after for before, after in pairwise(begins))
    assert begins.min() >= 0
    assert begins.max() < positions


class TestWords:
    def groups(self, vocabulary: Vocabulary, text: str, language: str | None = "en") -> list[str]:
        tokens = vocabulary.encode(text)
        groups = split_words(tokens, vocabulary, language)
        assert [token for group in groups for token in group] == tokens, "no token is lost"
        return [vocabulary.decode(group) for group in groups]

    def test_words_are_split_at_spaces(self, vocabulary: Vocabulary) -> None:
        assert self.groups(vocabulary, " Bugün hava çok güzel", "tr") == [" Bugün", " hava", " çok", " güzel"]

    def test_punctuation_stays_with_its_word(self, vocabulary: Vocabulary) -> None:
        assert self.groups(vocabulary, ' He said, "the end." (And you?)') == [
            *(" He", " said,", ' "the', ' end."', " (And", " you?)")
        ]

    def test_nothing_but_punctuation(self, vocabulary: Vocabulary) -> None:
        assert self.groups(vocabulary, " ...") == [" ..."]
        assert self.groups(vocabulary, ' "') == [' "']
        assert self.groups(vocabulary, "") == []

    def test_scripts_without_spaces_are_split_into_characters(self, vocabulary: Vocabulary) -> None:
        assert self.groups(vocabulary, "東京へ、行く", "ja") == ["東", "京", "へ、", "行", "く"]

    @pytest.mark.parametrize("text", ["日本🙂語", "ğüşiöç", "a😀b"])
    def test_no_group_ends_within_a_letter(self, vocabulary: Vocabulary, text: str) -> None:
        groups = split_characters(vocabulary.encode(text), vocabulary)
        assert "�" not in "".join(vocabulary.decode(group) for group in groups)

    def test_bytes_that_are_no_text_do_not_stop_the_splitting(self, vocabulary: Vocabulary) -> None:
        broken = [token for token, piece in vocabulary.pieces.items() if piece == b"\xff"]
        tokens = [*broken, *vocabulary.encode("a b")]
        assert len(split_characters(tokens, vocabulary)) == len(tokens)

    def words(self, vocabulary: Vocabulary, text: str, language: str = "en", duration_s: float = 9.0) -> list[object]:
        tokens = vocabulary.encode(text)
        scores = attending(rows=3 + len(tokens), positions=450, prompt=2)
        log_probabilities = [-0.1 * index for index in range(len(tokens))]
        return list(align(scores, 2, tokens, log_probabilities, vocabulary, language, 0.02, duration_s))

    def test_times_and_confidence(self, vocabulary: Vocabulary) -> None:
        tokens = vocabulary.encode(" the and you")
        assert len(tokens) == 3
        words = align(attending(6, 60, 2), 2, tokens, [-0.1, -0.2, -0.3], vocabulary, "en", 0.02, 1.2)
        assert [word.text for word in words] == ["the", "and", "you"]
        np.testing.assert_allclose([word.start_s for word in words], [0, 0.2, 0.4], atol=0.021)
        np.testing.assert_allclose([word.end_s for word in words], [0.2, 0.4, 0.6], atol=0.021)
        np.testing.assert_allclose([word.confidence for word in words], np.exp([-0.1, -0.2, -0.3]))

    def test_spaces_between_words(self, vocabulary: Vocabulary) -> None:
        tokens = vocabulary.encode("日本 the")
        scores = attending(3 + len(tokens), 450, 2)
        words = align(scores, 2, tokens, [0.0] * len(tokens), vocabulary, "ja", 0.02, 9.0)
        assert [(word.text, word.space_before) for word in words] == [("日本", False), ("the", True)]

    def test_times_end_with_the_clip(self, vocabulary: Vocabulary) -> None:
        tokens = vocabulary.encode(" the and you")
        words = align(attending(6, 60, 2), 2, tokens, [0.0] * 3, vocabulary, "en", 0.02, 0.3)
        assert max(word.end_s for word in words) == 0.3
        assert all(word.start_s <= word.end_s for word in words)

    def test_no_tokens_have_no_words(self, vocabulary: Vocabulary) -> None:
        assert align(attending(3, 60, 2), 2, [], [], vocabulary, "en", 0.02, 1.0) == ()


def test_words_at_pauses_are_shortened() -> None:
    spans = [(0.0, 3.0), (3.0, 3.2), (3.2, 3.4), (3.4, 5.4), (5.4, 7.4), (7.4, 7.6)]
    shortened = without_pauses(spans, [" So", " it", " is", " this", " end.", " Yes"])
    np.testing.assert_allclose(shortened[0], (1.6, 3.0), err_msg="the first word follows a pause")
    assert shortened[3] == (3.4, 5.4), "within a sentence nothing is known"
    np.testing.assert_allclose(shortened[4], (5.4, 6.8), err_msg="the last word of a sentence comes before a pause")
    assert without_pauses([], []) == []
    assert without_pauses([(1.0, 1.0)], [" a"]) == [(1.0, 1.0)]
