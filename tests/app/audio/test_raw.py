import io
from random import Random

import numpy as np
import pytest

from app.audio import AudioLimits, decode
from app.audio.raw import RawPcm
from app.errors import InvalidAudio
from tests.sounds import MODEL_HZ, speechlike, wav

LIMITS = AudioLimits(max_duration_s=4000.0, max_decoded_bytes=1 << 30, max_channels=8)
SAMPLES = np.round(speechlike(2.0) * 32767).astype("<i2").tobytes()


def test_samples_are_decoded_as_they_are() -> None:
    waveform = decode(RawPcm(io.BytesIO(SAMPLES), MODEL_HZ), MODEL_HZ, LIMITS)  # type: ignore[arg-type]
    assert np.array_equal(waveform.samples, np.frombuffer(SAMPLES, "<i2") / np.float32(32768))


def test_it_is_the_file_that_libsndfile_writes() -> None:
    assert RawPcm(io.BytesIO(SAMPLES), MODEL_HZ).read() == wav(np.frombuffer(SAMPLES, "<i2"))


def test_it_is_read_in_any_pieces() -> None:
    whole = RawPcm(io.BytesIO(SAMPLES), MODEL_HZ).read()
    file, random = RawPcm(io.BytesIO(SAMPLES), MODEL_HZ), Random(1)
    for _ in range(200):
        start, count = random.randrange(len(whole) + 50), random.choice([1, 10, 44, 5000])
        assert file.seek(start) == file.tell() == start
        assert file.read(count) == whole[start : start + count]
    assert file.seek(-10, io.SEEK_END) == len(whole) - 10
    assert file.seek(-100) == 0


def test_an_odd_byte_is_left_out_and_a_limit_is_kept() -> None:
    assert len(RawPcm(io.BytesIO(SAMPLES[:1001]), MODEL_HZ).read()) == 44 + 1000
    assert len(RawPcm(io.BytesIO(SAMPLES), MODEL_HZ, longest_s=0.5).read()) == 44 + MODEL_HZ


def test_no_samples_are_no_audio() -> None:
    with pytest.raises(InvalidAudio):
        decode(RawPcm(io.BytesIO(b""), MODEL_HZ), MODEL_HZ, LIMITS)  # type: ignore[arg-type]


def test_it_closes_the_file() -> None:
    inner = io.BytesIO(SAMPLES)
    RawPcm(inner, MODEL_HZ).close()
    assert inner.closed
