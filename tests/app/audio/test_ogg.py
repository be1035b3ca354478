import io
import struct
from itertools import pairwise

import numpy as np
import pytest

from app.audio import AudioLimits, Waveform, decode
from app.audio.ogg import MAX_LINKS, checksum, links, ogg_length_s, pages
from app.errors import AudioTooLong
from tests.sounds import ENCODINGS, MODEL_HZ, by_ffmpeg, by_sndfile, speechlike, tone

LIMITS = AudioLimits(max_duration_s=60.0, max_decoded_bytes=1 << 28, max_channels=8)


def read(data: bytes, limits: AudioLimits = LIMITS) -> Waveform:
    return decode(io.BytesIO(data), MODEL_HZ, limits)


def sine(rate_hz: int, channels: int, codec: str, pitch_hz: int) -> bytes:
    """A second of it."""
    sound = tone(pitch_hz, 1.0, rate_hz)
    return by_sndfile(np.stack([sound] * channels, axis=1), rate_hz, "OGG", codec)


VORBIS, OPUS = sine(44_100, 2, "VORBIS", 440), sine(48_000, 1, "OPUS", 440)
OTHERS = {
    "the same": sine(44_100, 2, "VORBIS", 1_000),
    "another rate": sine(16_000, 2, "VORBIS", 1_000),
    "other channels": sine(44_100, 1, "VORBIS", 1_000),
    "another codec": sine(48_000, 1, "OPUS", 1_000),
    "opus of other channels": sine(48_000, 2, "OPUS", 1_000),
}


@pytest.mark.parametrize("name", OTHERS)
@pytest.mark.parametrize("first", [VORBIS, OPUS], ids=["vorbis", "opus"])
def test_each_link_of_a_chain_is_heard(first: bytes, name: str) -> None:
    """As a radio station writes that changes its quality."""
    for data, pitches in ((first + OTHERS[name], (440, 1_000)), (OTHERS[name] + first, (1_000, 440))):
        samples = read(data).samples
        assert len(samples) == pytest.approx(2 * MODEL_HZ, abs=MODEL_HZ // 25)
        for begin_s, pitch_hz in zip((0.25, 1.25), pitches, strict=True):
            half = samples[round(begin_s * MODEL_HZ) :][: MODEL_HZ // 2]
            assert 2 * np.abs(np.fft.rfft(half)).argmax() == pitch_hz


def test_links_are_found_by_their_first_pages() -> None:
    parts = [VORBIS, OPUS, VORBIS]
    places = np.cumsum([0, *map(len, parts)]).tolist()
    found = links(io.BytesIO(b"".join(parts)))
    assert found == list(pairwise(places))
    assert links(io.BytesIO(VORBIS)) == [(0, len(VORBIS))]
    assert links(io.BytesIO(b"")) == [(0, 0)]


def test_a_broken_link_costs_only_itself() -> None:
    data = VORBIS + b"OggS" + bytes(300) + OPUS
    assert read(data).duration_s == pytest.approx(2.0, abs=0.1)
    unreadable = bytearray(OPUS)
    unreadable[28:36] = b"OpusHurt"
    unreadable[22:26] = bytes(4)
    unreadable[22:26] = checksum(bytes(unreadable[: next(pages(bytes(unreadable))).end])).to_bytes(4, "little")
    assert len(links(io.BytesIO(VORBIS + unreadable + VORBIS))) == 3
    assert read(VORBIS + unreadable + VORBIS).duration_s == pytest.approx(2.0, abs=0.1)


def test_what_looks_like_a_first_page_inside_the_sound_is_none() -> None:
    assert links(io.BytesIO(VORBIS + b"OggS\0\2" + bytes(100) + b"OggS\0\2")) == [(0, len(VORBIS) + 112)]


def test_the_search_for_links_is_bounded() -> None:
    head = OPUS[: next(pages(OPUS)).end]
    assert len(links(io.BytesIO((head + b"?") * 5 * MAX_LINKS))) == MAX_LINKS


def test_limits_hold_for_all_links_together() -> None:
    assert read(OPUS * 3, AudioLimits(3.1, 1 << 28, 8)).duration_s == pytest.approx(3.0, abs=0.05)
    with pytest.raises(AudioTooLong):
        read(OPUS * 3, AudioLimits(2.5, 1 << 28, 8))


# Lengths


def length_of(data: bytes) -> float | None:
    return ogg_length_s(io.BytesIO(data))


def with_granules_later(ogg: bytes, granules: int) -> bytes:
    """The time stamps of all pages with sound moved so far."""
    data, place = bytearray(ogg), 0
    while place < len(data):
        end = place + next(pages(bytes(data[place:]))).end
        (granule,) = struct.unpack_from("<q", data, place + 6)
        if granule > 0:
            struct.pack_into("<q", data, place + 6, granule + granules)
            data[place + 22 : place + 26] = bytes(4)
            struct.pack_into("<I", data, place + 22, checksum(bytes(data[place:end])))
        place = end
    return bytes(data)


SPOKEN = by_ffmpeg(speechlike(6.0, 48_000), 48_000, "ogg", "libopus")


def test_checksums_are_those_of_ogg() -> None:
    assert with_granules_later(SPOKEN, 0) == SPOKEN


def test_a_recording_of_a_broadcast_does_not_begin_at_0() -> None:
    """Its time stamps say how long the broadcast has gone on; that is not its length."""
    late = with_granules_later(SPOKEN, 10 * 3600 * 48_000)
    assert length_of(late) == length_of(SPOKEN) == pytest.approx(5.0, abs=0.1)  # without the first page
    assert read(late).duration_s == pytest.approx(6.0, abs=0.05)


@pytest.mark.parametrize("kept", [0.9, 0.6])
def test_without_its_last_page(kept: float) -> None:
    assert length_of(SPOKEN[: round(kept * len(SPOKEN))]) == pytest.approx(6.0 * kept - 1.5, abs=0.6)


def test_the_lengths_of_links_add_up() -> None:
    vorbis = ENCODINGS["ogg vorbis"](speechlike(6.0), MODEL_HZ)
    one, other = length_of(SPOKEN), length_of(vorbis)
    assert one is not None
    assert other is not None
    assert length_of(SPOKEN + vorbis) == pytest.approx(one + other)


@pytest.mark.parametrize("data", [b"", b"OggS", b"OggS\0\2" + bytes(60), SPOKEN[:200]])
def test_no_length(data: bytes) -> None:
    assert length_of(data) is None
