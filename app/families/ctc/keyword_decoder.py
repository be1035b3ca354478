"""Words of any decoder, with keywords in their place."""

from app.families.ctc.decoding import AnyWordDecoder, Emissions
from app.families.ctc.keyword_spotter import Finding, KeywordSpotter
from app.transcript import Word


class KeywordDecoder:
    """The words of a decoder, but those in which a keyword was found are replaced by what the spotter writes.

    A word belongs to a finding if its middle does. Words are held back as long as a keyword may still replace them.
    """

    def __init__(self, words: AnyWordDecoder, spotter: KeywordSpotter) -> None:
        self._words = words
        self._spotter = spotter
        self._held: list[Word] = []
        self._findings: list[Finding] = []  # whose words may not all have come

    def add(self, emissions: Emissions) -> list[Word]:
        """Take the next frames, shape (frames, vocabulary), float32. Returns the words that are final, in order."""
        self._held += self._words.add(emissions)
        self._findings += self._spotter.add(emissions)
        return self._release(self._words.next_start_s, self._spotter.hold_s)

    def finish(self) -> list[Word]:
        """The remaining words after the last frame."""
        self._held += self._words.finish()
        self._findings += self._spotter.finish()
        return self._release(float("inf"), float("inf"))

    @property
    def next_start_s(self) -> float:
        """Earliest start of the next word, seconds."""
        held = (word.start_s for word in self._held[:1])
        pending = (finding.start_s for finding in self._findings[:1])
        return min(self._words.next_start_s, self._spotter.hold_s, *held, *pending)

    def _release(self, complete_s: float, final_s: float) -> list[Word]:
        """The words that nothing can change. All words before `complete_s` have come, all findings before `final_s`."""
        while self._findings and self._findings[0].end_s <= complete_s:
            finding = self._findings.pop(0)
            kept = [word for word in self._held if not finding.start_s <= _middle_s(word) <= finding.end_s]
            self._held = sorted((*kept, *finding.words), key=lambda word: word.start_s)
        until_s = min(final_s, *(finding.start_s for finding in self._findings[:1]), final_s)
        count = next((place for place, word in enumerate(self._held) if word.end_s > until_s), len(self._held))
        released, self._held = self._held[:count], self._held[count:]
        return released


def _middle_s(word: Word) -> float:
    return (word.start_s + word.end_s) / 2
