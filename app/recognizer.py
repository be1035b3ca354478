"""The interface between the service and a model family: audio in, segments out.

A recognizer cuts a clip into independent windows, computes them in any order and on any thread, and turns their outputs
into segments. The output of a window (for CTC: log-probabilities) is opaque outside the family, so the scheduler, the
transcriber and every API work for all families alike. `app.families` lists the families.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Literal, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from app.errors import InvalidParameter
from app.keywords import Keyword
from app.transcript import Segment

Samples = NDArray[np.float32]
"""Mono audio, shape (samples,), float32."""


Task = Literal["transcribe", "translate"]
"""What to write: the words as they are spoken, or their translation into English."""


ChannelMode = Literal["auto", "mix", "separate"]
"""What becomes of the channels of a file: they are mixed; each is transcribed by itself, as a speaker; or the latter
only where two channels are the two sides of a call."""


@dataclass(frozen=True)
class Options:
    """What the caller asks of the recognition; passed unchanged from the form or the command line to the decoder.

    A model that cannot honor an option refuses it (`Recognizer.check_options`).

    word_times: the caller needs word times; a family that gets them for free always provides them. segment_times: the
    caller needs the times of segments. language: ISO 639 code of the speech; None to detect it. languages: codes of the
    languages among which it is detected; empty for all. language_threshold: least probability of a detected language.
    task: see `Task`. prompt: text that could have come before, with names and terms in their spelling. keywords: names
    and terms that may be said. keywords_boost: factor on the boost of each keyword. channels: see `ChannelMode`.

    temperatures: tried in turn until a text passes the checks; at 0 the most probable text, above a sample. beam_size:
    hypotheses of the beam search at temperature 0; 1 for greedy search. compression_ratio_threshold: a text that
    compresses better repeats itself, and fails. log_probability_threshold: a text whose tokens have a lower mean
    log-probability fails. no_speech_threshold: a failing text is dropped if the probability of silence is higher. The
    defaults are those of openai/whisper. retry_factor: limit of the tokens of all temperatures together, as a multiple
    of what speech usually has; at the limit, no further temperature is tried.

    language_model: use the language model of a CTC model that has one. language_model_beam: hypotheses of its beam
    search.
    """

    word_times: bool = False
    segment_times: bool = False
    language: str | None = None
    languages: tuple[str, ...] = ()
    language_threshold: float = 0.5
    task: Task = "transcribe"
    prompt: str = ""
    keywords: tuple[Keyword, ...] = ()
    keywords_boost: float = 1.0
    channels: ChannelMode = "mix"
    temperatures: tuple[float, ...] = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
    beam_size: int = 1
    compression_ratio_threshold: float = 2.4
    log_probability_threshold: float = -1.0
    no_speech_threshold: float = 0.6
    retry_factor: float = 3.0
    language_model: bool = True
    language_model_beam: int = 16


UNCHECKED = Options(
    temperatures=(0.0,),
    compression_ratio_threshold=math.inf,
    log_probability_threshold=-math.inf,
    no_speech_threshold=1.0,
)
"""Options with which every window is computed once, whatever its text: for noise that checks and measures a model."""


class Cancelled(Exception):
    """The caller of a computation no longer waits for it."""


def never() -> bool:
    """The default for `cancelled` in `Recognizer.compute`."""
    return False


WINDOW_S = 20.0
"""Length of windows for models that take any: longer ones take more memory, and more time per second of audio."""


@dataclass(frozen=True)
class Windowing:
    """How clips are cut, in seconds: the longest piece that a model computes at once, and the overlap of neighbours.

    window_s: None for `WINDOW_S`, or the length of the family's own windows.
    """

    window_s: float | None = None
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

    @property
    def pending_s(self) -> float | None:
        """Start of the earliest words that are in no returned segment yet, seconds.

        None if there are none: later segments start in later windows.
        """
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

    def check_options(self, options: Options) -> None:
        """Raises InvalidParameter for options that this model cannot honor."""
        ...

    @property
    def detects_language(self) -> bool:
        """Whether the model knows several languages, and finds out which one is spoken."""
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

    def compute(
        self, windows: Sequence[Window], options: Options, cancelled: Callable[[], bool] = never
    ) -> list[Output]:
        """Compute windows of one or several clips. The output of a window does not depend on the other windows.

        cancelled: asked from time to time. Once it returns True, Cancelled may be raised.
        """
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

    def hypothesis(self, window: Window) -> Hypothesis:
        """What a manifest keeps of the output for a window, for comparison on other machines."""
        ...

    def difference(self, expected: Hypothesis, window: Window) -> float:
        """How far the output for a window differs from the expected hypothesis, from 0 to 1."""
        ...

    def compare(self, windows: Sequence[Window], expected: Sequence[Output], other: Sequence[Output]) -> Agreement:
        """Compare the outputs of two models for the windows of one clip.

        Raises ArtifactError if they are not comparable.
        """
        ...


AnyRecognizer = Recognizer[Any]


def refused_options(recognizer: AnyRecognizer, options: Options, defaults: Options) -> dict[str, str]:
    """Names of the options that the model cannot honor -> the reason.

    Only options that differ from `defaults` are looked at, each by itself.
    """
    refused = {}
    for option in fields(Options):
        value = getattr(options, option.name)
        if value != getattr(defaults, option.name):
            try:
                recognizer.check_options(replace(defaults, **{option.name: value}))
            except InvalidParameter as error:
                refused[option.name] = error.message
    return refused


def compute_windows(
    recognizer: Recognizer[Output], windows: Sequence[Window], options: Options = Options()
) -> list[Output]:
    """The output of each window."""
    return [recognizer.compute([window], options)[0] for window in windows]


def decode_windows(
    recognizer: Recognizer[Output], windows: Sequence[Window], outputs: Sequence[Output], options: Options = Options()
) -> list[Segment]:
    """The segments of a clip, from its windows and their outputs."""
    decoder = recognizer.decoder(options)
    segments = []
    for window, output in zip(windows, outputs, strict=True):
        segments += decoder.add(window, output)
    return segments + decoder.finish()
