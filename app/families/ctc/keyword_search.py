"""Finds keywords in emissions: CTC word spotting as an exact search over all alignments.

The best path is what the model writes without keywords. A keyword between two frames costs what its own best alignment
is worse than the best path there, and has a bonus for each of its letters. It is found where bonus exceeds cost. The
idea of spotting on CTC log-probabilities with a trie, a bonus and a comparison with the best path is from A. Andrusenko
et al., Fast Context-Biasing for CTC and Transducer ASR models with CTC-based Word Spotter, Interspeech 2024. Unlike
there, nothing is pruned by a beam: costs only grow, so a node whose cost exceeds the bonus of all its keywords is out.

Scores are whole numbers of 2^-10 nats, shifted left by 16 bits. The low bits hold the frame at which a path begins: so
the maximum of two scores also says where the better path began, and sums are exact, however emissions are divided.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app.families.ctc.decoding import Emissions
from app.families.ctc.keyword_trie import End, Level, Trie
from app.families.ctc.word_bounds import WordBounds

SPACE_COST = 0.5
"""Nats for a space within a word of a keyword: models misplace them."""
FRAME_COST = 0.02
"""Nats per frame, so that of two paths the shorter one is found, and silence ends a keyword that is not complete."""
LONGEST_S, LONGEST_LETTER_S = 1.0, 0.25
"""A keyword lasts at most so long, and so much longer for each of its letters, seconds."""
WORST = -40.0
"""Lower log-probabilities are raised to this; digital silence has minus infinity."""
MAX_FRAMES = 1 << 16
_START_BITS = 16
_SCALE = 1 << 10
_NEVER = np.int64(-(1 << 60))

Scores = NDArray[np.int64]
"""Fixed-point scores with their first frames, shape (nodes, frames), int64."""


@dataclass(frozen=True)
class Hit:
    """A keyword between two frames: from `start`, before `end`. score: bonus minus cost, nats, above 0."""

    end_node: End
    start: int
    end: int
    score: float


@dataclass(frozen=True)
class Costs:
    """What letters and gaps cost beside the best path, in each frame, summed from the first frame on.

    letters: shape (letters, frames). inside: of a gap in a word. between: of a gap between two words. around: of a gap
    before the first or after the last letter; it never contains a space.
    """

    letters: Scores
    inside: Scores
    between: Scores
    around: Scores

    @classmethod
    def of(
        cls, emissions: Emissions, letters: Sequence[Sequence[int]], delimiters: Sequence[int], silent: Sequence[int]
    ) -> "Costs":
        """The costs of emissions, shape (frames, vocabulary). Ids of the tokens of each letter, of spaces, and of no
        sound.
        """
        best = emissions.max(axis=1, keepdims=True)  # NaN in a frame with NaN, in which nothing can be found
        worse = np.ascontiguousarray(np.nan_to_num(np.maximum(emissions - best, WORST), nan=WORST).T, dtype=np.float64)
        worse -= FRAME_COST
        blank = worse[list(silent)].max(axis=0)
        space = worse[list(delimiters)].max(axis=0, initial=WORST)
        around = np.where(space >= -FRAME_COST, WORST, blank)
        columns = np.stack([worse[ids[0]] if len(ids) == 1 else worse[list(ids)].max(axis=0) for ids in letters])
        gaps = np.maximum(blank, space - SPACE_COST), np.maximum(blank, space), around
        return cls(_summed(columns), *(_summed(gap[None]) for gap in gaps))


def search(trie: Trie, costs: Costs, bounds: WordBounds, first: int, frame_s: float) -> tuple[list[Hit], int]:
    """The keywords in a clip's frames, and the first frame of those that may not be complete.

    first: first frame at which a keyword may begin. A keyword whose end is not resolved (`WordBounds.resolved`) counts
    as not complete. Without any, the second value is the number of frames. Hits may overlap.
    """
    frames = costs.letters.shape[1]
    begin = (-_fixed(bounds.left) << _START_BITS) + np.arange(frames)
    begin[:first] = _NEVER
    around = costs.around
    swallowed = _hold(around, np.where(bounds.letter_starts, begin, _NEVER)[None])
    enter = np.maximum(begin[None], _shifted(swallowed))
    found = _Found(trie, bounds, frame_s, frames)
    highest = max((float(level.bonus.max()) for level in trie.levels[:1]), default=0.0)
    found.note_running(swallowed[:, -1:], np.array([highest]), depth=0)
    before: Scores | None = None
    rows = np.zeros(1, dtype=np.intp)  # of the nodes of the level before that are still in
    for depth, level in enumerate(trie.levels):
        chosen = np.flatnonzero(rows[level.parents] >= 0)
        if not len(chosen):
            break
        bonus = level.bonus[chosen]
        if before is None:
            entered = np.broadcast_to(enter, (len(chosen), frames))
        else:
            entered = _shifted(before[rows[level.parents[chosen]]])
            gap = np.where(level.between[chosen, None], costs.between, costs.inside)
            waiting = _hold(gap, entered)
            found.note_running(waiting[:, -1:], bonus, depth)
            entered = np.maximum(_shifted(waiting), np.where(level.repeats[chosen, None], _NEVER, entered))
        scores = _hold(costs.letters[level.letters[chosen]], entered)
        found.note_running(scores[:, -1:], bonus, depth + 1)
        kept = (scores.max(axis=1) >> _START_BITS) + _fixed(bonus) > 0
        scores, chosen = scores[kept], chosen[kept]
        rows = np.full(len(level.letters), -1, dtype=np.intp)
        rows[chosen] = np.arange(len(chosen))
        found.note_ends(level, rows, scores, around, depth + 1)
        before = scores
    return found.hits, found.running


class _Found:
    """Collects what a search finds."""

    def __init__(self, trie: Trie, bounds: WordBounds, frame_s: float, frames: int) -> None:
        self.hits: list[Hit] = []
        self.running = frames
        self._frames = frames
        self._frame_s = frame_s
        self._bounds = bounds
        self._right = _fixed(bounds.right[1:])
        self._vowel_right = _fixed(bounds.vowel_right[1:])

    def _longest(self, letters: int) -> int:
        """Most frames of a keyword."""
        return int((LONGEST_S + LONGEST_LETTER_S * letters) / self._frame_s)

    def note_running(self, last: Scores, bonus: NDArray[np.float64], depth: int) -> None:
        """Paths at the last frame, shape (nodes, 1), that may become keywords."""
        live = last[:, 0][(last[:, 0] >> _START_BITS) + _fixed(bonus) > 0] & (MAX_FRAMES - 1)
        live = live[self._frames - live <= self._longest(depth)]
        self.running = min(self.running, int(live.min(initial=self.running)))

    def note_ends(self, level: Level, rows: NDArray[np.intp], scores: Scores, around: Scores, letters: int) -> None:
        """The keywords that end at nodes of a level."""
        ends = [end for end in level.ends if rows[end.node] >= 0]
        if not ends:
            return
        paths = scores[[rows[end.node] for end in ends]]
        paths = np.maximum(paths, _hold(around, _shifted(paths)))
        right = np.where(np.array([end.before_vowel for end in ends])[:, None], self._vowel_right, self._right)
        bonus = _fixed(np.array([end.bonus for end in ends]))[:, None]
        total = (paths >> _START_BITS) + bonus - right
        starts = paths & (MAX_FRAMES - 1)
        total[np.arange(1, self._frames + 1) - starts > self._longest(letters)] = 0
        resolved = self._bounds.resolved
        for row in np.flatnonzero((total > 0).any(axis=1)):
            places = np.flatnonzero(total[row] > 0)  # the keyword ends before the frame after each
            open_ended = places[places >= resolved]
            self.running = min(self.running, int(starts[row, open_ended].min(initial=self.running)))
            places = places[places < resolved]
            for group in np.split(places, np.flatnonzero(np.diff(places) > 1) + 1):
                if len(group):
                    last = int(group[total[row, group].argmax()])
                    self.hits.append(Hit(ends[row], int(starts[row, last]), last + 1, float(total[row, last]) / _SCALE))


def _fixed(nats: NDArray[np.float64]) -> Scores:
    return np.rint(nats * _SCALE).astype(np.int64)


def _summed(nats: NDArray[np.float64]) -> Scores:
    return np.cumsum(_fixed(nats), axis=1) << _START_BITS


def _shifted(scores: Scores) -> Scores:
    """The scores of the frame before."""
    shifted = np.empty_like(scores)
    shifted[:, 0], shifted[:, 1:] = _NEVER, scores[:, :-1]
    return shifted


def _hold(costs: Scores, entered: Scores) -> Scores:
    """Best score of a state in each frame: it is entered in that frame or before, and held since.

    costs: of the state's frames, summed, shape (nodes or 1, frames). entered: scores before the frame in which the
    state is entered, shape (nodes, frames). A maximum over all frames of entry is a running maximum, once the sum of
    the costs before the entry is subtracted.
    """
    scores = entered.copy()
    scores[:, 1:] -= costs[:, :-1]
    np.maximum.accumulate(scores, axis=1, out=scores)
    scores += costs
    return scores
