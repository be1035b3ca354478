"""Word times: the parts of the algorithm against plain loops, SciPy and transformers."""

import math
from dataclasses import replace
from itertools import pairwise, product
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
    mean_probability,
    median_filter,
    split_characters,
    split_words,
    time_warp,
    token_positions,
    without_pauses,
)
from app.families.whisper.settings import read_settings
from app.families.whisper.vocabulary import Vocabulary
from app.transcript import Word, joined
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


def plain_time_warp(costs: NDArray[np.float64]) -> list[tuple[int, int]]:
    """Sakoe and Chiba's algorithm cell by cell, with the order of steps of `dtw_cpu` in openai/whisper."""
    rows, columns = costs.shape
    total = {(0, 0): 0.0}
    steps: dict[tuple[int, int], tuple[int, int]] = {}
    for row, column in product(range(1, rows + 1), range(1, columns + 1)):
        both = total.get((row - 1, column - 1), math.inf)
        down = total.get((row - 1, column), math.inf)
        right = total.get((row, column - 1), math.inf)
        cheapest, step = right, (0, 1)
        if both < down and both < right:
            cheapest, step = both, (1, 1)
        elif down < both and down < right:
            cheapest, step = down, (1, 0)
        total[row, column] = costs[row - 1, column - 1] + cheapest
        steps[row, column] = step
    row, column = rows, columns
    path = []
    while row > 0 or column > 0:
        path.append((row - 1, column - 1))
        step = (0, 1) if row == 0 else (1, 0) if column == 0 else steps[row, column]
        row, column = row - step[0], column - step[1]
    return path[::-1]


@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (1, 8), (8, 1), (2, 2), (7, 23), (23, 7)])
@pytest.mark.parametrize("values", [1, 2, 3, 1000])
def test_the_path_is_that_of_a_plain_loop(rows: int, columns: int, values: int) -> None:
    """Few different values give many equal totals."""
    for seed in range(10):
        costs = np.random.default_rng(seed).integers(values, size=(rows, columns)).astype(np.float64) - values // 2
        assert list(zip(*(axis.tolist() for axis in time_warp(costs)), strict=True)) == plain_time_warp(costs)


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
    filtered = median_filter(values)
    np.testing.assert_array_equal(filtered, scipy_median_filter(values, size=(1, 1, 7), mode="mirror"))
    np.testing.assert_array_equal(filtered, _median_filter(torch.from_numpy(values), 7).numpy())


def test_the_network_finds_the_median_of_any_values() -> None:
    """It does so of all values if it does of zeros and ones (0-1 principle: D. Knuth, TAOCP, volume 3, 5.3.4)."""
    for values in product((0.0, 1.0), repeat=7):
        window = np.array(values, dtype=np.float32)
        assert median_filter(window)[3] == np.median(window)


def test_few_positions_are_not_filtered() -> None:
    values = np.arange(6, dtype=np.float32).reshape(1, 2, 3)
    np.testing.assert_array_equal(median_filter(values), values)


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


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_scores_that_are_no_numbers_have_times_in_order(value: float) -> None:
    scores = attending(rows=9, positions=60, prompt=3)
    scores[0, 4] = value
    scores[1, :, 30:] = value
    for broken in (scores, np.full_like(scores, value)):
        begins = token_positions(broken, first_row=3)
        assert len(begins) == 6
        assert all(0 <= before <= after < 60 for before, after in pairwise(begins))


