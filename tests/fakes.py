"""A service without a model: an engine that says one word per second of sound, and the artifact it belongs to."""

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from app.artifacts import Artifact, FeatureSettings
from app.asr import Engine, Engines
from app.decoding import Emissions, Vocabulary
from app.windows import Framing, Samples
from tests.sounds import MODEL_HZ

FRAMING = Framing(hop=320, receptive_field=400)
FRAMES_PER_S = MODEL_HZ // FRAMING.hop
VOCABULARY = Vocabulary(("<pad>", "|", "d", "i", "k", "t", "e"), 0, "|", frozenset({"<pad>"}))
WORD = "dikte"
WORD_START_S, WORD_END_S = 0.3, 0.48
"""Where in a second the word is: one letter in every second frame, from frame 15 on."""
CERTAINTY = 0.94
PATIENCE_S = 30.0
"""After so long a test that waits is stuck."""


def fake_artifact(folder: Path) -> Artifact:
    """The artifact of `FakeEngine`; there is nothing in `folder`."""
    return Artifact(folder, "fake", FeatureSettings(MODEL_HZ, normalize=False), FRAMING, VOCABULARY, manifest={})


def all_lanes(engine: Engine) -> Engines:
    """One engine for everything."""
    return Engines(engine, engine, engine)


def _open_gate() -> threading.Event:
    gate = threading.Event()
    gate.set()
    return gate


@dataclass
class FakeEngine:
    """Says `WORD` in every whole second that is not silent; raises `failure` if there is one; waits at `gate`.

    `at_work` is set when a call has begun.
    """

    failure: Exception | None = None
    gate: threading.Event = field(default_factory=_open_gate)
    at_work: threading.Event = field(default_factory=threading.Event)

    def emissions(self, windows: Sequence[Samples]) -> list[Emissions]:
        self.at_work.set()
        assert self.gate.wait(PATIENCE_S), "nobody opened the gate"
        if self.failure is not None:
            raise self.failure
        return [self._say(samples) for samples in windows]

    def _say(self, samples: Samples) -> Emissions:
        said = np.zeros(FRAMING.frames(len(samples)), dtype=np.intp)
        for second, heard in enumerate(np.split(samples, range(MODEL_HZ, len(samples), MODEL_HZ))):
            if len(heard) > MODEL_HZ // 2 and np.abs(heard).max() > 0.01:
                for place, letter in enumerate([*WORD, "|"]):
                    said[round((second + WORD_START_S) * FRAMES_PER_S) + 2 * place] = VOCABULARY.tokens.index(letter)
        tokens = len(VOCABULARY.tokens)
        probabilities = np.full((len(said), tokens), (1 - CERTAINTY) / (tokens - 1), dtype=np.float32)
        probabilities[np.arange(len(said)), said] = CERTAINTY
        return np.log(probabilities)
