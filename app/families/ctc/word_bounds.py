"""Where words may begin and end in emissions, and what it costs to let a keyword begin or end elsewhere."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app.families.ctc.decoding import Run
from app.families.ctc.suffixes import VOWELS

BOUND_COST = 8.0
"""Nats for a keyword that begins or ends within a word of the best path. Where the model finds a space possible, it
costs as much as that space is less probable, if that is less."""
SUFFIX_COST = 1.0
"""Nats for a keyword with an ending."""
PAUSE_S = 0.4
"""A pause without a letter parts words, even if the model writes no space."""
IMPOSSIBLE = 1e6


@dataclass(frozen=True)
class GreedyWord:
    """The letters of the best path between two spaces. closed: whether the space after them has come."""

    letters: tuple[Run, ...]
    closed: bool

    @property
    def start(self) -> int:
        """First frame."""
        return self.letters[0].start

    @property
    def end(self) -> int:
        """Frame after the last."""
        return self.letters[-1].end


@dataclass(frozen=True)
class WordBounds:
    """What it costs to begin or end a keyword, in nats.

    left: for a keyword that begins with a frame, shape (frames,), float64. right: for one that ends before a frame,
    shape (frames + 1,). vowel_right: the same for one that needs an ending with a vowel. suffixed: whether `right` is
    that of an ending, shape (frames + 1,), bool. resolved: `right` is not known after this frame; later spaces decide.
    letter_starts: whether a letter of the best path begins with a frame, shape (frames,), bool.
    """

    left: NDArray[np.float64]
    right: NDArray[np.float64]
    vowel_right: NDArray[np.float64]
    suffixed: NDArray[np.bool_]
    resolved: int
    letter_starts: NDArray[np.bool_]


def greedy_words(
    runs: Sequence[Run], letters: dict[int, str], delimiters: Sequence[int], final: bool
) -> list[GreedyWord]:
    """The words of the best path. letters: id -> letter. final: no frames follow."""
    words: list[GreedyWord] = []
    current: list[Run] = []
    for run in runs:
        if run.token in letters:
            current.append(run)
        elif run.token in delimiters and current:
            words.append(GreedyWord(tuple(current), True))
            current = []
    return [*words, GreedyWord(tuple(current), final)] if current else words


def word_bounds(
    runs: Sequence[Run],
    space: NDArray[np.float64],
    letters: dict[int, str],
    delimiters: Sequence[int],
    words: Sequence[GreedyWord],
    is_suffix: Callable[[str], bool],
    frame_s: float,
    final: bool,
) -> WordBounds:
    """The bounds of frames whose best path has these runs and words.

    space: cost of a space in each frame, nats, shape (frames,), float64. A word begins with the first frame. is_suffix:
    whether letters can be an ending.
    """
    frames = len(space)
    pause = round(PAUSE_S / frame_s)
    left, right = np.zeros(frames + 1), np.zeros(frames + 1)
    for run in runs:
        _fill(left, space, run, letters, delimiters, pause, forward=True)
    for run in reversed(runs):
        _fill(right, space, run, letters, delimiters, pause, forward=False)
    vowel_right = np.full(frames + 1, IMPOSSIBLE)
    suffixed = np.zeros(frames + 1, dtype=np.bool_)
    letter_starts = np.zeros(frames, dtype=np.bool_)
    for word in words:
        letter_starts[[letter.start for letter in word.letters]] = True
        rest = ""
        for place in reversed(range(1, len(word.letters))):
            rest = letters[word.letters[place].token] + rest
            if word.closed and is_suffix(rest):
                gap = slice(word.letters[place - 1].end, word.letters[place].start + 1)
                suffixed[gap] = right[gap] > SUFFIX_COST
                right[gap] = np.minimum(right[gap], SUFFIX_COST)
                if rest[0] in VOWELS:
                    vowel_right[gap] = SUFFIX_COST
    resolved = frames
    if not final:
        resolved = max((run.start for run in runs if run.token in delimiters), default=-1)
        right[resolved + 1 :] = 0.0
        vowel_right[resolved + 1 :] = 0.0
    return WordBounds(left[:-1], right, vowel_right, suffixed, resolved, letter_starts)


def _fill(
    costs: NDArray[np.float64],
    space: NDArray[np.float64],
    run: Run,
    letters: dict[int, str],
    delimiters: Sequence[int],
    pause: int,
    *,
    forward: bool,
) -> None:
    """The costs after the frames of a run, from those before it, in the direction of time or against it."""
    if forward:
        entry, inner = run.start, slice(run.start + 1, run.end + 1)
        own = space[run.start : run.end]
    else:
        entry, inner = run.end, slice(run.start, run.end)
        own = space[run.start : run.end][::-1]
    if run.token in delimiters:
        values = np.zeros(len(own))
    elif run.token in letters:
        values = np.full(len(own), BOUND_COST)
        if not forward:
            values[:-1] = IMPOSSIBLE  # the keyword covers all frames of a letter, or none
    else:
        values = np.minimum.accumulate(np.minimum(own, costs[entry]))
        values[pause:] = 0.0
    costs[inner] = values if forward else values[::-1]