class TestWords:
    def groups(self, vocabulary: Vocabulary, text: str, language: str | None = "en") -> list[str]:
        tokens = vocabulary.encode(text)
        groups = split_words(tokens, vocabulary, language)
        texts = [tokens[group.start : group.end] for group in groups]
        assert [token for group in texts for token in group] == tokens, "no token is lost"
        return [vocabulary.decode(group) for group in texts]

    def test_words_are_split_at_spaces(self, vocabulary: Vocabulary) -> None:
        assert self.groups(vocabulary, " Bugün hava çok güzel", "tr") == [" Bugün", " hava", " çok", " güzel"]

    def test_punctuation_stays_with_its_word(self, vocabulary: Vocabulary) -> None:
        assert self.groups(vocabulary, ' He said, "the end." (And you?)') == [
            *(" He", " said,", ' "the', ' end."', " (And", " you?)")
        ]

    def test_a_token_of_several_marks_is_punctuation(self, vocabulary: Vocabulary) -> None:
        pieces = {0: b" end", 1: b'?"', 2: b" Yes", 3: b"..."}
        groups = split_words([0, 1, 2, 3], replace(vocabulary, pieces=pieces), "en")
        assert [(group.start, group.spoken_start, group.spoken_end, group.end) for group in groups] == [
            (0, 0, 1, 2),
            (2, 2, 3, 4),
        ]

    def test_line_feeds_separate_words(self, vocabulary: Vocabulary) -> None:
        assert [text.strip() for text in self.groups(vocabulary, " a\n\nb\n")] == ["a", "b", ""]
        assert [word.text for word in self.words(vocabulary, " a\n\nb\n")] == ["a", "b"]

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

    def test_a_letter_that_stays_incomplete_takes_no_word_along(self, vocabulary: Vocabulary) -> None:
        pieces = {0: b" a\xe1\xba", 1: b" b", 2: b"\xf0\x9f", 3: b"\x99", 4: b"\x82"}
        broken = replace(vocabulary, pieces=pieces)
        assert split_characters([0, 1, 2, 3, 4], broken) == [[0], [1], [2, 3, 4]]
        assert split_characters([2, 3], broken) == [[2, 3]]

    def test_bytes_that_are_no_text_do_not_stop_the_splitting(self, vocabulary: Vocabulary) -> None:
        broken = [token for token, piece in vocabulary.pieces.items() if piece == b"\xff"]
        tokens = [*broken, *vocabulary.encode("a b")]
        assert len(split_characters(tokens, vocabulary)) == len(tokens)

    def words(self, vocabulary: Vocabulary, text: str, language: str = "en", duration_s: float = 9.0) -> list[Word]:
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

    @pytest.mark.parametrize("language", ["en", None])
    def test_a_space_separates_the_first_word_from_the_window_before(
        self, vocabulary: Vocabulary, language: str | None
    ) -> None:
        tokens = vocabulary.encode("a the")
        words = align(attending(12, 200, 2), 2, tokens, [0.0] * len(tokens), vocabulary, language, 0.02, 4.0)
        assert [word.space_before for word in words] == [True, True]

    @pytest.mark.parametrize(
        ("text", "language"),
        [
            (' He said, "the end." (And you?)', "en"),
            ("東京へ、行く。", "ja"),
            (" no-one 3.14% a😀b", "en"),
            (" ğü 日本", "tr"),
        ],
    )
    def test_the_words_together_are_the_text(self, vocabulary: Vocabulary, text: str, language: str) -> None:
        assert joined(self.words(vocabulary, text, language)) == text.strip()

    def test_punctuation_takes_no_time(self, vocabulary: Vocabulary) -> None:
        """The pause that a mark attends to is no part of the word before or after it."""
        pieces = {0: b" the", 1: b",", 2: b' "', 3: b" and", 4: b" you"}
        marked = replace(vocabulary, pieces=pieces)
        words = align(attending(8, 60, 2), 2, [0, 1, 2, 3, 4], [0.0] * 5, marked, "en", 0.02, 1.2)
        assert [word.text for word in words] == ["the,", '" and', "you"]
        np.testing.assert_allclose([word.start_s for word in words], [0, 0.6, 0.8], atol=0.021)
        np.testing.assert_allclose([word.end_s for word in words], [0.2, 0.8, 1.0], atol=0.021)

    def test_one_token(self, vocabulary: Vocabulary) -> None:
        scores = np.zeros((2, 2, 1), dtype=np.float32)
        [word] = align(scores, 0, vocabulary.encode("a"), [-1.0], vocabulary, "en", 0.02, 1.0)
        assert (word.text, word.start_s, word.end_s) == ("a", 0.0, 0.0)
        assert word.confidence == pytest.approx(math.exp(-1))

    @pytest.mark.parametrize(
        ("log_probabilities", "confidence"),
        [([math.nan, 0.0], 0.0), ([-math.inf, 0.0], 0.0), ([0.1], 1.0), ([-1.0, -3.0], math.exp(-2))],
    )
    def test_confidence_is_a_number(self, log_probabilities: list[float], confidence: float) -> None:
        assert mean_probability(log_probabilities) == pytest.approx(confidence)

    def test_times_end_with_the_clip(self, vocabulary: Vocabulary) -> None:
        tokens = vocabulary.encode(" the and you")
        words = align(attending(6, 60, 2), 2, tokens, [0.0] * 3, vocabulary, "en", 0.02, 0.3)
        assert max(word.end_s for word in words) == 0.3
        assert all(word.start_s <= word.end_s for word in words)

    def test_no_tokens_have_no_words(self, vocabulary: Vocabulary) -> None:
        assert align(attending(3, 60, 2), 2, [], [], vocabulary, "en", 0.02, 1.0) == ()


SPANS = [(0.0, 3.0), (3.0, 3.2), (3.2, 3.4), (3.4, 5.4), (5.4, 5.6), (5.6, 7.6), (7.6, 7.8)]


def test_words_at_pauses_are_shortened() -> None:
    shortened = without_pauses(SPANS, [" So", " it", " is", " this", ' end."', " Yes,", " it"])
    np.testing.assert_allclose(shortened[0], (2.6, 3.0), err_msg="the first word follows a pause")
    np.testing.assert_allclose(shortened[5], (7.2, 7.6), err_msg="the first word of a sentence follows a pause")
    assert [*shortened[1:5], shortened[6]] == [*SPANS[1:5], SPANS[6]], "within a sentence nothing is known"


def test_a_pause_in_the_first_two_words_is_no_part_of_them() -> None:
    spans = [(0.0, 1.0), (1.0, 4.0), (4.0, 4.2), (4.2, 4.4), (4.4, 4.6)]
    shortened = without_pauses(spans, [" a", " b", " c", " d", " e"])
    np.testing.assert_allclose(shortened[:2], [(3.2, 3.6), (3.6, 4.0)])
    assert shortened[2:] == spans[2:]


def test_the_first_words_are_kept_if_no_pause_comes_before_them() -> None:
    spans = [(0.0, 0.5), (0.5, 0.7), (0.7, 0.9)]
    assert without_pauses(spans, [" a", " b", " c"]) == spans


@pytest.mark.parametrize("spans", [[], [(1.0, 1.0)], [(0.0, 1.2)]])
def test_nothing_to_compare_with(spans: list[tuple[float, float]]) -> None:
    assert without_pauses(spans, [" a"] * len(spans)) == spans


@pytest.mark.parametrize("seed", range(20))
def test_shortened_words_stay_in_order(seed: int) -> None:
    times = np.sort(np.random.default_rng(seed).exponential(2.0, size=9)).tolist()
    spans = list(pairwise(times))
    shortened = without_pauses(spans, [" a", " b.", " c", " d", " e?", " f", " g.", " h"])
    flat = [time_s for span in shortened for time_s in span]
    assert flat == sorted(flat)
    assert flat[0] >= 0
    assert flat[-1] == times[-1]
