from itertools import pairwise

import numpy as np
import pytest

from app.families.whisper.windows import MIN_LONGEST_SAMPLES, cut
from app.silero import CHUNK_SAMPLES, RATE_HZ
from app.voice_activity import Probabilities, Span, speech_spans

LONGEST = 28 * RATE_HZ
MAX_PAUSE = 2 * RATE_HZ


def certain(duration_s: float) -> Probabilities:
    """Nothing but speech, shape (chunks,), float32."""
    return np.ones(-(-round(duration_s * RATE_HZ) // CHUNK_SAMPLES), dtype=np.float32)


def seconds(*bounds: tuple[float, float]) -> list[Span]:
    return [Span(round(start_s * RATE_HZ), round(end_s * RATE_HZ)) for start_s, end_s in bounds]


def windows_of(*bounds: tuple[float, float]) -> list[Span]:
    return cut(seconds(*bounds), certain(bounds[-1][1] if bounds else 0), LONGEST, MAX_PAUSE)


def test_a_clip_without_speech_has_no_windows() -> None:
    assert windows_of() == []


def test_speech_that_fits_shares_a_window() -> None:
    assert windows_of((0.5, 4), (5, 9), (11, 28.5)) == seconds((0.5, 28.5))


def test_a_window_ends_before_speech_that_does_not_fit() -> None:
    assert windows_of((0.5, 4), (5, 9), (10, 28.6)) == seconds((0.5, 9), (10, 28.6))


def test_a_window_includes_no_long_pause() -> None:
    assert windows_of((0, 4), (6, 9), (11.1, 12)) == seconds((0, 9), (11.1, 12))


def test_speech_of_exactly_the_limit_is_not_cut() -> None:
    assert windows_of((3, 31)) == seconds((3, 31))


def test_longer_speech_is_cut_where_it_is_quietest() -> None:
    probabilities = certain(40)
    quiet, at_the_start = 700, 100  # 22.4 s; the other lies in the first half of a window
    probabilities[quiet - 2 : quiet + 3] = 0.6
    probabilities[at_the_start - 2 : at_the_start + 3] = 0.4
    probabilities[800] = 0.2  # a single chunk within a word
    seam = quiet * CHUNK_SAMPLES + CHUNK_SAMPLES // 2
    (speech,) = seconds((0, 40))
    assert cut([speech], probabilities, LONGEST, MAX_PAUSE) == [Span(0, seam), Span(seam, speech.end)]


def test_without_a_quiet_place_windows_are_as_long_as_possible() -> None:
    windows = windows_of((0, 100))
    assert [round(window.length / RATE_HZ) for window in windows] == [28, 28, 28, 16]


def test_the_rest_of_long_speech_shares_a_window_with_what_follows() -> None:
    first, second = windows_of((0, 40), (41, 45))
    assert first.end == second.start
    assert second.end == 45 * RATE_HZ


def test_a_limit_without_room_for_a_cut_is_refused() -> None:
    with pytest.raises(ValueError, match="shorter than"):
        cut([], certain(1), MIN_LONGEST_SAMPLES - 1, 0)


@pytest.mark.parametrize("seed", range(200))
def test_all_speech_is_in_one_window_each_short_enough(seed: int) -> None:
    random = np.random.default_rng(seed)
    chunks = int(random.integers(1, 4_000))
    samples = chunks * CHUNK_SAMPLES - int(random.integers(0, CHUNK_SAMPLES))
    runs = np.repeat(random.uniform(0, 1, chunks) < random.uniform(0.05, 0.95), random.integers(1, 60))[:chunks]
    probabilities = (runs * random.uniform(0.3, 1.0, chunks)).astype(np.float32)
    longest = int(random.integers(MIN_LONGEST_SAMPLES, 40 * RATE_HZ))
    max_pause = int(random.integers(0, 5 * RATE_HZ))
    spans = speech_spans(probabilities, samples)

    windows = cut(spans, probabilities, longest, max_pause)

    assert windows == cut(spans, probabilities.copy(), longest, max_pause)
    assert all(0 < window.length <= longest for window in windows)
    assert all(before.end <= after.start for before, after in pairwise(windows))
    speech, computed = np.zeros(samples, dtype=bool), np.zeros(samples, dtype=bool)
    for span in spans:
        speech[span.start : span.end] = True
    for window in windows:
        computed[window.start : window.end] = True
    assert not (speech & ~computed).any()
    assert all(speech[window.start] and speech[window.end - 1] for window in windows)
    pauses = np.flatnonzero(np.diff(np.concatenate([[1], speech, [1]]) * 1)).reshape(-1, 2)
    assert all(end - start <= max_pause for start, end in pauses if computed[start:end].any())
