"""CTC prefix beam search with a language model: emissions, frame by frame -> words.

The score of a text is log P_ctc(text) + the score that a `Scorer` gives it. Sources: A. Hannun et al., First-Pass Large
Vocabulary Continuous Speech Recognition using Bi-Directional Recurrent DNNs, 2014 (prefix search); pyctcdecode 0.5
(`decoder.py`), whose defaults decide which tokens and hypotheses are dropped, and whose texts these are.

One difference: all paths of a text share a place in the beam, where pyctcdecode gives one to those that end in a blank
and one to those that do not. It matters when a beam is full, as in noise: then this search keeps more texts.
"""

import math
from typing import Any

from app.families.ctc.decoding import Emissions, Run, Vocabulary, word_of
from app.families.ctc.frame_steps import Candidates, FrameSteps
from app.families.ctc.scorer import Scored, Scorer
from app.transcript import Word

PRUNE_LOG_PROBABILITY = -10.0
"""Hypotheses whose score is this far below the best one's are dropped."""
COMMIT_FRAMES = 25
"""Frames between two looks at what the hypotheses have in common."""
MAX_LAG_FRAMES = 500
"""Frames (10 s at 20 ms) after which the best hypothesis decides, where hypotheses still differ."""
TINY = 1e-200
"""Below this, probabilities are scaled up, to stay within the range of float64."""


class Prefix:
    """A text: a token after another prefix. Equal texts are the same object.

    blank, letter: probability of all paths that end in a blank, or in the last token, up to a common factor; 0 while
    the prefix is not in the beam. scored, ended: the language model's score, and that without a delimiter at the end.
    start, end: the first frame of the last token, and the frame after its last. peak: its highest log-probability.
    next_blank, next_letter, step, total: of the frame that is being computed.
    """

    __slots__ = (
        *("parent", "token", "children", "scored", "ended", "blank", "letter", "start", "end", "peak"),
        *("next_blank", "next_letter", "step", "total"),
    )

    def __init__(self, parent: "Prefix | None", token: int, scored: Scored, ended: Scored) -> None:
        self.parent = parent
        self.token = token
        self.scored = scored
        self.ended = ended
        self.children: dict[int, Prefix] = {}
        self.blank = self.letter = self.next_blank = self.next_letter = self.total = 0.0
        self.start = self.end = 0
        self.peak = -math.inf
        self.step = -1


