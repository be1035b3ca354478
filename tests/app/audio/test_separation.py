import io
from collections.abc import Callable

import numpy as np
import pytest

from app.audio import AudioLimits, Waveform, decode, decode_channels, separation
from app.audio.blocks import Samples
from app.errors import AudioTooLong, InvalidAudio
from app.recognizer import ChannelMode
from scripts.tools.call_recordings import RATE_HZ, Stereo, panned
from tests.calls import call
from tests.sounds import by_sndfile, speechlike, wav

LIMITS = AudioLimits(max_duration_s=4000.0, max_decoded_bytes=1 << 30, max_channels=16)


def decoded(
    file: bytes, mode: ChannelMode, meter: Callable[[float], object] = lambda seconds: None, rate_hz: int = RATE_HZ
) -> list[Waveform]:
    return decode_channels(io.BytesIO(file), rate_hz, LIMITS, mode, meter)


def mixed(file: bytes) -> Samples:
    return decode(io.BytesIO(file), RATE_HZ, LIMITS).samples


def stereo_wav(stereo: Stereo) -> bytes:
    return wav(stereo, RATE_HZ, "FLOAT")


@pytest.mark.parametrize("mode", ["auto", "separate"])
def test_the_sides_of_a_call_stay_apart_as_they_are(mode: ChannelMode) -> None:
    clean = call()
    left, right = decoded(stereo_wav(clean.stereo), mode)
    assert (left.channel, right.channel) == (0, 1)
    assert np.array_equal(left.samples, clean.left)
    assert np.array_equal(right.samples, clean.right)


def test_mix_mixes_them() -> None:
    (waveform,) = decoded(stereo_wav(call().stereo), "mix")
    assert waveform.channel is None
    assert np.array_equal(waveform.samples, mixed(stereo_wav(call().stereo)))


def test_auto_mixes_one_room_and_separate_does_not() -> None:
    file = stereo_wav(panned(call(), 6))
    (waveform,) = decoded(file, "auto")
    assert waveform.channel is None
    assert np.allclose(waveform.samples, mixed(file), atol=1e-6)
    assert len(decoded(file, "separate")) == 2


@pytest.mark.parametrize("gain", [1.0, 0.25, -1.0])
@pytest.mark.parametrize("mode", ["auto", "separate"])
def test_a_copy_is_kept_once(mode: ChannelMode, gain: float) -> None:
    mono = call().left
    (waveform,) = decoded(stereo_wav(np.stack([mono, mono * np.float32(gain)], axis=1)), mode)
    assert waveform.channel is None
    assert np.abs(waveform.samples).max() > 0.5 * np.abs(mono).max()


def test_copies_among_several_channels_are_left_out() -> None:
    clean = call()
    file = wav(np.stack([clean.left, clean.left, clean.right, clean.left], axis=1), RATE_HZ, "FLOAT")
    assert [waveform.channel for waveform in decoded(file, "separate")] == [0, 2]
    assert [waveform.channel for waveform in decoded(file, "auto")] == [None]


def test_mono_stays_mono() -> None:
    (waveform,) = decoded(wav(speechlike(1.0)), "separate")
    assert waveform.channel is None


def test_only_so_many_channels_can_be_separated() -> None:
    file = wav(np.tile(speechlike(0.1)[:, np.newaxis], 9))
    with pytest.raises(InvalidAudio, match="at most 8"):
        decoded(file, "separate")
    assert len(decoded(file, "auto")) == 1


def test_other_rates() -> None:
    file = by_sndfile(call().stereo, RATE_HZ, "FLAC", "PCM_16")
    left, right = decoded(file, "separate", rate_hz=8_000)
    assert len(left.samples) == len(right.samples) == pytest.approx(len(call().left) / 2, abs=2)
    assert left.duration_s == pytest.approx(len(call().left) / RATE_HZ, abs=0.001)


def test_a_part_of_a_chained_file_with_other_channels_becomes_the_first_one() -> None:
    mono, stereo = speechlike(1.0), np.stack([0.5 * speechlike(1.0), speechlike(2.0)[RATE_HZ:]], axis=1)
    stereo[: RATE_HZ // 2, 0] = 0
    file = by_sndfile(stereo, RATE_HZ, "OGG", "VORBIS") + by_sndfile(mono, RATE_HZ, "OGG", "VORBIS")
    left, right = decoded(file, "separate")
    assert len(left.samples) == len(right.samples) == pytest.approx(2 * RATE_HZ, abs=RATE_HZ // 10)
    assert np.abs(left.samples[-RATE_HZ // 2 :]).max() > 0.1
    assert not right.samples[-RATE_HZ // 2 :].any()


@pytest.mark.parametrize(
    ("mode", "stereo", "factor"),
    [
        ("mix", call().stereo, 1),
        ("auto", call().stereo, 2),
        ("separate", call().stereo, 2),
        ("auto", panned(call(), 3), 1),
        ("separate", np.stack([call().left, call().left], axis=1), 1),
    ],
)
def test_every_channel_that_is_kept_is_metered(mode: ChannelMode, stereo: Stereo, factor: int) -> None:
    seconds: list[float] = []
    decoded(stereo_wav(stereo), mode, seconds.append)
    assert sum(seconds) == pytest.approx(factor * len(stereo) / RATE_HZ)


def test_a_long_recording_of_one_room_is_mixed_early(monkeypatch: pytest.MonkeyPatch) -> None:
    """So its second channel is metered, and in memory, only up to there."""
    monkeypatch.setattr(separation, "EARLY_S", 10.0)
    stereo, seconds = panned(call(), 3), list[float]()
    file = stereo_wav(stereo)
    (waveform,) = decoded(file, "auto", seconds.append)
    duration_s = len(stereo) / RATE_HZ
    assert sum(seconds) == pytest.approx(duration_s)
    assert max(np.cumsum(seconds)) < duration_s + 15
    assert np.allclose(waveform.samples, mixed(file), atol=1e-6)


def test_a_long_call_is_not_mixed_early(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor one in which only one side has spoken by then."""
    monkeypatch.setattr(separation, "EARLY_S", 5.0)
    assert len(decoded(stereo_wav(call(-0.3).stereo), "auto")) == 2


def test_limits_hold_for_separate_channels() -> None:
    with pytest.raises(AudioTooLong):
        decode_channels(io.BytesIO(stereo_wav(call().stereo)), RATE_HZ, AudioLimits(5.0, 1 << 30, 8), "separate")
