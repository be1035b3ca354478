import io
import struct

import numpy as np
import pytest

from app.audio import AudioLimits, Waveform, decode, sniff
from app.audio.unfinished import with_repaired_sizes
from app.errors import InvalidAudio
from tests.sounds import ENCODINGS, MODEL_HZ, Samples, by_sndfile, chunk, speechlike, wav

LIMITS = AudioLimits(max_duration_s=60.0, max_decoded_bytes=1 << 28, max_channels=8)
CLIP = speechlike(1.5)
RESERVED_32 = [0, 1, 36, 44, 4_080, 4_096, 0x7FFFFFFF, 0x80000000, 0xFFFFFFDB, 0xFFFFFFFF]
RESERVED_64 = [0, 24, 36, 4_096, -1, -24, 1 << 40, (1 << 63) - 1]


def read(data: bytes) -> Waveform:
    return decode(io.BytesIO(data), MODEL_HZ, LIMITS)


def patched(data: bytes, place: int, layout: str, *values: int) -> bytes:
    packed = struct.pack(layout, *values)
    return data[:place] + packed + data[place + len(packed) :]


def riff(*chunks: bytes, magic: bytes = b"RIFF") -> bytes:
    body = b"WAVE" + b"".join(chunks)
    return magic + struct.pack("<I", len(body)) + body


def assert_whole(data: bytes, sound: Samples = CLIP) -> None:
    np.testing.assert_allclose(read(data).samples, sound, atol=1 / (1 << 15))


PCM = (CLIP * 32_767).round().astype("<i2").tobytes()
FORM = chunk(b"fmt ", struct.pack("<HHIIHH", 1, 1, MODEL_HZ, 2 * MODEL_HZ, 2, 16))
TAGS = chunk(b"LIST", b"INFOISFT" + struct.pack("<I", 6) + b"Dikte\0")


@pytest.mark.parametrize("size", RESERVED_32)
@pytest.mark.parametrize("whole", [0, 36, 0xFFFFFFFF, None])
def test_wav_whose_sizes_nobody_came_back_to_write(size: int, whole: int | None) -> None:
    data = patched(wav(CLIP), 40, "<I", size)
    assert_whole(data if whole is None else patched(data, 4, "<I", whole))


@pytest.mark.parametrize("size", RESERVED_32)
def test_wav_of_big_endian_numbers(size: int) -> None:
    form = struct.pack(">4sIHHIIHH", b"fmt ", 16, 1, 1, MODEL_HZ, 2 * MODEL_HZ, 2, 16)
    pcm = np.frombuffer(PCM, "<i2").astype(">i2").tobytes()
    assert_whole(b"RIFX\0\0\0\0WAVE" + form + struct.pack(">4sI", b"data", size) + pcm)


