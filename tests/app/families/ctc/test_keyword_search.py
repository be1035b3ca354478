"""Spotting by hand: costs are small whole numbers of nats, and the time costs nothing."""

import numpy as np
import pytest
from numpy.typing import NDArray

from app.families.ctc import keyword_search
from app.families.ctc.decoding import Vocabulary, best_runs
from app.families.ctc.keyword_search import Costs, Hit, search
from app.families.ctc.keyword_trie import FIRST_LETTERS, LETTER_BONUS, build_trie
from app.families.ctc.spelling import Letters
from app.families.ctc.word_bounds import BOUND_COST, greedy_words, word_bounds
from app.keywords import Keyword

TOKENS = "_|abcd"
VOCABULARY = Vocabulary(tuple(TOKENS), 0, "|", frozenset())
LETTERS = Letters(VOCABULARY, None)
FRAME_S = 0.1
RARE = -9.0


@pytest.fixture(autouse=True)
def no_cost_of_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keyword_search, "FRAME_COST", 0.0)


def frames(*rows: dict[str, float]) -> NDArray[np.float32]:
    """Log-probabilities, shape (frames, vocabulary); those that are not given are `RARE`. The best one is 0."""
    return np.array([[row.get(token, RARE) for token in TOKENS] for row in rows], dtype=np.float32)


def path(text: str) -> list[dict[str, float]]:
    return [{character: 0.0} for character in text]


def spot(
    emissions: NDArray[np.float32], *keywords: str, final: bool = True, boost: float = 1.0
) -> tuple[list[Hit], int]:
    trie = build_trie([Keyword(text) for text in keywords], LETTERS, boost)
    runs = best_runs(emissions, 0)
    words = greedy_words(runs, LETTERS.of_token, LETTERS.delimiters, final)
    space = (emissions.max(axis=1) - emissions[:, 1]).astype(np.float64)
    bounds = word_bounds(runs, space, LETTERS.of_token, LETTERS.delimiters, words, "d".__eq__, FRAME_S, final)
    costs = Costs.of(emissions, [LETTERS.ids[letter] for letter in trie.letters], LETTERS.delimiters, [0])
    return search(trie, costs, bounds, 0, FRAME_S)


def bonus(letters: int) -> float:
    return LETTER_BONUS * (letters - FIRST_LETTERS)


def test_a_keyword_that_the_best_path_writes_costs_nothing() -> None:
    hits, running = spot(frames(*path("_|ab_c|_")), "abc")
    assert [(hit.start, hit.end, hit.score) for hit in hits] == [(2, 6, bonus(3))]
    assert running == 8


def test_a_wrong_letter_costs_what_the_right_one_is_less_probable() -> None:
    rows = path("|a_c_d|")
    rows[3] = {"c": 0.0, "b": -1.5}
    ((hit,), _) = spot(frames(*rows), "abd")
    assert (hit.start, hit.end) == (1, 6)
    assert hit.score == pytest.approx(bonus(3) - 1.5)
    rows[3] = {"c": 0.0, "b": -bonus(3)}
    assert not spot(frames(*rows), "abd")[0], "it costs as much as the bonus"
    assert spot(frames(*rows), "abd", boost=1.5)[0]


def test_a_letter_too_many_is_swallowed_for_what_the_blank_is_less_probable() -> None:
    rows = path("|dab_c|")
    rows[1] = {"d": 0.0, "_": -1.0}
    ((hit,), _) = spot(frames(*rows), "abc")
    assert (hit.start, hit.end) == (1, 6)
    assert hit.score == pytest.approx(bonus(3) - 1)


def test_a_double_letter_needs_a_blank() -> None:
    assert spot(frames(*path("|a_a_b|")), "aab")[0]
    assert not spot(frames(*path("|aa_b|")), "aab")[0]


def test_a_space_in_a_word_is_cheap_and_one_between_words_is_free() -> None:
    ((hit,), _) = spot(frames(*path("|ab|cd|")), "abcd")
    assert hit.score == pytest.approx(bonus(4) - keyword_search.SPACE_COST)
    for spoken in ("|ab|cd|", "|abcd|"):
        ((hit,), _) = spot(frames(*path(spoken)), "ab cd")
        assert hit.score == pytest.approx(bonus(4))


def test_within_a_word_it_is_found_only_if_it_is_long() -> None:
    assert not spot(frames(*path("|dabc|")), "abc")[0]
    ((hit,), _) = spot(frames(*path("|dabcabcabc|")), "abcabcabc")
    assert hit.score == pytest.approx(bonus(9) - BOUND_COST)


def test_of_keywords_with_a_common_beginning_all_are_found() -> None:
    hits, _ = spot(frames(*path("|abc|abcd|")), "abc", "abcd")
    assert sorted((hit.end_node.keyword, hit.start) for hit in hits) == [(0, 1), (0, 5), (1, 5)]


def test_a_keyword_may_be_running_at_the_end() -> None:
    assert spot(frames(*path("_|_ab")), "abc", final=False) == ([], 3)
    hits, running = spot(frames(*path("_|_abc")), "abc", final=False)
    assert not hits, "an ending may follow"
    assert running == 3
    hits, running = spot(frames(*path("_|_abc|")), "abc", final=False)
    assert [(hit.start, hit.end) for hit in hits] == [(3, 6)]
    assert running == 7
    assert spot(frames(*path("_|_dd_")), "abc", final=False) == ([], 6)


def test_it_does_not_run_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    assert spot(frames(*path("ab" + 13 * "_")), "abc", final=False)[1] == 0
    assert spot(frames(*path("ab" + 16 * "_")), "abc", final=False)[1] == 18, "1 s, and 0.25 s for each letter"
    monkeypatch.setattr(keyword_search, "FRAME_COST", 0.5)
    assert spot(frames(*path("ab____")), "abc", final=False)[1] == 6


def test_digital_silence() -> None:
    silence = np.full((5, len(TOKENS)), -np.inf, dtype=np.float32)
    silence[:, 0] = 0.0
    assert spot(silence, "abc", final=False) == ([], 5)


def test_nan_finds_nothing() -> None:
    broken = frames(*path("|abc|"))
    broken[2] = np.nan
    with np.errstate(invalid="ignore"):
        assert not spot(broken, "abc")[0]
