"""What a model family is to the service: audio in, segments out.

A recognizer cuts a clip into windows that are independent of each other, computes them in any order and on any thread,
and turns what it heard into segments. What it hears of a window (CTC: log-probabilities) means nothing outside of the
family. So the scheduler, the transcriber and every surface work for all families alike; `app.families` lists them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from app.transcript import Segment

Samples = NDArray[np.float32]
"""Mono audio, shape (samples,), float32."""


@dataclass(frozen=True)
class Options:
    """What a caller asks of the recognition: one object from the form, or the command line, to the decoder.

    word_times: whether the times of words are needed. A family for which they cost nothing gives them anyway.
    """

    word_times: bool = False


@dataclass(frozen=True)
class Windowing:
    """How clips are cut: the longest piece that a model computes at once, and what neighbours share, seconds."""

    window_s: float = 20.0
    overlap_s: float = 4.0


@dataclass(frozen=True)
class Window:
    """Part of a clip. samples: shape (samples,), float32. start: where it begins in the clip, in samples."""

    samples: Samples
    start: int = 0


@dataclass(frozen=True)
class Hypothesis:
    """What was heard in a short clip, so that any machine can compare: tokens, and the log-probability of each."""

    tokens: tuple[int, ...]
    log_probabilities: tuple[float, ...]


@dataclass(frozen=True)
class Likeness:
    """How alike two models hear one clip.

    max_difference: the largest of log-probabilities, NaN if there is one. steps, same_steps: how many choices the
    models made (CTC: frames), and how many of them alike.
    """

    max_difference: float
    steps: int
    same_steps: int
    same_text: bool


Heard = TypeVar("Heard")
HeardIn = TypeVar("HeardIn", contravariant=True)


class Decoder(Protocol[HeardIn]):
    """Turns what was heard in the windows of one clip into segments, as soon as they are final."""

    def add(self, window: Window, heard: HeardIn) -> list[Segment]:
        """Take the next window of the clip, in their order. Returns the segments that nothing later can change."""
        ...

    def finish(self) -> list[Segment]:
        """The segments that are left after the last window."""
        ...


class Recognizer(Protocol[Heard]):
    """A model, opened and ready to compute. May be used from several threads at once."""

    @property
    def rate_hz(self) -> int:
        """The sample rate of the audio that it takes."""
        ...

    @property
    def window_s(self) -> float:
        """The longest piece of audio that it computes at once, seconds."""
        ...

    @property
    def batches(self) -> bool:
        """Whether short windows are computed faster together than one after the other."""
        ...

    def windows(self, samples: Samples, options: Options) -> Sequence[Window]:
        """Cut a clip, shape (samples,), float32, into windows. A clip that is too short to be heard has none."""
        ...

    def is_audible(self, samples: Samples) -> bool:
        """Whether there is anything to compute in a window, shape (samples,), float32; silence costs nothing."""
        ...

    def hear(self, windows: Sequence[Window], options: Options) -> list[Heard]:
        """Compute windows, of one clip or of several. What is heard in one does not depend on those beside it."""
        ...

    def decoder(self, options: Options) -> Decoder[Heard]:
        """A decoder for one clip."""
        ...

    def cost_s(self, duration_s: float) -> float:
        """Seconds that a clip or a window of so many seconds takes, on a core that computes a second of audio in one.

        The scheduler measures how fast this machine is; what counts here is the proportion between clips.
        """
        ...

    def check(self, window: Window, heard: Heard) -> None:
        """Raises ArtifactError unless what was heard can come from a sane model."""
        ...

    def hypothesis(self, heard: Heard) -> Hypothesis:
        """What is kept in a manifest of a window, to be compared on other machines."""
        ...

    def difference(self, expected: Hypothesis, heard: Heard) -> float:
        """How far what was heard in a window is from what was expected, 0 to 1."""
        ...

    def likeness(self, windows: Sequence[Window], expected: Sequence[Heard], other: Sequence[Heard]) -> Likeness:
        """Compare what two models heard in the windows of one clip. Raises ArtifactError if they cannot be compared."""
        ...


AnyRecognizer = Recognizer[Any]


def hear_clip(recognizer: Recognizer[Heard], samples: Samples, options: Options = Options()) -> list[Heard]:
    """Compute a clip, shape (samples,), float32, window by window; what was heard in each."""
    return [recognizer.hear([window], options)[0] for window in recognizer.windows(samples, options)]


def decode_clip(
    recognizer: Recognizer[Heard], samples: Samples, heard: Sequence[Heard], options: Options = Options()
) -> list[Segment]:
    """The segments of a clip, shape (samples,), float32, of whose windows this was heard."""
    decoder = recognizer.decoder(options)
    segments = []
    for window, part in zip(recognizer.windows(samples, options), heard, strict=True):
        segments += decoder.add(window, part)
    return segments + decoder.finish()
