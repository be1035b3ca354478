import argparse

import pytest

from scripts.common.arguments import count, positive


def test_numbers_are_taken() -> None:
    assert (positive("0.5"), positive("1e3"), count("1"), count("20")) == (0.5, 1000.0, 1, 20)


@pytest.mark.parametrize("text", ["0", "-1", "inf", "nan"])
def test_numbers_that_are_not_above_0_are_refused(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match=f"{text} is not above 0"):
        positive(text)


@pytest.mark.parametrize("text", ["0", "-3"])
def test_counts_below_1_are_refused(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match=f"{text} is not 1 or more"):
        count(text)
