import pytest

from scripts.speech.scoring import ClipErrors, character_error_rate, count_errors, word_error_increase, word_error_rate


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


class TestIncrease:
    """Ten words per clip, up to five of them wrong."""

    CLIPS = [ClipErrors(index % 6, 10, 0, 1) for index in range(120)]  # noqa: RUF012  # not changed

    def test_it_is_the_difference_of_the_rates(self) -> None:
        worse = [ClipErrors(clip.word_errors + (index % 4 == 0), 10, 0, 1) for index, clip in enumerate(self.CLIPS)]
        increase = word_error_increase(self.CLIPS, worse)
        assert increase.rate == pytest.approx(word_error_rate(worse).rate - word_error_rate(self.CLIPS).rate)
        assert increase.low < increase.rate == 0.025 < increase.high
        assert word_error_increase(worse, self.CLIPS).rate == -0.025

    def test_clips_that_are_hard_for_both_do_not_widen_the_interval(self) -> None:
        worse = [ClipErrors(clip.word_errors + 1, 10, 0, 1) for clip in self.CLIPS]
        increase = word_error_increase(self.CLIPS, worse)
        assert (increase.low, increase.rate, increase.high) == (0.1, 0.1, 0.1)
        rate = word_error_rate(self.CLIPS)
        assert rate.high - rate.low > 0.04

    def test_both_are_over_the_same_clips(self) -> None:
        with pytest.raises(ValueError, match="zip"):
            word_error_increase(self.CLIPS, self.CLIPS[1:])


def test_a_set_without_words_has_a_rate_of_its_insertions() -> None:
    assert word_error_rate([ClipErrors(0, 0, 0, 0)]).rate == 0
    assert word_error_rate([ClipErrors(2, 0, 7, 0)]).rate == 2


def test_its_text_is_readable() -> None:
    assert str(word_error_rate([ClipErrors(1, 10, 0, 1)] * 50)) == "10.0% (10.0% to 10.0%)"
