"""Numbers on a command line, for `argparse`'s `type`."""

import argparse


def positive(text: str) -> float:
    """A finite number above 0. Raises ArgumentTypeError or ValueError for any other."""
    value = float(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is not above 0")
    return value


def count(text: str) -> int:
    """A whole number of 1 or more. Raises ArgumentTypeError or ValueError for any other."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not 1 or more")
    return value
