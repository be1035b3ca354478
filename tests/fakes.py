"""A service without a model: a recognizer that finds one word in every second of audio, and what it belongs to."""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np

from app.artifacts import Artifact
from app.families.ctc.decoding import Emissions, Vocabulary
from app.families.ctc.graph import CtcGraph
from app.families.ctc.recognizer import CtcRecognizer
from app.families.ctc.settings import CtcSettings, FeatureSettings
from app.families.ctc.windows import Framing
from app.models import Lanes
from app.recognizer import AnyRecognizer, Options, Samples, Window, Windowing, never
from tests.sounds import MODEL_HZ

FRAMING = Framing(hop=320, receptive_field=400)
FRAMES_PER_S = MODEL_HZ // FRAMING.hop
VOCABULARY = Vocabulary(("<pad>", "|", "d", "i", "k", "t", "e"), 0, "|", frozenset({"<pad>"}))
SETTINGS = CtcSettings(FeatureSettings(MODEL_HZ, normalize=False), FRAMING, VOCABULARY)
WORD = "dikte"
WORD_START_S, WORD_END_S = 0.3, 0.48
"""Where in a second the word is: one letter in every second frame, from frame 15 on."""
CERTAINTY = 0.94
PATIENCE_S = 30.0
"""After so long a test that waits is stuck."""


def fake_artifact(folder: Path) -> Artifact:
    """The artifact of `FakeRecognizer`; there is nothing in `folder`."""
    return Artifact(folder, "fake", manifest={})


def all_lanes(recognizer: AnyRecognizer, *, spreads: bool = True) -> Lanes:
    """One recognizer for everything."""
    return Lanes(recognizer, recognizer, recognizer, spreads)


class BareRecognizer:
    """The parts of a recognizer that the scheduler uses; subclasses implement `compute`."""

    rate_hz = 10
    window_s = 1.0
    batches = False

    def compute(self, windows: Sequence[Window], options: Options, cancelled: Callable[[], bool] = never) -> list[Any]:
        raise NotImplementedError

    def is_audible(self, samples: Samples) -> bool:
        return bool(samples.any())

    def cost_s(self, duration_s: float) -> float:
        return duration_s


class FakeCtc(CtcRecognizer):
    """A CTC recognizer without a graph, for those that override `emissions`."""

    def __init__(self, settings: CtcSettings = SETTINGS, windowing: Windowing = Windowing()) -> None:
        super().__init__(settings, cast(CtcGraph, SimpleNamespace(ragged=False)), windowing)


def _open_gate() -> threading.Event:
    gate = threading.Event()
    gate.set()
    return gate


@dataclass(eq=False)
class FakeRecognizer(FakeCtc):
    """Recognizes `WORD` in every whole second that is not silent; raises `failure` if there is one; waits at `gate`.

    `at_work` is set when a call has begun.
    """

    failure: Exception | None = None
    gate: threading.Event = field(default_factory=_open_gate)
    at_work: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        super().__init__()

    def emissions(self, clips: Sequence[Samples]) -> list[Emissions]:
        self.at_work.set()
        assert self.gate.wait(PATIENCE_S), "nobody opened the gate"
        if self.failure is not None:
            raise self.failure
        return [self._recognize_word(samples) for samples in clips]

    def _recognize_word(self, samples: Samples) -> Emissions:
        said = np.zeros(FRAMING.frames(len(samples)), dtype=np.intp)
        for second, part in enumerate(np.split(samples, range(MODEL_HZ, len(samples), MODEL_HZ))):
            if len(part) > MODEL_HZ * 6 // 10 and np.abs(part).max() > 0.01:
                for place, letter in enumerate([*WORD, "|"]):
                    said[round((second + WORD_START_S) * FRAMES_PER_S) + 2 * place] = VOCABULARY.tokens.index(letter)
        tokens = len(VOCABULARY.tokens)
        probabilities = np.full((len(said), tokens), (1 - CERTAINTY) / (tokens - 1), dtype=np.float32)
        probabilities[np.arange(len(said)), said] = CERTAINTY
        return np.log(probabilities)
