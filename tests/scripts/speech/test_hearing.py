from collections.abc import Sequence

import numpy as np

from app.artifacts import open_artifact
from app.asr import load_engine
from app.decoding import Emissions
from app.settings import BUNDLED_MODEL
from app.windows import WINDOW_S, Samples
from scripts.common import SAMPLES
from scripts.speech.data import load_speech
from scripts.speech.hearing import emissions_of, text_of


def test_a_long_clip_is_heard_window_by_window() -> None:
    artifact = open_artifact(BUNDLED_MODEL)
    engine = load_engine(artifact, "onnx_int8", 1)
    rate_hz = artifact.features.sample_rate_hz
    lengths: list[int] = []

    class Watched:
        def emissions(self, windows: Sequence[Samples]) -> list[Emissions]:
            lengths.extend(len(window) for window in windows)
            return engine.emissions(windows)

    rows = load_speech(str(SAMPLES / "manifest.jsonl"))["train"]
    clip = rows.samples(0, rate_hz)
    pause = np.zeros(rate_hz, dtype=np.float32)
    long = np.concatenate([clip, pause] * 6)
    once, often = (text_of(emissions_of(Watched(), artifact, samples), artifact) for samples in (clip, long))
    assert often == " ".join([once] * 6)
    assert lengths[0] == len(clip)
    assert len(lengths) == 4
    assert max(lengths) <= WINDOW_S * rate_hz


def test_a_clip_shorter_than_a_frame_says_nothing() -> None:
    artifact = open_artifact(BUNDLED_MODEL)
    emissions = emissions_of(load_engine(artifact, "onnx_int8", 1), artifact, np.zeros(10, dtype=np.float32))
    assert text_of(emissions, artifact) == ""
