"""Emissions -> the steps of a beam search: the tokens of each frame that are probable enough to be looked at."""

import math
from collections.abc import Iterator

import numpy as np

from app.families.ctc.decoding import Emissions, Vocabulary

TOKEN_MIN_LOG_PROBABILITY = -5.0
"""Less probable tokens of a frame are dropped, except for its best one. So blanks of 99.3 % have no alternatives."""

Candidates = list[tuple[int, float]]
"""The tokens of a step, each with its probability."""


class FrameSteps:
    """Makes the steps of a clip whose emissions come in portions.

    Frames with the same only token, such as blanks, are one step, but no step goes past a multiple of `stop_frames`.
    """

    def __init__(self, vocabulary: Vocabulary, stop_frames: int) -> None:
        self._blank = vocabulary.blank
        self._silent = [
            index for index, text in enumerate(vocabulary.tokens) if text in vocabulary.special and index != self._blank
        ]
        self._stop_frames = stop_frames

    def steps(self, emissions: Emissions, first_frame: int) -> Iterator[tuple[Candidates, int]]:
        """The candidates of each step, and its frames.

        emissions: the next frames, shape (frames, vocabulary), float32 log-probabilities. first_frame: of the clip. The
        probability of several frames is the product of theirs.
        """
        if not len(emissions):
            return
        if self._silent:
            emissions = self._with_silent_as_blank(emissions)
        best = emissions.argmax(axis=1)
        probable = emissions >= TOKEN_MIN_LOG_PROBABILITY
        probable[np.arange(len(best)), best] = True
        only = np.where(probable.sum(axis=1) == 1, best, -1)
        stops = (first_frame + np.arange(1, len(best) + 1)) % self._stop_frames == 0
        begins = np.ones(len(best), dtype=bool)
        begins[1:] = (only[1:] != only[:-1]) | (only[1:] < 0) | stops[:-1]
        starts = np.flatnonzero(begins)
        sums = np.add.reduceat(emissions[np.arange(len(best)), best].astype(np.float64), starts)
        counts = np.diff(starts, append=len(best))
        rows, columns = np.nonzero(probable)
        bounds = np.searchsorted(rows, np.append(starts, len(best)))
        probabilities = np.exp(emissions[rows, columns].astype(np.float64)).tolist()
        tokens = columns.tolist()
        for start, count, total, low, high in zip(
            starts.tolist(), counts.tolist(), sums.tolist(), bounds[:-1].tolist(), bounds[1:].tolist(), strict=True
        ):
            if only[start] >= 0:
                yield [(int(best[start]), math.exp(total))], count
            else:
                yield list(zip(tokens[low:high], probabilities[low:high], strict=True)), 1

    def _with_silent_as_blank(self, emissions: Emissions) -> Emissions:
        """Tokens without text count as blanks, because they write nothing either."""
        silent = [self._blank, *self._silent]
        emissions, parts = emissions.copy(), emissions[:, silent]
        highest = parts.max(axis=1, keepdims=True)
        highest = np.where(np.isfinite(highest), highest, 0.0)
        with np.errstate(divide="ignore"):
            emissions[:, self._blank] = np.log(np.exp(parts - highest).sum(axis=1)) + highest[:, 0]
        emissions[:, self._silent] = -np.inf
        return emissions
