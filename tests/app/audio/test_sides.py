"""The figures of many more calls, of other voices, are in `docs/channels.md`."""

import numpy as np
import pytest

from app.audio.blocks import Samples
from app.audio.sides import compare_levels, same_sound, two_sides
from scripts.tools.call_recordings import RATE_HZ, Recording
from tests.calls import all_variants, call

NAMES = [recording.name for recording in all_variants()]
COPIES = {
    *("copy", "copy, one channel 12 dB quieter", "copy, inverted", "copy, noise at -25 dB", "copy, MP3, smallest"),
    *("copy, Opus, smallest", "call, Opus, so small that it is mono", "copy, G.711 of 6 dB less", "silence"),
}


def channels(recording: Recording) -> tuple[Samples, Samples]:
    return recording.stereo[:, 0].copy(), recording.stereo[:, 1].copy()


@pytest.mark.parametrize("recording", all_variants(), ids=NAMES)
def test_two_sides_of_a_call_are_told_from_a_room_and_from_music(recording: Recording) -> None:
    assert two_sides(*channels(recording), RATE_HZ) == recording.separate


@pytest.mark.parametrize("recording", all_variants(), ids=NAMES)
def test_a_copy_is_told_from_everything_else(recording: Recording) -> None:
    left, right = channels(recording)
    assert same_sound(left, right, RATE_HZ) == same_sound(right, left, RATE_HZ) == (recording.name in COPIES)


def test_one_word_in_one_channel_makes_it_no_copy() -> None:
    """Not even at the very end, of less than a block."""
    left = call().left + call().right
    for start in (RATE_HZ, len(left) - RATE_HZ // 5):
        right = left.copy()
        right[start : start + RATE_HZ // 5] += 0.1 * np.sin(0.3 * np.arange(RATE_HZ // 5), dtype=np.float32)
        assert same_sound(left, left.copy(), RATE_HZ)
        assert not same_sound(left, right, RATE_HZ)


@pytest.mark.parametrize("samples", [0, 1, 100, 600])
def test_almost_no_sound(samples: int) -> None:
    left = np.full(samples, 0.1, dtype=np.float32)
    assert same_sound(left, left, RATE_HZ)
    assert not two_sides(left, -left, RATE_HZ)


def test_the_time_of_each_side() -> None:
    """A tone of a second on the left, and one of two on the right, in part at the same time."""
    tone = 0.1 * np.sin(0.3 * np.arange(2 * RATE_HZ), dtype=np.float32)
    left, right = np.zeros((2, 6 * RATE_HZ), dtype=np.float32)
    left[RATE_HZ : 2 * RATE_HZ] = tone[:RATE_HZ]
    right[3 * RATE_HZ // 2 : 7 * RATE_HZ // 2] = tone
    found = compare_levels(left, right, RATE_HZ)
    assert (found.active_s, found.left_s, found.right_s) == pytest.approx((2.5, 0.5, 1.5), abs=0.07)
    assert found.own_share == pytest.approx(0.8, abs=0.03)
