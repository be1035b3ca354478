"""What a transcription is, whatever model made it and whatever format it leaves in."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Word:
    """A word, where it was said (seconds from the start of the clip), and how sure the model is (0 to 1)."""

    text: str
    start_s: float
    end_s: float
    confidence: float


@dataclass(frozen=True)
class Segment:
    """Words that are shown together, such as one subtitle."""

    words: tuple[Word, ...]

    @property
    def text(self) -> str:
        """The words, joined by single spaces."""
        return " ".join(word.text for word in self.words)

    @property
    def start_s(self) -> float:
        """Where the first word starts."""
        return self.words[0].start_s

    @property
    def end_s(self) -> float:
        """Where the last word ends."""
        return self.words[-1].end_s


@dataclass(frozen=True)
class Timings:
    """Where the time of a request went, in seconds of wall clock.

    decode_s: bytes to waveform. queue_s: waiting for a thread to decode it, and for the engine while none of this
    clip's windows ran. inference_s: at least one of them ran. total_s: all of it, and the little between.
    """

    decode_s: float
    queue_s: float
    inference_s: float
    total_s: float


@dataclass(frozen=True)
class Transcript:
    """The words of a clip and what was measured on the way.

    duration_s: of the clip. confidence: geometric mean over all letters, 0 to 1; None where nothing was said.
    """

    words: tuple[Word, ...]
    duration_s: float
    confidence: float | None
    timings: Timings

    @property
    def text(self) -> str:
        """The words, joined by single spaces."""
        return " ".join(word.text for word in self.words)
