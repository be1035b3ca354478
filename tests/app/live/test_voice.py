import numpy as np
import pytest

from app.live.voice import Voice
from app.recognizer import Samples
from app.silero import CHUNK_SAMPLES, RATE_HZ
from app.voice_activity import Probabilities, VoiceDetector
from tests.app.live.streaming import speech

PIECE = RATE_HZ // 20


def faint_noise(duration_s: float, level: float = 1e-4) -> Samples:
    return np.random.default_rng(0).normal(0, level, round(duration_s * RATE_HZ)).astype(np.float32)


def in_pieces(samples: Samples, size: int = PIECE) -> Probabilities:
    voice = Voice()
    return np.concatenate([voice.add(samples[start : start + size]) for start in range(0, len(samples), size)])


@pytest.mark.parametrize("size", [160, 1111, 1_000_000])
def test_the_cuts_between_pieces_change_nothing(size: int) -> None:
    samples = np.concatenate([faint_noise(1.0), speech(0.5)])
    np.testing.assert_allclose(in_pieces(samples, size), in_pieces(samples), atol=1e-4)


@pytest.mark.parametrize("gain", [1.0, 0.1, 3.0])
@pytest.mark.parametrize("name", ["short.wav", "call.wav"])
def test_loud_speech_after_silence_is_found_at_once(name: str, gain: float) -> None:
    clip = (gain * speech(0.5, name=name)).clip(-1, 1)
    before = faint_noise(3.0)
    live = in_pieces(np.concatenate([before, clip]))[len(before) // CHUNK_SAMPLES :]
    known = VoiceDetector().probabilities(np.concatenate([before, clip]))[len(before) // CHUNK_SAMPLES :]
    length = min(len(live), len(known))
    live_voiced, known_voiced = live[:length] >= 0.5, known[:length] >= 0.5
    assert np.mean(live_voiced[known_voiced]) > 0.95
    assert np.mean(live_voiced[~known_voiced]) < 0.1


def test_noise_is_no_speech() -> None:
    assert in_pieces(faint_noise(3.0)).max() < 0.5
