"""The interface between the service and a model family: audio in, segments out.

A recognizer cuts a clip into independent windows, computes them in any order and on any thread, and turns their outputs
into segments. The output of a window (for CTC: log-probabilities) is opaque outside the family, so the scheduler, the
transcriber and every API work for all families alike. `app.families` lists the families.
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
    """What the caller asks of the recognition; passed unchanged from the form or the command line to the decoder.

    word_times: whether the caller needs word times. A family that gets them for free always provides them.
    """

    word_times: bool = False


@dataclass(frozen=True)
class Windowing:
    """How clips are cut, in seconds: the longest piece that a model computes at once, and the overlap of neighbours."""

    window_s: float = 20.0
    overlap_s: float = 4.0


@dataclass(frozen=True)
class Window:
    """Part of a clip. samples: shape (samples,), float32. start: index of its first sample in the clip."""

    samples: Samples
    start: int = 0


@dataclass(frozen=True)
class Hypothesis:
    """The model's tokens for a short clip, with the log-probability of each, for comparison across machines."""

    tokens: tuple[int, ...]
    log_probabilities: tuple[float, ...]


@dataclass(frozen=True)
class Agreement:
    """How closely the outputs of two models agree on one clip.

    max_difference: largest difference of log-probabilities; NaN if any is NaN. steps: number of decisions (CTC:
    frames). same_steps: number of decisions on which both models agree. same_text: whether the texts are equal.
    """

    max_difference: float
    steps: int
    same_steps: int
    same_text: bool


Output = TypeVar("Output")
OutputIn = TypeVar("OutputIn", contravariant=True)


class Decoder(Protocol[OutputIn]):
    """Turns the outputs of one clip's windows into segments, each as soon as it is final."""

    def add(self, window: Window, output: OutputIn) -> list[Segment]:
        """Take the output of the next window, in order. Returns the segments that later windows cannot change."""
        ...

    def finish(self) -> list[Segment]:
        """The remaining segments after the last window."""
        ...


class Recognizer(Protocol[Output]):
    """A loaded model. Thread-safe."""

    @property
    def rate_hz(self) -> int:
        """Sample rate of the audio that the model takes."""
        ...

    @property
    def window_s(self) -> float:
        """Longest piece of audio that the model computes at once, in seconds."""
        ...

    @property
    def batches(self) -> bool:
        """Whether short windows are computed faster together than one after the other."""
        ...

    def windows(self, samples: Samples, options: Options) -> Sequence[Window]:
        """Cut a clip, shape (samples,), float32, into windows. A clip too short for the model has none."""
        ...

    def is_audible(self, samples: Samples) -> bool:
        """Whether a window, shape (samples,), float32, is not silent; silence is not computed and costs nothing."""
        ...

    def compute(self, windows: Sequence[Window], options: Options) -> list[Output]:
        """Compute windows of one or several clips. The output of a window does not depend on the other windows."""
        ...

    def decoder(self, options: Options) -> Decoder[Output]:
        """A decoder for one clip."""
        ...

    def cost_s(self, duration_s: float) -> float:
        """Seconds that a clip or window of `duration_s` seconds takes on a core that computes audio in real time.

        Only the ratio between clips matters: the scheduler measures how fast this machine is.
        """
        ...

    def check(self, window: Window, output: Output) -> None:
        """Raises ArtifactError if the output cannot come from a working model."""
        ...

    def hypothesis(self, output: Output) -> Hypothesis:
        """The part of a window's output that a manifest keeps, for comparison on other machines."""
        ...

    def difference(self, expected: Hypothesis, output: Output) -> float:
        """How far the output of a window differs from the expected hypothesis, from 0 to 1."""
        ...

    def compare(self, windows: Sequence[Window], expected: Sequence[Output], other: Sequence[Output]) -> Agreement:
        """Compare the outputs of two models for the windows of one clip.

        Raises ArtifactError if they are not comparable.
        """
        ...


AnyRecognizer = Recognizer[Any]


def compute_clip(recognizer: Recognizer[Output], samples: Samples, options: Options = Options()) -> list[Output]:
    """The output of each window of a clip. samples: shape (samples,), float32."""
    return [recognizer.compute([window], options)[0] for window in recognizer.windows(samples, options)]


def decode_clip(
    recognizer: Recognizer[Output], samples: Samples, output: Sequence[Output], options: Options = Options()
) -> list[Segment]:
    """The segments of a clip, shape (samples,), float32, from the outputs of its windows."""
    decoder = recognizer.decoder(options)
    segments = []
    for window, part in zip(recognizer.windows(samples, options), output, strict=True):
        segments += decoder.add(window, part)
    return segments + decoder.finish()
