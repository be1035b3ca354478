import io

import numpy as np
import pytest
from scipy.signal import correlate

from app.audio import AudioLimits, Waveform, decode
from app.audio.mpeg import (
    MAX_FRAME_BYTES,
    MAX_PADDING_BYTES,
    MIN_FRAMES,
    MIN_FRAMES_TO_END,
    find_stream,
    mp3_length_s,
    parse_frame,
)
from app.errors import UnsupportedMedia
from tests.sounds import ENCODINGS, MODEL_HZ, by_ffmpeg, by_sndfile, speechlike, with_id3

LIMITS = AudioLimits(max_duration_s=60.0, max_decoded_bytes=1 << 28, max_channels=8)
CLIP = speechlike(3.0)
STREAMS = {
    "mp3": by_sndfile(CLIP, MODEL_HZ, "MP3", "MPEG_LAYER_III"),
    "mp3 at 44.1 kHz": ENCODINGS["mp3"](CLIP, MODEL_HZ),
    "mp2": by_ffmpeg(CLIP, MODEL_HZ, "mp2", "mp2"),
    "aac": ENCODINGS["aac adts"](CLIP, MODEL_HZ),
}


def read(data: bytes) -> Waveform:
    return decode(io.BytesIO(data), MODEL_HZ, LIMITS)


def place_of(data: bytes) -> int | None:
    found = find_stream(io.BytesIO(data))
    return None if found is None else found[1]


def frames_of(data: bytes) -> list[int]:
    """Where the frames begin."""
    places, place = [], 0
    while (frame := parse_frame(data[place : place + 7])) is not None:
        places.append(place)
        place += frame.size_bytes
    return places


@pytest.mark.parametrize("name", STREAMS)
def test_headers_lead_from_frame_to_frame(name: str) -> None:
    data = STREAMS[name]
    places = frames_of(data)
    assert len(places) > 40
    last = parse_frame(data[places[-1] :])
    assert last is not None
    assert places[-1] + last.size_bytes >= len(data) - 128  # a tag may stand behind


def assert_heard(data: bytes, lost_s: float) -> None:
    """The clip but for so much at its beginning, and a few frames that need those before them."""
    whole = read(data)
    assert whole.duration_s == pytest.approx(CLIP.size / MODEL_HZ - lost_s, abs=0.2)
    heard = whole.samples[MODEL_HZ:-MODEL_HZ]
    lags = correlate(CLIP, heard[:8_000], "valid")
    assert lags.max() >= 0.95 * np.square(heard[:8_000]).sum()


@pytest.mark.parametrize("name", STREAMS)
@pytest.mark.parametrize("zeros", [1, 512, 4_096, 100_000, MAX_PADDING_BYTES - 1])
def test_zeros_before_the_first_frame(name: str, zeros: int) -> None:
    data = bytes(zeros) + STREAMS[name]
    assert place_of(data) == zeros
    assert_heard(data, 0.0)


@pytest.mark.parametrize("name", STREAMS)
@pytest.mark.parametrize("part", [0.1, 0.5, 0.99])
@pytest.mark.parametrize("zeros", [0, 600])
def test_a_stream_that_begins_in_mid_frame(name: str, part: float, zeros: int) -> None:
    """As pieces of a live stream do."""
    places = frames_of(STREAMS[name])
    cut = places[5] + round(part * (places[6] - places[5]))
    data = bytes(zeros) + STREAMS[name][cut:]
    assert place_of(data) == zeros + places[6] - cut
    assert_heard(data, 3.0 * 6 / len(places))


@pytest.mark.parametrize("name", ["mp3", "aac"])
def test_zeros_behind_a_tag(name: str) -> None:
    assert_heard(with_id3(bytes(3_000) + STREAMS[name]), 0.0)


@pytest.mark.parametrize("name", STREAMS)
def test_a_short_stream_counts_if_it_ends_with_the_file(name: str) -> None:
    places = frames_of(STREAMS[name])
    three = STREAMS[name][places[4] : places[4 + MIN_FRAMES_TO_END]]
    assert place_of(b"\0" + three) == 1
    assert place_of(b"\0" + three + b"something else") is None
    assert place_of(b"\0" + STREAMS[name][places[4] : places[4 + MIN_FRAMES_TO_END - 1]]) is None
    eight = STREAMS[name][places[4] : places[4 + MIN_FRAMES]]
    assert place_of(b"\0" + eight + b"something else") == 1


@pytest.mark.parametrize("zeros", [MAX_PADDING_BYTES + MAX_FRAME_BYTES + 1, 2 * MAX_PADDING_BYTES])
def test_the_search_is_bounded(zeros: int) -> None:
    with pytest.raises(UnsupportedMedia):
        read(bytes(zeros) + STREAMS["mp3"])


def test_noise_is_no_stream() -> None:
    random = np.random.default_rng(0)
    for _ in range(30):
        assert place_of(random.bytes(100_000)) is None
        syncs = np.frombuffer(random.bytes(100_000), dtype=np.uint8).copy()
        syncs[::2] = 0xFF  # a sync word everywhere
        assert place_of(syncs.tobytes()) is None
    assert place_of(b"\xff" * 200_000) is None
    assert place_of(b"\xff\xfb" * 100_000) is None


# The length that MP3 tells


def length_of(data: bytes) -> float | None:
    return mp3_length_s(io.BytesIO(data))


def with_frames(mp3: bytes, frames: int) -> bytes:
    """The file with another number of frames in its Xing header."""
    place = max(mp3.find(b"Xing"), mp3.find(b"Info")) + 8
    return mp3[:place] + frames.to_bytes(4, "big") + mp3[place + 4 :]


@pytest.mark.parametrize("container", ["mp3", "mp3 by ffmpeg", "mp3 at 44.1 kHz"])
def test_the_frames_of_the_xing_header(container: str) -> None:
    data = STREAMS.get(container) or ENCODINGS[container](CLIP, MODEL_HZ)
    assert length_of(data) == pytest.approx(3.0, abs=0.15)


@pytest.mark.parametrize("frames", [100_000, 0xFFFFFFFF])
def test_more_frames_than_fit_in_the_file_are_a_lie(frames: int) -> None:
    assert length_of(with_frames(STREAMS["mp3 at 44.1 kHz"], frames)) is None


def constant_bit_rate(duration_s: float, bit_rate: int) -> bytes:
    """Without a Xing header, as streams and hardware write it."""
    return by_ffmpeg(
        speechlike(duration_s),
        MODEL_HZ,
        "mp3",
        "libmp3lame",
        options={"write_xing": "0", "id3v2_version": "0"},
        bit_rate=bit_rate,
    )


def test_a_constant_bit_rate_gives_the_length() -> None:
    assert length_of(constant_bit_rate(20.0, 32_000)) == pytest.approx(20.0, abs=0.3)


def test_a_varying_bit_rate_gives_no_length() -> None:
    """Such as joined files: all of a file's places have to agree."""
    assert length_of(constant_bit_rate(10.0, 32_000) + constant_bit_rate(10.0, 64_000)) is None


def test_the_fraunhofer_header() -> None:
    mp3 = constant_bit_rate(5.0, 32_000)
    header = b"VBRI" + bytes(2 + 2 + 2 + 4) + (139).to_bytes(4, "big")
    assert length_of(mp3[:36] + header + mp3[36 + len(header) :]) == pytest.approx(139 * 576 / MODEL_HZ)


def test_other_files_declare_no_length() -> None:
    assert length_of(STREAMS["aac"]) is None
    assert length_of(b"") is None
    assert length_of(b"\xff\xfb") is None
