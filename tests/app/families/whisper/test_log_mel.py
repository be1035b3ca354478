from functools import cache

import numpy as np
import pytest
from numpy.typing import NDArray
from transformers import WhisperFeatureExtractor
from transformers.audio_utils import mel_filter_bank

from app.families.whisper.log_mel import Features, LogMel, mel_filters

RATE_HZ, WINDOW, HOP = 16_000, 400, 160
FRAMES = 3_000
FULL = FRAMES * HOP
RANDOM = np.random.default_rng(3)
NOISE = RANDOM.normal(0, 0.1, FULL + 16_000).astype(np.float32)
SECONDS = np.arange(FULL) / RATE_HZ
CLICK = np.zeros(50_000)
CLICK[12_345] = 1
SOUNDS: dict[str, NDArray[np.floating]] = {
    "silence": np.zeros(50_000),
    "loud": np.clip(20 * NOISE, -1, 1)[:FULL],
    "quiet": NOISE[:100_000] / 1_000,
    "quieter than the limit": NOISE[:100_000] / 1_000_000,
    "click": CLICK,
    "constant": np.full(50_000, 0.5),
    "constant to the end": np.full(FULL, 0.5),
    "tone": np.sin(2 * np.pi * 440 * SECONDS),
    "tone that swells": np.sin(2 * np.pi * 440 * SECONDS) * (SECONDS / 30) ** 4,
    "square wave": np.sign(np.sin(2 * np.pi * 100 * SECONDS)),
}
LENGTHS = [1, 2, 159, 160, 161, 199, 200, 201, 399, 400, 401, 80_000]
LENGTHS += [FULL - short for short in (201, 200, 199, 160, 41, 40, 39, 1, 0, -1, -16_000)]


@cache
def extractor(bins: int, window_s: int = 30) -> WhisperFeatureExtractor:
    return WhisperFeatureExtractor(bins, chunk_length=window_s)


def reference(samples: NDArray[np.float32], bins: int, window_s: int = 30) -> Features:
    features: Features = extractor(bins, window_s)(samples, sampling_rate=RATE_HZ, return_tensors="np").input_features[
        0
    ]
    return features


def log_mel(bins: int) -> LogMel:
    return LogMel(bins, RATE_HZ, WINDOW, HOP)


def assert_equal(features: Features, expected: Features) -> None:
    assert features.dtype == np.float32
    assert features.shape == expected.shape
    assert np.abs(features - expected).max() < 1e-4


@pytest.mark.parametrize("bins", [80, 128])
@pytest.mark.parametrize("sound", SOUNDS)
def test_sounds_give_the_features_of_transformers(sound: str, bins: int) -> None:
    samples = SOUNDS[sound].astype(np.float32)
    assert_equal(log_mel(bins)(samples, FRAMES), reference(samples, bins))


@pytest.mark.parametrize("length", LENGTHS)
def test_clips_of_any_length_give_the_features_of_transformers(length: int) -> None:
    assert_equal(log_mel(80)(NOISE[:length], FRAMES), reference(NOISE[:length], 80))


@pytest.mark.parametrize("window_s", [1, 7, 29])
@pytest.mark.parametrize("short", [8_000, 100, 0, -100], ids=lambda short: f"{short} samples short")
def test_shorter_windows_give_the_features_of_transformers(window_s: int, short: int) -> None:
    samples = NOISE[: window_s * RATE_HZ - short]
    assert_equal(log_mel(80)(samples, window_s * RATE_HZ // HOP), reference(samples, 80, window_s))


def test_an_empty_clip_is_silence() -> None:
    empty = np.zeros(0, dtype=np.float32)
    assert_equal(log_mel(80)(empty, FRAMES), reference(np.zeros(1, dtype=np.float32), 80))


def test_the_samples_are_left_as_they_are() -> None:
    samples = NOISE[:FULL].copy()
    log_mel(80)(samples, FRAMES)
    assert np.array_equal(samples, NOISE[:FULL])


@pytest.mark.parametrize("bins", [80, 128])
def test_the_filters_are_those_of_transformers(bins: int) -> None:
    expected = mel_filter_bank(1 + WINDOW // 2, bins, 0.0, RATE_HZ / 2, RATE_HZ, norm="slaney", mel_scale="slaney")
    assert np.allclose(mel_filters(bins, WINDOW, RATE_HZ), expected.T, atol=1e-8)
