import numpy as np
import pytest

from app.audio.blocks import Samples
from app.audio.resampling import MonoBlock, resampled
from tests.sounds import MODEL_HZ, tone

BLOCK = 65_536


def blocks_of(samples: Samples, rate_hz: int, size: int = BLOCK) -> list[MonoBlock]:
    return [MonoBlock(samples[start : start + size], rate_hz) for start in range(0, len(samples), size)]


def joined(blocks: list[MonoBlock]) -> Samples:
    return np.concatenate(list(resampled(iter(blocks), MODEL_HZ)))


def gain_db(frequency_hz: float, rate_hz: int) -> float:
    """What becomes of a sine, wherever in the spectrum it is found again."""
    samples = joined(blocks_of(tone(frequency_hz, 3.0, rate_hz, amplitude=1.0), rate_hz))
    inner = samples[MODEL_HZ:-MODEL_HZ].astype(np.float64)
    return float(20 * np.log10(np.sqrt(2) * inner.std() + 1e-12))


RATES = [22_050, 32_000, 44_100, 48_000, 96_000]


@pytest.mark.parametrize("rate_hz", RATES)
def test_the_pass_band_is_flat(rate_hz: int) -> None:
    assert [gain_db(hz, rate_hz) for hz in (50, 300, 3_400, 6_000, 7_300)] == pytest.approx([0.0] * 5, abs=0.01)


@pytest.mark.parametrize("rate_hz", RATES)
def test_nothing_above_the_new_nyquist_frequency_is_folded_down(rate_hz: int) -> None:
    tones = [hz for hz in (8_000, 8_050, 8_500, 9_600, 12_000, 20_000) if hz < rate_hz / 2]
    assert max(gain_db(hz, rate_hz) for hz in tones) < -120


def test_telephone_speech_loses_nothing() -> None:
    assert [gain_db(hz, 8_000) for hz in (50, 300, 3_400, 3_650)] == pytest.approx([0.0] * 4, abs=0.01)


@pytest.mark.parametrize("size", [1, 7, 1_000, 44_100])
def test_blocks_of_any_size_are_resampled_alike(size: int) -> None:
    samples = tone(1_000, 0.3, 44_100)
    np.testing.assert_allclose(
        joined(blocks_of(samples, 44_100, size)), joined([MonoBlock(samples, 44_100)]), atol=1e-6
    )


def test_the_models_own_rate_is_left_as_it_is() -> None:
    samples = tone(1_000, 1.0, MODEL_HZ)
    np.testing.assert_array_equal(joined(blocks_of(samples, MODEL_HZ, 1_000)), samples)


@pytest.mark.parametrize("rates_hz", [(8_000, 16_000, 44_100), (44_100, 8_000, 44_100), (16_000, 48_000, 16_000)])
def test_parts_of_different_rates_are_whole(rates_hz: tuple[int, ...]) -> None:
    parts = [
        blocks_of(tone(hz, 1.0, rate_hz), rate_hz) for hz, rate_hz in zip((440, 1_000, 440), rates_hz, strict=True)
    ]
    samples = joined([block for part in parts for block in part])
    assert len(samples) == 3 * MODEL_HZ
    for start, hz in zip((0, MODEL_HZ, 2 * MODEL_HZ), (440, 1_000, 440), strict=True):
        heard = samples[start + 400 : start + MODEL_HZ - 400]
        np.testing.assert_allclose(heard, tone(hz, 1.0, MODEL_HZ)[400:-400], atol=1e-3)


def test_nothing_in_nothing_out() -> None:
    assert list(resampled(iter([]), MODEL_HZ)) == []
