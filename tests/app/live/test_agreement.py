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
    volatile = agreement.update(words("bir iki üç dört"), -1, 2.0)
    assert (texts(agreement.committed), texts(volatile)) == ("bir iki üç", "dört")


def test_not_near_the_edge_nor_without_a_pause_nor_behind_a_change() -> None:
    for first, second, edge_s, pause_s in (
        ("bir iki", "bir iki", 0.8, 0.2),
        ("bir iki", "bir iki", 3.0, 0.0),
        ("bin iki", "bir iki", 3.0, 0.2),
    ):
        agreement = Agreement()
        agreement.update(words(first, pause_s=pause_s), -1, edge_s)
        agreement.update(words(second, pause_s=pause_s), -1, edge_s)
        assert "bir" not in texts(agreement.committed) or texts(agreement.committed) == "bir iki"


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
