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


def test_a_word_is_committed_once_two_hypotheses_agree() -> None:
    agreement = Agreement()
    assert texts(agreement.update(words("bir iki üç"), -1, 1.5)) == "bir iki üç"
    assert agreement.committed == ()
    volatile = agreement.update(words("bir iki üç dört"), -1, 2.4)
    assert (texts(agreement.committed), texts(volatile)) == ("bir iki üç", "dört")


@pytest.mark.parametrize(
    ("first", "second", "edge_s", "pause_s", "confidence"),
    [
        ("bir iki", "bir iki", 1.2, 0.2, 1.0),
        ("bir iki", "bir iki", 3.0, 0.0, 1.0),
        ("bin iki", "bir iki", 3.0, 0.2, 1.0),
        ("bir iki", "bir iki", 3.0, 0.2, 0.5),
    ],
    ids=["near the edge", "without a pause", "behind a change", "unsure"],
)
def test_a_first_word_is_not_committed(
    first: str, second: str, edge_s: float, pause_s: float, confidence: float
) -> None:
    agreement = Agreement()
    for text in (first, second):
        unsure, *others = words(text, pause_s=pause_s)
        others = [replace(word, confidence=0.5) for word in others]  # the last word has a pause after it
        agreement.update([replace(unsure, confidence=confidence), *others], -1, edge_s)
    assert agreement.committed == ()


def test_committed_words_stay_whatever_comes() -> None:
    agreement = Agreement()
    for _ in range(2):
        agreement.update(words("bir iki"), -1, 3.0)
    assert texts(agreement.committed) == "bir iki"
    volatile = agreement.update(words("on yirmi otuz"), -1, 3.0)
    assert texts(agreement.committed) == "bir iki"
    assert texts(volatile) == "otuz"


def test_words_before_the_computed_part_are_kept() -> None:
    agreement = Agreement()
    agreement.update(words("bir iki üç", pause_s=0.0), -1, 0.9)
    volatile = agreement.update(words("üç dört", 0.6, pause_s=0.0), 0.5, 1.2)
    assert texts(volatile) == "bir iki üç dört"


def test_contradictions_are_the_words_that_the_final_lacks() -> None:
    assert contradicted(words("bir iki üç"), words("bir iki üç dört")) == 0
    assert contradicted(words("bir iki üç"), words("bir üç")) == 1
    assert contradicted([], words("bir")) == 0
