"""Parsers of numbers on a command line, for the `type` of an `argparse` argument."""

import argparse
import math

MAX_WER_LIMIT = 1.0
"""Largest `--max_reference_wer`. With insertions a WER can be higher, but such a reference would prove nothing."""


def positive(text: str) -> float:
    """Parse a finite number above 0. Raises ArgumentTypeError or ValueError for any other text."""
    value = float(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is not above 0")
    return value


def count(text: str) -> int:
    """Parse a whole number of at least 1. Raises ArgumentTypeError or ValueError for any other text."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not 1 or more")
    return value


def wer_limit(text: str) -> float:
    """Parse a limit for a word error rate, at most `MAX_WER_LIMIT`. Raises ArgumentTypeError for any other text."""
    try:
        rate = float(text)
    except ValueError:
        rate = math.nan
    if not 0 < rate <= MAX_WER_LIMIT:
        raise argparse.ArgumentTypeError(f"{text} is not a word error rate above 0 and at most 1 (0.5 is 50 %)")
    return rate