class BeamWordDecoder:
    """Words of the best hypothesis of a beam search, each once all hypotheses agree on it.

    Takes frames in any portions, and gives the same words for all of them. Its memory is bounded: after
    `MAX_LAG_FRAMES`, hypotheses that differ from the best one are dropped. Times and confidences are as in
    `WordDecoder`: a letter lasts while it is the most likely token.

    width: hypotheses that are kept.
    """

    def __init__(self, vocabulary: Vocabulary, frame_s: float, scorer: Scorer, width: int) -> None:
        self._vocabulary = vocabulary
        self._frame_s = frame_s
        self._scorer = scorer
        self._width = width
        self._blank = vocabulary.blank
        self._delimiters = frozenset(vocabulary.delimiters)
        self._steps = FrameSteps(vocabulary, COMMIT_FRAMES)
        self._frame = 0
        self._begin()

    def add(self, emissions: Emissions) -> list[Word]:
        """Take the next frames, shape (frames, vocabulary), float32 log-probabilities.

        Returns the words that are complete, and that no hypothesis has otherwise.
        """
        words: list[Word] = []
        for candidates, count in self._steps.steps(emissions, self._frame):
            if len(candidates) == 1:
                self._take_one(*candidates[0], count)
            else:
                self._take(candidates)
            self._frame += count
            if self._frame % COMMIT_FRAMES == 0:
                words += self._commit()
        return words

    def finish(self) -> list[Word]:
        """The remaining words after the last frame."""
        masses: dict[Prefix, float] = {}
        for prefix in self._beam:
            text = prefix if prefix.token not in self._delimiters or prefix.parent is None else prefix.parent
            masses[text] = masses.get(text, 0.0) + prefix.blank + prefix.letter
        best = max(masses, key=lambda text: _log(masses[text]) + self._scorer.finish(text.ended))
        words = self._words(self._path(best))
        self._begin()
        return words

    @property
    def next_start_s(self) -> float:
        """Earliest start of the next word: of an incomplete or undecided one, or the end of the frames."""
        starts = [letter.start for prefix in self._beam if (letter := self._first_letter(prefix)) is not None]
        return min(starts, default=self._frame) * self._frame_s

    def _begin(self) -> None:
        start = self._scorer.start()
        self._root = Prefix(None, self._blank, start, start)
        """The text that was returned."""
        self._root.blank = 1.0
        self._beam = [self._root]

    def _take_one(self, token: int, probability: float, count: int) -> None:
        """Frames with one possible token."""
        if token == self._blank:  # scales all hypotheses alike, so none is scored or dropped
            for prefix in self._beam:
                prefix.blank, prefix.letter = prefix.blank + prefix.letter, 0.0
            return
        log_probability = math.log(probability) / count if probability else 0.0
        self._take([(token, probability)])
        for prefix in self._beam:
            if prefix.token == token:
                prefix.end = self._frame + count
                prefix.peak = max(prefix.peak, log_probability)

    def _take(self, candidates: Candidates) -> None:
        """One frame with several possible tokens."""
        frame, delimiters, blank_token = self._frame, self._delimiters, self._blank
        likeliest = max(candidates, key=lambda candidate: candidate[1])[0]
        touched: list[Prefix] = []
        for prefix in self._beam:
            blank, letter, last = prefix.blank, prefix.letter, prefix.token
            total = blank + letter
            for token, probability in candidates:
                if token == blank_token:
                    self._reach(prefix, total * probability, 0.0, touched)
                    continue
                if token in delimiters and (last in delimiters or prefix.parent is None):
                    self._reach(prefix, 0.0, total * probability, touched)
                    continue
                mass = total * probability
                if token == last:
                    if letter:
                        self._reach(prefix, 0.0, letter * probability, touched)
                        if token == likeliest:
                            prefix.end = frame + 1
                            prefix.peak = max(prefix.peak, math.log(probability))
                    mass = blank * probability
                    if not mass:
                        continue
                child = prefix.children.get(token)
                if child is None:
                    scored = self._scorer.extend(prefix.scored, token)
                    child = Prefix(prefix, token, scored, prefix.scored if token in delimiters else scored)
                    prefix.children[token] = child
                if mass > child.blank + child.letter:  # a better alignment than the one before
                    child.start, child.end, child.peak = frame, frame + 1, math.log(probability)
                self._reach(child, 0.0, mass, touched)
        self._prune(touched)

    def _reach(self, prefix: Prefix, blank: float, letter: float, touched: list[Prefix]) -> None:
        if prefix.step != self._frame:
            prefix.step = self._frame
            prefix.next_blank, prefix.next_letter = blank, letter
            touched.append(prefix)
        else:
            prefix.next_blank += blank
            prefix.next_letter += letter

    def _prune(self, touched: list[Prefix]) -> None:
        """Keep the best of the prefixes that this frame reached."""
        for prefix in self._beam:
            prefix.blank = prefix.letter = 0.0
        highest = 0.0
        for prefix in touched:
            prefix.blank, prefix.letter = prefix.next_blank, prefix.next_letter
            mass = prefix.blank + prefix.letter
            if mass > highest:
                highest = mass
            prefix.total = math.log(mass) + prefix.scored.score if mass > 0.0 else -math.inf
        if len(touched) > 1:
            least = max(prefix.total for prefix in touched) + PRUNE_LOG_PROBABILITY
            if len(touched) > self._width:
                touched.sort(key=_total, reverse=True)
                least = max(least, touched[self._width - 1].total)
            kept: list[Prefix] = []
            for prefix in touched:
                if prefix.total >= least and len(kept) < self._width:
                    kept.append(prefix)
                else:
                    prefix.blank = prefix.letter = 0.0
            touched = kept
        if highest < TINY:
            for prefix in touched:
                prefix.blank /= highest or 1.0
                prefix.letter /= highest or 1.0
        self._beam = touched

    def _commit(self) -> list[Word]:
        """The words that all hypotheses have in common, which are forgotten."""
        self._drop_dominated()
        best = max(self._beam, key=_total)
        path = self._path(best)
        common = self._common(path)
        undecided = path[common:]
        if undecided and self._frame - undecided[0].start > MAX_LAG_FRAMES:
            old = sum(prefix.start < self._frame - MAX_LAG_FRAMES // 2 for prefix in path)
            self._keep_descendants(path[: max(old, common + 1)])
            common = self._common(path)
        self._forget_dropped()
        words: list[Word] = []
        for index in range(common - 1, -1, -1):
            if path[index].token in self._delimiters:
                words = self._words(path[: index + 1])
                self._root = path[index]
                self._root.parent = None
                break
        return words

    def _path(self, prefix: Prefix) -> list[Prefix]:
        """The prefixes after the returned text, up to this one."""
        path = []
        while prefix is not self._root and prefix.parent is not None:
            path.append(prefix)
            prefix = prefix.parent
        return path[::-1]

    def _common(self, path: list[Prefix]) -> int:
        """How many prefixes of the path all hypotheses begin with."""
        places = {prefix: place for place, prefix in enumerate(path, 1)}
        common = len(path)
        for prefix in self._beam:
            ancestor: Prefix | None = prefix
            while ancestor is not None and ancestor not in places:
                ancestor = ancestor.parent
            common = min(common, 0 if ancestor is None else places[ancestor])
        return common

    def _keep_descendants(self, path: list[Prefix]) -> None:
        """Drop the hypotheses that do not begin with the last prefix of the path."""
        kept = [prefix for prefix in self._beam if path[-1] in (prefix, *self._path(prefix))]
        self._keep(kept)

    def _drop_dominated(self) -> None:
        """Drop hypotheses that another one beats whatever follows, because the language model sees no difference."""
        by_state: dict[tuple[Any, int], list[Prefix]] = {}
        kept: list[Prefix] = []
        for prefix in sorted(self._beam, key=_total, reverse=True):
            rivals = by_state.setdefault((prefix.scored.state, prefix.token), [])
            if not any(_dominates(rival, prefix) for rival in rivals):
                rivals.append(prefix)
                kept.append(prefix)
        self._keep(kept)

    def _keep(self, kept: list[Prefix]) -> None:
        for prefix in set(self._beam) - set(kept):
            prefix.blank = prefix.letter = 0.0
        self._beam = kept

    def _forget_dropped(self) -> None:
        """Free the prefixes that no hypothesis begins with."""
        alive = {self._root}
        for prefix in self._beam:
            ancestor: Prefix | None = prefix
            while ancestor is not None and ancestor not in alive:
                alive.add(ancestor)
                ancestor = ancestor.parent
        for prefix in alive:
            prefix.children = {token: child for token, child in prefix.children.items() if child in alive}

    def _first_letter(self, prefix: Prefix) -> Prefix | None:
        """The first letter after the returned text."""
        return next((before for before in self._path(prefix) if before.token not in self._delimiters), None)

    def _words(self, path: list[Prefix]) -> list[Word]:
        """The words that a path of prefixes makes."""
        words: list[Word] = []
        letters: list[Run] = []
        for prefix in path:
            if prefix.token in self._delimiters:
                words += word_of(letters, self._vocabulary, self._frame_s)
                letters = []
            else:
                letters.append(Run(prefix.token, prefix.start, prefix.end, prefix.peak))
        return words + word_of(letters, self._vocabulary, self._frame_s)


def _total(prefix: Prefix) -> float:
    return prefix.total


def _log(probability: float) -> float:
    return math.log(probability) if probability > 0.0 else -math.inf


def _dominates(one: Prefix, other: Prefix) -> bool:
    """Whether one is at least as probable as the other after a blank and after its last letter."""
    ahead = math.exp(min(one.scored.score - other.scored.score, 700.0))
    return one.blank * ahead >= other.blank and one.letter * ahead >= other.letter
