"""Which words of a running utterance are safe to show as settled.

A word is committed once two hypotheses in a row agree on it, both are sure of it, it ends well before the edge of the
audio, and a pause follows (local agreement: D. Liu et al., Low-Latency Sequence-to-Sequence Speech Recognition and
Translation by Partial Hypothesis Selection, Interspeech 2020). The words after it are volatile.
"""

from collections.abc import Sequence
from difflib import SequenceMatcher

from app.transcript import Word

EDGE_S = 1.0
"""A word that ends nearer to the edge may still change: the model has not heard what follows."""
PAUSE_S = 0.14
"""Pause that must follow a committed word; where two words run into one another, their border may still move."""
MIN_CONFIDENCE = 0.9
"""A word with less, and those after it, wait for the final."""
SAME_S = 0.3
"""The same word of two hypotheses starts at most so far apart."""


class Agreement:
    """Compares the hypotheses of one utterance."""

    def __init__(self) -> None:
        self.committed: tuple[Word, ...] = ()
        self._previous: tuple[Word, ...] = ()

    @property
    def committed_end_s(self) -> float | None:
        """End of the last committed word; None if there is none."""
        return self.committed[-1].end_s if self.committed else None

    def update(self, words: Sequence[Word], start_s: float, edge_s: float) -> tuple[Word, ...]:
        """Take the next hypothesis; returns the volatile words.

        start_s, edge_s: the audio that it was computed from. Words before `start_s` are those of the hypothesis before.
        """
        after_s = self.committed_end_s if self.committed_end_s is not None else -1.0
        kept = [word for word in self._previous if after_s < _middle_s(word) < start_s]
        current = (*kept, *(word for word in words if _middle_s(word) > max(after_s, start_s)))
        settled = 0
        for agreed, (word, before) in enumerate(zip(current, self._previous, strict=False), 1):
            same = word.text == before.text and abs(word.start_s - before.start_s) <= SAME_S
            if not same or min(word.confidence, before.confidence) < MIN_CONFIDENCE:
                break
            next_s = current[agreed].start_s if agreed < len(current) else edge_s
            if word.end_s <= edge_s - EDGE_S and next_s - word.end_s >= PAUSE_S:
                settled = agreed
        self.committed += current[:settled]
        self._previous = current[settled:]
        return self._previous


def contradicted(committed: Sequence[Word], final: Sequence[Word]) -> int:
    """How many committed words the final does not have, in their order."""
    matcher = SequenceMatcher(None, [word.text for word in committed], [word.text for word in final], autojunk=False)
    return len(committed) - sum(block.size for block in matcher.get_matching_blocks())


def _middle_s(word: Word) -> float:
    return (word.start_s + word.end_s) / 2
