"""Parsers of numbers on a command line, for the `type` of an `argparse` argument."""

import argparse


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
