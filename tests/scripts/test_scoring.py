import pytest

from scripts.scoring import ClipErrors, character_error_rate, count_errors, word_error_rate


@pytest.mark.parametrize(
    ("reference", "hypothesis", "expected"),
    [
        ("bir iki üç", "bir iki üç", ClipErrors(0, 3, 0, 10)),
        ("bir iki üç", "bir üç", ClipErrors(1, 3, 4, 10)),
        ("bir iki", "biri ki", ClipErrors(2, 2, 2, 7)),
        ("bir", "", ClipErrors(1, 1, 3, 3)),
        ("", "bir iki", ClipErrors(2, 0, 7, 0)),
        ("", "", ClipErrors(0, 0, 0, 0)),
    ],
)
def test_edits(reference: str, hypothesis: str, expected: ClipErrors) -> None:
    assert count_errors(reference, hypothesis) == expected


def test_rates_are_of_the_sums_not_means_of_rates() -> None:
    clips = [ClipErrors(1, 1, 3, 3), ClipErrors(0, 9, 0, 47)]
    assert word_error_rate(clips).rate == pytest.approx(0.1)
    assert character_error_rate(clips).rate == pytest.approx(0.06)


def test_the_interval_holds_the_rate_and_narrows_with_more_clips() -> None:
    few = word_error_rate([ClipErrors(index % 3, 10, 0, 1) for index in range(20)])
    many = word_error_rate([ClipErrors(index % 3, 10, 0, 1) for index in range(2000)])
    assert few.low < few.rate < few.high
    assert many.high - many.low < (few.high - few.low) / 5


def test_a_set_without_words_has_a_rate_of_its_insertions() -> None:
    assert word_error_rate([ClipErrors(0, 0, 0, 0)]).rate == 0
    assert word_error_rate([ClipErrors(2, 0, 7, 0)]).rate == 2


def test_for_people() -> None:
    assert str(word_error_rate([ClipErrors(1, 10, 0, 1)] * 50)) == "10.0% (10.0% to 10.0%)"
