import numpy as np
import pytest
from numpy.typing import NDArray

from app.families.ctc.decoding import best_runs
from app.families.ctc.word_bounds import (
    BOUND_COST,
    IMPOSSIBLE,
    SUFFIX_COST,
    WordBounds,
    greedy_words,
    word_bounds,
)

TOKENS = "_|abd"
LETTERS = {2: "a", 3: "b", 4: "d"}
FRAME_S = 0.1
"""So a pause of four frames parts words."""


def bounds_of(path: str, space: dict[int, float] | None = None, final: bool = True) -> WordBounds:
    """Bounds of a best path, a character for each frame. space: frame -> cost of a space there, else 9."""
    emissions = np.full((len(path), len(TOKENS)), -9.0, dtype=np.float32)
    emissions[np.arange(len(path)), [TOKENS.index(character) for character in path]] = 0.0
    costs: NDArray[np.float64] = np.full(len(path), 9.0)
    for frame, cost in (space or {}).items():
        costs[frame] = cost
    runs = best_runs(emissions, 0)
    words = greedy_words(runs, LETTERS, [1], final)
    return word_bounds(runs, costs, LETTERS, [1], words, {"da", "b"}.__contains__, FRAME_S, final)


def test_words_begin_after_spaces() -> None:
    left = bounds_of("_a_|b_a").left
    assert left.tolist() == [0, 0, BOUND_COST, BOUND_COST, 0, BOUND_COST, BOUND_COST]


def test_words_end_before_spaces() -> None:
    right = bounds_of("a_|b_d").right
    assert right.tolist() == [BOUND_COST, 0, 0, BOUND_COST, BOUND_COST, BOUND_COST, 0]


def test_a_probable_space_costs_less() -> None:
    bounds = bounds_of("a__d", {1: 2.0})
    assert bounds.left.tolist() == [0, BOUND_COST, 2, 2]
    assert bounds.right.tolist() == [BOUND_COST, 2, BOUND_COST, BOUND_COST, 0]


def test_a_pause_parts_words() -> None:
    bounds = bounds_of("a_____d")
    assert bounds.left.tolist() == [0, *[BOUND_COST] * 5, 0]
    assert bounds.right[1] == 0


def test_no_keyword_ends_within_a_letter() -> None:
    assert bounds_of("aaa").right.tolist() == [BOUND_COST, IMPOSSIBLE, IMPOSSIBLE, 0]


def test_endings() -> None:
    bounds = bounds_of("ab_da|b")
    assert bounds.right[:4].tolist() == [BOUND_COST, BOUND_COST, SUFFIX_COST, SUFFIX_COST]
    assert np.flatnonzero(bounds.suffixed).tolist() == [2, 3]
    assert (bounds.vowel_right >= IMPOSSIBLE).all(), "the ending begins with a consonant"


def test_what_later_frames_decide() -> None:
    assert bounds_of("a|ab", final=False).resolved == 1
    assert bounds_of("ab", final=False).resolved == -1
    assert bounds_of("a|ab").resolved == 4
    assert bounds_of("a|ab", final=False).right[2:].tolist() == [0, 0, 0]


def test_words_of_the_best_path() -> None:
    emissions = np.eye(len(TOKENS), dtype=np.float32)[[TOKENS.index(character) for character in "|ab_|a"]]
    first, second = greedy_words(best_runs(emissions, 0), LETTERS, [1], final=False)
    assert ((first.start, first.end, first.closed), (second.start, second.end, second.closed)) == (
        (1, 3, True), (5, 6, False)
    )  # fmt: skip


@pytest.mark.parametrize("path", ["", "_", "|", "|_|"])
def test_without_letters(path: str) -> None:
    bounds = bounds_of(path or "_")
    assert not bounds.left.any()
    assert not bounds.right.any()
