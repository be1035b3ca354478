"""Words -> segments that can be read as subtitles."""

from collections.abc import Iterable

from app.transcript import Segment, Word

MAX_SEGMENT_S = 7.0
MAX_SEGMENT_CHARACTERS = 84
"""Two lines of 42 characters, as players break them, and 7 s: the usual limits of subtitles (Netflix Timed Text Style
Guide)."""
PAUSE_S = 0.8
"""Pause after which a new segment starts."""


class Segmenter:
    """Groups words as they arrive: a new segment starts at a pause, or where the current one would get too long."""

    def __init__(self) -> None:
        self._words: list[Word] = []
        self._characters = 0

    def add(self, words: Iterable[Word]) -> list[Segment]:
        """Take the next words. Returns the segments that are complete."""
        segments = []
        for word in words:
            if self._words and self._begins_segment(word):
                segments += self.finish()
            self._characters += self._added_characters(word)
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
        words, self._words, self._characters = tuple(self._words), [], 0
        return [Segment.of(words)] if words else []

    def _begins_segment(self, word: Word) -> bool:
        return (
            word.start_s - self._words[-1].end_s > PAUSE_S
            or word.end_s - self._words[0].start_s > MAX_SEGMENT_S
            or self._characters + self._added_characters(word) > MAX_SEGMENT_CHARACTERS
        )

    def _added_characters(self, word: Word) -> int:
        """Characters by which the word makes the text of the segment longer."""
        return len(word.text) + (1 if self._words and word.space_before else 0)
