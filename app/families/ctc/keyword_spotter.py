"""Spots keywords in emissions as they come, and writes the words in which they are."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np

from app.families.ctc.decoding import Emissions, Run, Vocabulary, best_runs, text_of_runs, word_of_runs
from app.families.ctc.keyword_alignment import align_letters
from app.families.ctc.keyword_search import Costs, Hit, search
from app.families.ctc.keyword_trie import Trie
from app.families.ctc.spelling import Letters
from app.families.ctc.suffixes import is_suffix, with_suffix
from app.families.ctc.word_bounds import GreedyWord, WordBounds, greedy_words, word_bounds
from app.transcript import Word

BATCH_S = 0.25
"""New frames are searched once they last so long, seconds: each search goes through all kept frames again."""
BLOCK_S = 20.0
"""Longest part of a clip that is searched at once, seconds: it bounds the memory."""
MAX_HELD_S = 30.0
"""A keyword in the middle of so much speech without a space is decided without waiting for one, seconds."""


@dataclass(frozen=True)
class Finding:
    """Words with keywords, which replace all words between two times of the clip, in seconds."""

    start_s: float
    end_s: float
    words: tuple[Word, ...]


@dataclass(frozen=True)
class _Spot:
    """A hit with the words of the best path that it touches. end: frame after its ending, if it has one."""

    hit: Hit
    end: int
    words: tuple[GreedyWord, ...]

    @property
    def first(self) -> int:
        """First frame of the words, or of the hit."""
        return min(self.hit.start, *(word.start for word in self.words), self.hit.start)

    @property
    def last(self) -> int:
        """Frame after the words and the hit."""
        return max(self.end, *(word.end for word in self.words), self.end)


class KeywordSpotter:
    """Spots the keywords of a trie in the emissions of one clip.

    It keeps the frames from the space before the earliest keyword that may not be complete. What it finds does not
    depend on how the emissions are divided; when it finds it, does.
    """

    def __init__(self, trie: Trie, letters: Letters, vocabulary: Vocabulary, frame_s: float) -> None:
        self._trie = trie
        self._letters = letters
        self._vocabulary = vocabulary
        self._frame_s = frame_s
        self._ids = [letters.ids[letter] for letter in trie.letters]
        known = {*letters.of_token, *letters.delimiters}
        self._silent = [index for index in range(len(vocabulary.tokens)) if index not in known]
        self._kept: Emissions = np.empty((0, len(vocabulary.tokens)), dtype=np.float32)
        self._unsearched = 0  # frames at the end of the kept ones
        self._first = 0  # frame of the clip at which the kept frames begin
        self._done = 0  # frame of the clip up to which words were returned
        self._hold = 0  # frame of the clip from which on words may change

    @property
    def hold_s(self) -> float:
        """Time from which on later findings may replace words, seconds."""
        return self._hold * self._frame_s

    def add(self, emissions: Emissions) -> list[Finding]:
        """Take the next frames, shape (frames, vocabulary), float32. Returns the findings that are final."""
        findings: list[Finding] = []
        block = round(BLOCK_S / self._frame_s)
        for start in range(0, len(emissions), block):
            part = emissions[start : start + block]
            self._kept = np.concatenate([self._kept, part])
            self._unsearched += len(part)
            if self._unsearched * self._frame_s >= BATCH_S:
                findings += self._search(final=len(self._kept) * self._frame_s > BLOCK_S + MAX_HELD_S)
        return findings

    def finish(self) -> list[Finding]:
        """The remaining findings after the last frame."""
        return self._search(final=True) if len(self._kept) else []

    def _search(self, final: bool) -> list[Finding]:
        """Search the kept frames. final: decide everything, as at the end of a clip."""
        emissions, self._unsearched = self._kept, 0
        letters, delimiters = self._letters.of_token, self._letters.delimiters
        runs = best_runs(emissions, 0)
        words = greedy_words(runs, letters, delimiters, final)
        language = self._letters.language
        space = np.full(len(emissions), 100.0)
        if delimiters:
            space = (emissions.max(axis=1) - emissions[:, list(delimiters)].max(axis=1)).astype(np.float64)
        bounds = word_bounds(
            runs, space, letters, delimiters, words, lambda text: is_suffix(text, language), self._frame_s, final
        )
        costs = Costs.of(emissions, self._ids, delimiters, self._silent)
        hits, running = search(self._trie, costs, bounds, max(0, self._done - self._first), self._frame_s)
        hold = len(emissions) if final else running
        findings: list[Finding] = []
        for spots in _apart(_spot(hit, bounds, words) for hit in hits):
            if max(spot.last for spot in spots) > hold:
                hold = min(hold, *(spot.first for spot in spots), hold)
                break
            for chosen in _apart(_best(spots)):
                findings.append(self._finding(emissions, chosen))
                self._done = self._first + max(spot.last for spot in chosen)
        self._hold = self._first + hold
        ends = [run.end for run in runs if run.token in delimiters and run.end <= hold]
        cut = len(emissions) if final else max(ends, default=0)
        self._kept, self._first = emissions[cut:].copy(), self._first + cut
        return findings

    def _finding(self, emissions: Emissions, spots: list[_Spot]) -> Finding:
        """The words of spots that touch the same words of the best path, or each other."""
        covered = [(spot.hit.start, spot.end) for spot in spots]
        found = [word for spot in spots for word in self._keyword(emissions, spot)]
        for word in {id(word): word for spot in spots for word in spot.words}.values():
            for covering, group in groupby(word.letters, lambda letter: _covering(letter, covered)):
                if covering < 0:
                    found += self._word(tuple(group))
        frame_s = self._frame_s
        start, end = min(spot.first for spot in spots), max(spot.last for spot in spots)
        ordered = sorted(found, key=lambda word: word.start_s)
        return Finding((self._first + start) * frame_s, (self._first + end) * frame_s, tuple(ordered))

    def _word(self, letters: Sequence[Run]) -> list[Word]:
        """A word of the best path."""
        text = text_of_runs(letters, self._vocabulary)
        return [word_of_runs(text, self._in_clip(letters), self._frame_s)] if text else []

    def _keyword(self, emissions: Emissions, spot: _Spot) -> list[Word]:
        """The words of a keyword, with its ending."""
        hit = spot.hit
        spelling, text = hit.end_node.spelling, self._trie.keywords[hit.end_node.keyword].text
        ids = [self._letters.ids[letter] for letter in spelling.letters]
        silent = [*self._silent, *self._letters.delimiters]
        runs = align_letters(emissions[hit.start : hit.end], ids, silent, hit.start)
        texts = text.split()
        parts = [
            [run for run, number in zip(runs, spelling.words, strict=True) if number == place]
            for place in range(spelling.words[-1] + 1)
        ]
        if len(parts) != len(texts):  # it is not said in as many words as it is written in
            texts, parts = [text], [runs]
        suffix = [run for word in spot.words for run in word.letters if hit.end <= run.start < spot.end]
        if suffix:
            texts[-1] = with_suffix(texts[-1], text_of_runs(suffix, self._vocabulary), self._letters.language)
            parts[-1] += suffix
        return [
            word_of_runs(written, self._in_clip(part), self._frame_s)
            for written, part in zip(texts, parts, strict=True)
        ]

    def _in_clip(self, letters: Iterable[Run]) -> list[Run]:
        """Letters with frames of the clip."""
        first = self._first
        return [run._replace(start=run.start + first, end=run.end + first) for run in letters]


def _spot(hit: Hit, bounds: WordBounds, words: Sequence[GreedyWord]) -> _Spot:
    """A hit with its ending and the words of the best path that it touches."""
    end = hit.end
    if bounds.suffixed[hit.end] or hit.end_node.before_vowel:
        end = next(word.end for word in words if word.end > hit.end)
    return _Spot(hit, end, tuple(word for word in words if word.start < end and word.end > hit.start))


def _apart(spots: Iterable[_Spot]) -> list[list[_Spot]]:
    """Spots in groups, such that no words belong to two groups, by their start."""
    groups: list[list[_Spot]] = []
    last = 0
    for spot in sorted(spots, key=lambda spot: (spot.first, spot.last)):
        if groups and spot.first < last:
            groups[-1].append(spot)
        else:
            groups.append([spot])
        last = max(last, spot.last)
    return groups


def _best(spots: list[_Spot]) -> list[_Spot]:
    """Of spots that overlap, those that together have the highest score: weighted interval scheduling."""
    spots = sorted(spots, key=lambda spot: (spot.end, spot.hit.start))
    best: list[tuple[float, list[_Spot]]] = [(0.0, [])]
    for place, spot in enumerate(spots):
        before = max(index for index in range(place + 1) if index == 0 or spots[index - 1].end <= spot.hit.start)
        score = best[before][0] + spot.hit.score
        best.append((score, [*best[before][1], spot]) if score > best[place][0] else best[place])
    return best[-1][1]


def _covering(letter: Run, covered: Sequence[tuple[int, int]]) -> int:
    """Number of the keyword that a letter belongs to; those of the best path between two keywords have numbers below 0,
    which tell apart what is before and after a keyword.
    """
    for number, (start, end) in enumerate(covered):
        if letter.start < start:
            return -number - 1
        if letter.start < end:
            return number
    return -len(covered) - 1
