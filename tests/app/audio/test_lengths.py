"""What a file tells of its length, and that nothing of a file is decoded that tells one above the limit."""

import io
import struct
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from functools import cache
from typing import Any

import av
import numpy as np
import pytest

from app.audio import AudioLimits, decode, decoder, ffmpeg
from app.audio.blocks import Block
from app.audio.formats import find_format
from app.audio.lengths import declared_length_s
from app.errors import AudioTooLong
from tests.sounds import ENCODINGS, MODEL_HZ, by_ffmpeg, by_sndfile, remuxed, speechlike

LIMITS = AudioLimits(max_duration_s=30.0, max_decoded_bytes=1 << 28, max_channels=8)
LONG_S, SHORT_S = 45, 6


def told(data: bytes) -> float | None:
    file = io.BytesIO(data)
    return declared_length_s(find_format(file).name, file)


@pytest.fixture
def nothing_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> Iterator[Block]:
        raise AssertionError("a block was asked for")
        yield

    monkeypatch.setattr(ffmpeg, "ffmpeg_blocks", refuse)
    monkeypatch.setattr(decoder, "checked", refuse)


@cache
def silent(container: str, duration_s: int) -> bytes:
    """Silence in a few hundred bytes a second."""
    match container:
        case "flac":
            return by_sndfile(np.zeros(8_000 * duration_s), 8_000, "FLAC", "PCM_16")
        case "mka flac":
            return remuxed(silent("flac", duration_s), "flac", "matroska")
        case "ogg flac":
            return remuxed(silent("flac", duration_s), "flac", "ogg")
        case "ogg vorbis":
            return by_sndfile(np.zeros(24_000 * duration_s), 24_000, "OGG", "VORBIS")
        case "mp3":
            return by_sndfile(np.zeros(16_000 * duration_s), 16_000, "MP3", "MPEG_LAYER_III")
        case "mp3 of a constant bit rate":
            options = {"write_xing": "0"}
            return by_ffmpeg(
                np.zeros(16_000 * duration_s, dtype=np.float32), 16_000, "mp3", "libmp3lame", options=options
            )
        case "wav":
            return by_sndfile(np.zeros(8_000 * duration_s), 8_000, "WAV", "ULAW")
        case "m4a":
            return by_ffmpeg(np.zeros(16_000 * duration_s, dtype=np.float32), 16_000, "ipod", "aac")
    piece = by_ffmpeg(np.zeros(48_000 * 3, dtype=np.float32), 48_000, "ogg", "libopus")
    return remuxed(piece, "ogg", container, duration_s // 3)


TELLING = [
    "flac",
    "ogg",
    "ogg vorbis",
    "ogg flac",
    "webm",
    "mka flac",
    "mp4",
    "m4a",
    "mp3",
    "mp3 of a constant bit rate",
    "wav",
]


@pytest.mark.usefixtures("nothing_is_decoded")
@pytest.mark.parametrize("container", TELLING)
def test_a_file_that_declares_too_long_a_duration_is_not_decoded(container: str) -> None:
    data = silent(container, LONG_S)
    assert len(data) < 16_000 * LONG_S
    with pytest.raises(AudioTooLong, match="longer than 30 s"):
        decode(io.BytesIO(data), MODEL_HZ, LIMITS)


@pytest.mark.usefixtures("nothing_is_decoded")
@pytest.mark.parametrize("container", TELLING)
def test_decoded_bytes_count_as_well(container: str) -> None:
    with pytest.raises(AudioTooLong, match="bytes decoded"):
        decode(io.BytesIO(silent(container, LONG_S)), MODEL_HZ, AudioLimits(60.0, 4 * 8_000 * LONG_S // 2, 8))


@pytest.mark.parametrize("container", TELLING)
def test_what_is_short_enough_is_read(container: str) -> None:
    waveform = decode(io.BytesIO(silent(container, SHORT_S)), MODEL_HZ, LIMITS)
    assert waveform.duration_s == pytest.approx(SHORT_S, abs=0.2)


@pytest.mark.parametrize("container", [name for name in TELLING if name not in ("wav", "mp4", "m4a")])
def test_declared_lengths(container: str) -> None:
    first_page_s = 255 * 0.02 + 1.0 if container.startswith("ogg") else 0.0  # counted from its end
    told_s = told(silent(container, LONG_S))
    assert told_s is not None
    assert LONG_S - first_page_s - 0.1 <= told_s <= LONG_S + 0.1


# Matroska and WebM


def with_duration(webm: bytes, duration: float) -> bytes:
    place = webm.index(b"\x44\x89\x88") + 3  # Duration, 8 bytes
    return webm[:place] + struct.pack(">d", duration) + webm[place + 8 :]


@pytest.mark.parametrize("duration", [0.0, -5.0, float("nan"), float("inf"), 10.0])
def test_webm_whose_duration_is_wrong_or_too_short_is_read(duration: float) -> None:
    webm = with_duration(ENCODINGS["webm opus"](speechlike(2.0), MODEL_HZ), duration)
    assert decode(io.BytesIO(webm), MODEL_HZ, LIMITS).duration_s == pytest.approx(2.0, abs=0.05)


def test_webm_whose_duration_is_too_long_is_refused() -> None:
    """It would be read if it were decoded, but it says so itself."""
    webm = with_duration(ENCODINGS["webm opus"](speechlike(2.0), MODEL_HZ), 31_000.0)
    with pytest.raises(AudioTooLong):
        decode(io.BytesIO(webm), MODEL_HZ, LIMITS)


def test_a_duration_that_the_clusters_do_not_reach_does_not_count() -> None:
    """FFmpeg writes days into some that it remuxes; it begins clusters with a checksum."""
    vorbis = ENCODINGS["ogg vorbis"](speechlike(0.5), MODEL_HZ)
    mka = with_duration(remuxed(vorbis, "ogg", "matroska"), 97_391_748.0)
    limits = replace(LIMITS, max_duration_s=60.0)
    assert decode(io.BytesIO(mka), MODEL_HZ, limits).duration_s == pytest.approx(0.5, abs=0.1)


def live(duration_s: int) -> bytes:
    """As browsers record: no duration, clusters of unknown size."""
    piece = by_ffmpeg(np.zeros(48_000 * 3, dtype=np.float32), 48_000, "ogg", "libopus")
    file = io.BytesIO()
    with (
        av.open(io.BytesIO(piece), "r", format="ogg") as given,
        av.open(file, "w", format="webm", options={"live": "1", "cluster_time_limit": "5000"}) as output,
    ):
        stream = output.add_stream_from_template(given.streams.audio[0])
        packets = [bytes(packet) for packet in given.demux(given.streams.audio[0]) if packet.dts is not None]
        for number in range(duration_s * 50):
            packet = av.Packet(packets[number % len(packets)])
            packet.stream, packet.time_base = stream, Fraction(1, 48_000)
            packet.pts = packet.dts = number * 960
            packet.duration = 960
            output.mux(packet)
    return file.getvalue()


@pytest.mark.usefixtures("nothing_is_decoded")
def test_a_browsers_recording_has_its_length_in_its_last_cluster() -> None:
    data = live(LONG_S)
    assert b"\x44\x89" not in data[:500]
    assert told(data) == pytest.approx(LONG_S - 2.5, abs=2.6)  # the beginning of a cluster of 5 s
    with pytest.raises(AudioTooLong):
        decode(io.BytesIO(data), MODEL_HZ, LIMITS)


def test_a_short_recording_of_a_browser_is_read() -> None:
    assert decode(io.BytesIO(live(SHORT_S)), MODEL_HZ, LIMITS).duration_s == pytest.approx(SHORT_S, abs=0.05)


# Anything at all


@pytest.mark.parametrize("container", ["flac", "ogg", "ogg vorbis", "webm", "mp3"])
def test_broken_headers_raise_nothing(container: str) -> None:
    random = np.random.default_rng(len(container))
    data = silent(container, SHORT_S)
    for number in range(200):
        broken = bytearray(data)
        for place in random.integers(4, min(400, len(data)), number % 7 + 1):
            broken[place] = random.integers(256)
        cut = bytes(broken[: random.integers(1, len(broken))])
        for part in (bytes(broken), cut):
            length_s = declared_length_s(container.split()[0], io.BytesIO(part))
            assert length_s is None or 0 <= length_s < float("inf")
