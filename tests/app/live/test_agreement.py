from dataclasses import replace

import pytest

from app.live.agreement import Agreement, contradicted
from app.transcript import Word


def words(text: str, start_s: float = 0.0, pause_s: float = 0.2) -> list[Word]:
    """Each lasts 0.3 s, with so long a pause after it."""
    return [
        Word(word, start_s + number * (0.3 + pause_s), start_s + number * (0.3 + pause_s) + 0.3, 1.0)
        for number, word in enumerate(text.split())
    ]


def texts(found: tuple[Word, ...]) -> str:
    return " ".join(word.text for word in found)


def hear(agreement: Agreement, *hypotheses: list[Word], until_s: float = 3.0) -> str:
    """Hypotheses that come every 0.3 s. Returns the volatile words of the last one."""
    volatile: tuple[Word, ...] = ()
    for number, hypothesis in enumerate(hypotheses, 1 - len(hypotheses)):
        volatile = agreement.update(hypothesis, -1, until_s + 0.3 * number)
    return texts(volatile)


def test_a_word_is_committed_once_the_hypotheses_of_a_second_agree() -> None:
    agreement = Agreement()
    hypothesis = words("bir iki üç")
    assert hear(agreement, *[hypothesis] * 3, until_s=2.0) == "bir iki üç"
    assert agreement.committed == ()
    assert hear(agreement, words("bir iki üç dört"), until_s=2.3) == "dört"
    assert texts(agreement.committed) == "bir iki üç"


def test_two_hypotheses_are_too_few_however_far_apart() -> None:
    agreement = Agreement()
    for edge_s in (2.0, 5.0):
        agreement.update(words("bir iki"), -1, edge_s)
    assert agreement.committed == ()
    agreement.update(words("bir iki"), -1, 8.0)
    assert texts(agreement.committed) == "bir iki"


@pytest.mark.parametrize(
    ("hypotheses", "until_s"),
    [
        ([words("bir iki")] * 4, 1.0),
        ([words("bin iki"), *[words("bir iki")] * 3], 3.0),
        ([words("bir iki"), words("bin iki"), *[words("bir iki")] * 2], 3.0),
        ([words("bir iki", 1.0), *[words("bir iki")] * 3], 3.0),
        ([[replace(word, confidence=0.9) for word in words("bir iki")], *[words("bir iki")] * 3], 3.0),
    ],
    ids=["near the edge", "behind a change", "in the middle of changes", "elsewhere", "unsure"],
)
def test_a_first_word_is_not_committed(hypotheses: list[list[Word]], until_s: float) -> None:
    agreement = Agreement()
    hear(agreement, *hypotheses, until_s=until_s)
    assert agreement.committed == ()


def test_committed_words_stay_whatever_comes() -> None:
    agreement = Agreement()
    hear(agreement, *[words("bir iki")] * 4)
    assert texts(agreement.committed) == "bir iki"
    assert hear(agreement, words("on yirmi otuz"), until_s=3.3) == "otuz"
    assert texts(agreement.committed) == "bir iki"


def test_words_before_the_computed_part_are_kept() -> None:
    agreement = Agreement()
    agreement.update(words("bir iki üç", pause_s=0.0), -1, 0.9)
    volatile = agreement.update(words("üç dört", 0.6, pause_s=0.0), 0.5, 1.2)
    assert texts(volatile) == "bir iki üç dört"


def test_contradictions_are_the_words_that_the_final_lacks() -> None:
    assert contradicted(words("bir iki üç"), words("bir iki üç dört")) == 0
    assert contradicted(words("bir iki üç"), words("bir üç")) == 1
    assert contradicted([], words("bir")) == 0
