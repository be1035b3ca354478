"""How much a keyword may cost: its bonus in the trie."""

import math

import pytest

from app.families.ctc.decoding import Vocabulary
from app.families.ctc.keyword_trie import FEW_KEYWORDS, FIRST_LETTERS, LETTER_BONUS, build_trie
from app.families.ctc.spelling import Letters
from app.keywords import Keyword

LETTERS = Letters(Vocabulary(tuple("_|abcd"), 0, "|", frozenset()), None)


def bonuses(count: int, boost: float = 1.0) -> dict[str, float]:
    """The bonus of each keyword, of which there are `count`: two short ones, and others of ten letters."""
    others = [f"{index:010b}".replace("0", "a").replace("1", "b") for index in range(count - 2)]
    trie = build_trie([Keyword(text) for text in ["ab", "abcd", *others]], LETTERS, boost)
    return {trie.keywords[end.keyword].text: end.bonus for level in trie.levels for end in level.ends}


@pytest.mark.parametrize(("count", "less"), [(3, 0.0), (FEW_KEYWORDS, 0.0), (10 * FEW_KEYWORDS, math.log(10))])
@pytest.mark.parametrize("boost", [1.0, 2.0])
def test_among_many_keywords_each_may_cost_less(count: int, less: float, boost: float) -> None:
    found = bonuses(count, boost)
    assert found["abcd"] == pytest.approx(boost * LETTER_BONUS * (4 - FIRST_LETTERS) - less)
    assert found["aaaaaaaaaa"] == pytest.approx(boost * LETTER_BONUS * (10 - FIRST_LETTERS) - less)


def test_a_short_one_among_many_is_still_found_where_the_model_writes_it() -> None:
    assert bonuses(500)["ab"] == LETTER_BONUS * (2 - FIRST_LETTERS)
