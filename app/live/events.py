"""What a live stream tells its listener. All times are seconds from the start of the stream."""

from dataclasses import dataclass
from typing import Literal

from app.errors import AsrError
from app.transcript import Segment, Word, joined

Reason = Literal["endpoint", "finalize", "max_length", "end_of_stream"]
"""Why an utterance ended: a pause; the listener asked (`LiveStream.finalize`); it got too long, and continues in the
next one; there is no more audio."""


@dataclass(frozen=True)
class SpeechStarted:
    """Somebody began to speak in a channel. It comes before the first event of that utterance."""

    channel: int
    time_s: float


@dataclass(frozen=True)
class Partial:
    """The words of the running utterance so far.

    committed: words that later partials of the utterance keep, unchanged; each partial has all of them. volatile: the
    words after them, which may still change. start_s: start of the utterance. end_s: up to where it was computed.
    """

    channel: int
    start_s: float
    end_s: float
    committed: tuple[Word, ...]
    volatile: tuple[Word, ...]

    @property
    def words(self) -> tuple[Word, ...]:
        """All words."""
        return self.committed + self.volatile

    @property
    def text(self) -> str:
        """All words as a text."""
        return joined(self.words)


@dataclass(frozen=True)
class Final:
    """The words of an utterance, or of a part of one (`max_length`). They replace those of its partials.

    start_s, end_s: the audio that it was computed from; finals of a channel neither overlap nor come out of order.
    segments: empty if no words were found; with word times. reason: why the utterance ended. A call of
    `LiveStream.finalize` gives one `finalize` on each channel, empty where nobody was speaking.
    """

    channel: int
    start_s: float
    end_s: float
    segments: tuple[Segment, ...]
    reason: Reason

    @property
    def words(self) -> tuple[Word, ...]:
        """All words."""
        return tuple(word for segment in self.segments for word in segment.words)

    @property
    def text(self) -> str:
        """All segments as a text."""
        return joined(self.segments)


@dataclass(frozen=True)
class SpeechStopped:
    """An utterance has ended. It comes at once; the utterance's `Final` or `Failed` follows when it is computed.

    end_s: end of the utterance. reason: never `max_length`, because then the speech goes on.
    """

    channel: int
    end_s: float
    reason: Reason


@dataclass(frozen=True)
class Failed:
    """The engine failed on an utterance, or on a part of one: it comes in place of the `Final`. The stream goes on."""

    channel: int
    start_s: float
    end_s: float
    reason: Reason
    error: AsrError


@dataclass(frozen=True)
class UtteranceEnd:
    """Nobody has spoken in a channel for `LiveOptions.utterance_end_s` since the last word of its finals.

    last_word_end_s: where that word ended.
    """

    channel: int
    last_word_end_s: float


@dataclass(frozen=True)
class Reached:
    """All audio before a call of `LiveStream.mark` was taken, and the finals of what ended in it have come."""

    channel: int


Event = SpeechStarted | Partial | SpeechStopped | Final | Failed | UtteranceEnd | Reached
