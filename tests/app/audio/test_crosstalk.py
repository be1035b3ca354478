import numpy as np
import pytest

from app.audio.blocks import Samples
from app.audio.crosstalk import find_leak, mute_crosstalk
from scripts.tools.call_recordings import RATE_HZ, Call, Stereo, by_channel, with_crosstalk, with_noise
from scripts.training.augment import rms, through_telephone
from tests.calls import call


def muted(stereo: Stereo) -> tuple[Samples, Samples]:
    left, right = stereo[:, 0].copy(), stereo[:, 1].copy()
    mute_crosstalk(left, right, RATE_HZ)
    return left, right


def alone(call: Call) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Samples at which only the left side speaks, and that are well away from where the right one does."""
    speaks = np.convolve(np.abs(call.right) > 0, np.ones(RATE_HZ // 2), "same") > 0
    return ~speaks & (np.abs(call.left) > 0)


@pytest.mark.parametrize("gain_db", [-20, -30, -40])
@pytest.mark.parametrize("delay_s", [0.0, 0.004, 0.15])
def test_crosstalk_is_silenced_and_speech_is_not(gain_db: float, delay_s: float) -> None:
    clean = call()
    stereo = with_crosstalk(clean, gain_db, delay_s)
    leak = find_leak(stereo[:, 1].copy(), stereo[:, 0].copy(), RATE_HZ)
    assert leak is not None
    assert 10 * np.log10(leak.gain) == pytest.approx(gain_db, abs=1)
    assert leak.delay / RATE_HZ == pytest.approx(delay_s, abs=0.001)
    for before, after, side in zip(stereo.T, muted(stereo), (clean.left, clean.right), strict=True):
        loud = np.abs(side) > 0.02
        assert np.array_equal(before[loud], after[loud])
    only_left = alone(clean)
    assert rms(muted(stereo)[1][only_left]) < 0.2 * rms(stereo[only_left, 1])


def test_crosstalk_through_a_telephone() -> None:
    clean = call()
    stereo = by_channel(with_crosstalk(clean, -25), lambda side: through_telephone(side, mu_law=True))
    only_left = alone(clean)
    assert rms(muted(stereo)[1][only_left]) < 0.3 * rms(stereo[only_left, 1])


def test_channels_without_crosstalk_are_not_changed() -> None:
    for stereo in (call().stereo, call(0.5).stereo, with_noise(call().stereo, 30), with_noise(call().stereo, 15)):
        assert all(np.array_equal(*pair) for pair in zip(muted(stereo), stereo.T, strict=True))


@pytest.mark.parametrize("samples", [0, 1, 5000])
def test_short_clips(samples: int) -> None:
    left, right = np.ones((2, samples), dtype=np.float32)
    mute_crosstalk(left, right, RATE_HZ)
    assert left.sum() == right.sum() == samples
