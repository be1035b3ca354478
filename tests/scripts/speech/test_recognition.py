from collections.abc import Callable, Sequence

import numpy as np

from app.families.ctc.decoding import Emissions
from app.families.ctc.recognizer import CtcRecognizer
from app.recognizer import WINDOW_S, Options, Window, Windowing, never
from app.settings import BUNDLED_MODEL
from scripts.common import SAMPLES
from scripts.speech.data import load_speech
from scripts.speech.recognition import text_of
from tests.recognizers import ctc_graph, ctc_recognizer, ctc_settings


def test_a_long_clip_is_transcribed_window_by_window() -> None:
    settings = ctc_settings(BUNDLED_MODEL)
    rate_hz = settings.features.sample_rate_hz
    lengths: list[int] = []

    class Watched(CtcRecognizer):
        def compute(
            self, windows: Sequence[Window], options: Options = Options(), cancelled: Callable[[], bool] = never
        ) -> list[Emissions]:
            lengths.extend(len(window.samples) for window in windows)
            return super().compute(windows, options)

    rows = load_speech(str(SAMPLES / "manifest.jsonl"))["train"]
    clip = rows.samples(0, rate_hz)
    pause = np.zeros(rate_hz, dtype=np.float32)
    long = np.concatenate([clip, pause] * 6)
    watched = Watched(settings, ctc_graph(settings, BUNDLED_MODEL / "model_int8.onnx"), Windowing())
    once, often = (text_of(watched, samples) for samples in (clip, long))
    assert often == " ".join([once] * 6)
    assert lengths[0] == len(clip)
    assert len(lengths) == 4
    assert max(lengths) <= WINDOW_S * rate_hz


def test_a_clip_shorter_than_a_frame_has_no_text() -> None:
    assert text_of(ctc_recognizer(BUNDLED_MODEL, "onnx_int8"), np.zeros(10, dtype=np.float32)) == ""