def test_wav_with_chunks_before_the_sound() -> None:
    """macOS fills up to 4096 bytes; tags and broadcast extensions stand there, too."""
    filler = chunk(b"FLLR", bytes(4_008))
    for size in (0, 36, len(PCM) // 2, 0xFFFFFFFF):
        assert_whole(riff(FORM, TAGS, filler, b"data" + struct.pack("<I", size) + PCM))


@pytest.mark.parametrize("behind", [TAGS, TAGS + chunk(b"id3 ", b"ID3\4\0\0\0\0\0\1?"), chunk(b"bext", bytes(602))])
def test_chunks_behind_the_sound_are_no_sound(behind: bytes) -> None:
    assert len(read(riff(FORM, chunk(b"data", PCM), behind)).samples) == len(CLIP)


@pytest.mark.parametrize("aligned", [True, False])
def test_chunks_behind_an_odd_number_of_bytes(aligned: bool) -> None:
    form = chunk(b"fmt ", struct.pack("<HHIIHH", 1, 1, MODEL_HZ, MODEL_HZ, 1, 8))
    sound = b"data" + struct.pack("<I", 1_001) + bytes([128]) * 1_001 + b"\0" * aligned
    for behind in (b"", TAGS):
        assert len(read(riff(form, sound, behind)).samples) == 1_001


def test_wav_that_really_holds_nothing() -> None:
    for data in (riff(FORM, chunk(b"data", b"")), riff(FORM, chunk(b"data", b""), TAGS), riff(FORM, TAGS)):
        with pytest.raises(InvalidAudio):
            read(data)


@pytest.mark.parametrize("magic", [b"RF64", b"BW64"])
@pytest.mark.parametrize("size", [*RESERVED_64, None])
@pytest.mark.parametrize("short", [0, 0xFFFFFFFF])
def test_rf64_and_bw64(magic: bytes, size: int | None, short: int) -> None:
    """size: all of the 64-bit sizes; None: the right ones. short: what stands in the 32 bits of the old field."""
    right = len(PCM)
    sizes = (size,) * 3 if size is not None else (right + 80, right, right // 2)
    ds64 = chunk(b"ds64", struct.pack("<qqqI", *sizes, 0))
    data = riff(ds64, FORM, b"data" + struct.pack("<I", short) + PCM, magic=magic)
    assert_whole(patched(data, 4, "<I", 0xFFFFFFFF))


def test_rf64_keeps_what_is_behind_its_sound_apart() -> None:
    ds64 = chunk(b"ds64", struct.pack("<qqqI", 0, len(PCM), 0, 0))
    data = riff(ds64, FORM, b"data" + struct.pack("<I", 0xFFFFFFFF) + PCM, TAGS, magic=b"BW64")
    assert_whole(data)


def test_bw64_without_its_first_chunk_is_wav() -> None:
    assert_whole(riff(FORM, chunk(b"data", PCM), magic=b"BW64"))


@pytest.mark.parametrize("size", RESERVED_64)
@pytest.mark.parametrize("whole", [0, -1, None])
def test_w64_through_a_pipe(size: int, whole: int | None) -> None:
    data = by_sndfile(CLIP, MODEL_HZ, "W64", "PCM_16")
    place = data.index(b"data") + 16
    data = patched(data, place, "<q", size)
    assert_whole(data if whole is None else patched(data, 16, "<q", whole))


@pytest.mark.parametrize("size", [0, 8, 36, 0x7FFFFFFF, 0xFFFFFFFF])
@pytest.mark.parametrize("frames", [0, None])
def test_aiff(size: int, frames: int | None) -> None:
    data = by_sndfile(CLIP, MODEL_HZ, "AIFF", "PCM_16")
    data = patched(patched(data, data.index(b"SSND") + 4, ">I", size), 4, ">I", size)
    assert_whole(data if frames is None else patched(data, data.index(b"COMM") + 10, ">I", frames))


@pytest.mark.parametrize("size", [0, 36, 0x7FFFFFFF, 0xFFFFFFFF])
def test_au(size: int) -> None:
    assert_whole(patched(by_sndfile(CLIP, MODEL_HZ, "AU", "PCM_16"), 8, ">I", size))


@pytest.mark.parametrize("size", [0, 4, 36, -1, 1 << 40])
def test_caf(size: int) -> None:
    data = by_sndfile(CLIP, MODEL_HZ, "CAF", "PCM_16")
    assert_whole(patched(data, data.index(b"data") + 4, ">q", size))


@pytest.mark.parametrize("name", ["wav gsm 8 kHz", "wav ima adpcm", "wav g722", "wav g726 8 kHz", "wav a-law 8 kHz"])
def test_other_codecs_in_wav(name: str) -> None:
    data = ENCODINGS[name](CLIP, MODEL_HZ)
    place = data.index(b"data") + 4
    np.testing.assert_array_equal(read(patched(data, place, "<I", 0)).samples, read(data).samples)


@pytest.mark.parametrize(
    "name", ["wav s16", "wav 8 channels", "wavex", "aiff", "au", "caf", "caf alac", "w64", "flac 16"]
)
def test_a_file_that_is_right_is_read_as_it_is(name: str) -> None:
    file = io.BytesIO(ENCODINGS[name](CLIP, MODEL_HZ))
    assert with_repaired_sizes(file, sniff(file)) is file


@pytest.mark.parametrize("name", ["wav s16", "rf64", "bw64", "w64", "aiff", "caf"])
def test_headers_cut_anywhere(name: str) -> None:
    data = ENCODINGS[name](CLIP, MODEL_HZ)
    begin = max(data.find(b"data"), data.find(b"SSND")) + 4
    for size in range(16, begin):
        with pytest.raises(InvalidAudio):
            read(data[:size])
