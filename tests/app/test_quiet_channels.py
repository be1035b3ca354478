import numpy as np
import pytest

from app import quiet_channels
from app.quiet_channels import is_speechless
from app.recognizer import Samples
from app.voice_activity import VoiceDetector
from tests.calls import clip
from tests.sounds import MODEL_HZ

HISS = (0.003 * np.random.default_rng(0).standard_normal(20 * MODEL_HZ)).astype(np.float32)


@pytest.fixture
def searched(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Lengths of the channels in which the detector looked for speech."""
    lengths: list[int] = []
    detector = VoiceDetector()

    class Watched:
        def probabilities(self, samples: Samples) -> object:
            lengths.append(len(samples))
            return detector.probabilities(samples)

    monkeypatch.setattr(quiet_channels, "voice_detector", Watched)
    return lengths


@pytest.mark.parametrize("gain", [1.0, 0.01, 30.0, 0.0])
def test_the_hiss_of_an_open_line_is_no_speech(searched: list[int], gain: float) -> None:
    assert is_speechless(HISS * np.float32(gain), MODEL_HZ)
    assert searched == [len(HISS)]


def test_speech_is_not_even_searched(searched: list[int]) -> None:
    assert not is_speechless(clip("call.wav")[0], MODEL_HZ)
    assert searched == []


def test_quiet_speech_is_found(searched: list[int]) -> None:
    assert not is_speechless(clip("call.wav")[0] * np.float32(0.01), MODEL_HZ)
    assert len(searched) == 1


def test_a_word_in_a_long_silence_is_found() -> None:
    samples = np.zeros(60 * MODEL_HZ, dtype=np.float32)
    word = clip("short.wav")[0]
    samples[30 * MODEL_HZ : 30 * MODEL_HZ + len(word)] = word
    assert not is_speechless(samples, MODEL_HZ)


def test_other_rates_and_short_clips_are_not_judged() -> None:
    assert not is_speechless(HISS, 8_000)
    assert not is_speechless(HISS[:100], MODEL_HZ)
