"""The times of words against the silence around them."""

import numpy as np
import pytest

from app.families.whisper.word_edges import silent_frames, trimmed
from app.recognizer import Samples
from app.transcript import Word

RATE_HZ = 16_000


def sound(*parts: tuple[float, float], noise: float = 0.0) -> Samples:
    """Tones, (seconds, amplitude) each, with noise of this deviation."""
    tone = np.concatenate(
        [amplitude * np.sin(np.arange(round(length_s * RATE_HZ)) * 0.3) for length_s, amplitude in parts]
    )
    return (tone + noise * np.random.default_rng(0).standard_normal(len(tone))).astype(np.float32)


def times(samples: Samples, *spans: tuple[float, float]) -> list[tuple[float, float]]:
    words = [Word("word", start_s, end_s, 1.0) for start_s, end_s in spans]
    return [(round(word.start_s, 3), round(word.end_s, 3)) for word in trimmed(words, samples, RATE_HZ)]


@pytest.mark.parametrize("noise", [0.0, 0.003])
def test_the_first_word_begins_where_it_is_heard(noise: float) -> None:
    samples = sound((0.4, 0), (0.6, 0.3), noise=noise)
    assert times(samples, (0.0, 0.7), (0.7, 1.0)) == [(0.38, 0.7), (0.7, 1.0)]


def test_words_do_not_reach_into_a_pause() -> None:
    samples = sound((0.5, 0.3), (0.5, 0), (0.5, 0.2))
    assert times(samples, (0.0, 0.8), (0.8, 1.5)) == [(0.0, 0.52), (0.98, 1.5)]


def test_a_pause_within_a_word_stays() -> None:
    samples = sound((0.3, 0.3), (0.2, 0), (0.3, 0.3))
    assert times(samples, (0.0, 0.8)) == [(0.0, 0.8)]


def test_a_word_that_is_not_heard_keeps_its_times() -> None:
    samples = sound((0.5, 0.3), (0.5, 0), (0.5, 0.2))
    assert times(samples, (0.6, 0.9), (0.7, 0.7)) == [(0.6, 0.9), (0.7, 0.7)]


def test_weak_speech_is_no_silence() -> None:
    samples = sound((0.3, 0.03), (0.7, 0.3), (0.3, 0))
    assert times(samples, (0.0, 0.9)) == [(0.0, 0.9)]


def test_nothing_is_trimmed_in_noise_as_loud_as_speech() -> None:
    samples = sound((0.5, 0), (0.5, 0.3), noise=0.2)
    assert times(samples, (0.0, 1.0)) == [(0.0, 1.0)]


@pytest.mark.parametrize("length", [0, 1, 159, 160, 1600])
@pytest.mark.parametrize("value", [0.0, 1.0])
def test_constant_or_short_sound_has_no_silence(length: int, value: float) -> None:
    samples = np.full(length, value, dtype=np.float32)
    assert not silent_frames(samples, RATE_HZ).any()
    end_s = round(length / RATE_HZ, 3)
    assert times(samples, (0.0, end_s / 2), (end_s / 2, end_s)) == [
        (0.0, round(end_s / 2, 3)),
        (round(end_s / 2, 3), end_s),
    ]


@pytest.mark.parametrize("seed", range(20))
def test_words_only_become_shorter_and_stay_in_order(seed: int) -> None:
    random = np.random.default_rng(seed)
    parts = [(random.uniform(0.02, 0.4), random.choice([0, 0, 0.01, 0.3])) for _ in range(12)]
    samples = sound(*parts, noise=random.choice([0, 0.002, 0.1]))
    edges = np.sort(random.uniform(0, len(samples) / RATE_HZ, 13)).round(2)
    spans = list(zip(edges.tolist(), edges[1:].tolist(), strict=False))
    for (start_s, end_s), (new_start_s, new_end_s) in zip(spans, times(samples, *spans), strict=True):
        assert start_s <= new_start_s <= new_end_s <= end_s
        assert (new_start_s < new_end_s) == (start_s < end_s)
