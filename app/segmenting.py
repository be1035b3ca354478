"""Words -> segments: groups of words between pauses, as people breathe, short enough to be shown together."""

from collections.abc import Iterable
from itertools import pairwise

from app.transcript import Segment, Word, joined

MAX_SEGMENT_S = 7.0
MAX_SEGMENT_CHARACTERS = 84
"""Two lines of 42 characters, as players break them, and 7 s: the usual limits of subtitles (Netflix Timed Text Style
Guide)."""
PAUSE_S = 0.8
"""Pause after which a new segment starts."""
EQUAL_S = 0.01
"""Pauses that differ by less count as equal; a frame of most models is longer."""


class Segmenter:
    """Groups words as they arrive: a new segment starts at a pause.

    Where a segment would get too long, it ends at the longest pause in its second half.
    """

    def __init__(self) -> None:
        self._words: list[Word] = []

    def add(self, words: Iterable[Word]) -> list[Segment]:
        """Take the next words. Returns the segments that are complete."""
        segments = []
        for word in words:
            if self._words and word.start_s - self._words[-1].end_s > PAUSE_S:
                segments += self.finish()
            while self._words and self._gets_too_long(word):
                segments.append(self._cut_off(word))
            self._words.append(word)
        return segments

    @property
    def start_s(self) -> float | None:
        """Start of the current segment; None if there is none."""
        return self._words[0].start_s if self._words else None

    def until(self, time_s: float) -> list[Segment]:
        """No word starts before `time_s`. Returns the segment that a pause has completed, if there is one."""
        return self.finish() if self._words and time_s - self._words[-1].end_s > PAUSE_S else []

    def finish(self) -> list[Segment]:
        """The segment of the remaining words, if there are any."""
        words, self._words = tuple(self._words), []
        return [Segment.of(words)] if words else []

    def _gets_too_long(self, word: Word) -> bool:
        """Whether the words and this one are too long for one segment."""
        return (
            word.end_s - self._words[0].start_s > MAX_SEGMENT_S
            or len(joined((*self._words, word))) > MAX_SEGMENT_CHARACTERS
        )

    def _cut_off(self, following: Word) -> Segment:
        """Take the first words as a segment: those before the longest pause, of equal ones the last."""
        pauses_s = [after.start_s - before.end_s for before, after in pairwise((*self._words, following))]
        half = len(pauses_s) // 2
        _, last = max((round(pause_s / EQUAL_S), place) for place, pause_s in enumerate(pauses_s) if place >= half)
        words, self._words = tuple(self._words[: last + 1]), self._words[last + 1 :]
        return Segment.of(words)
