import io
from pathlib import Path

import av
import numpy as np
import pytest

from app.audio import AudioLimits, decode, sniff
from scripts.load_testing import encoding
from scripts.load_testing.encoding import DEFAULT_FORMATS, FORMATS, FULL_SCALE, encode, encode_once, formats_of
from scripts.load_testing.load_clips import short_clips

READ_AS = {"wav": "wav", "opus": "ogg", "webm": "webm", "mp3": "mp3", "m4a": "mp4"}
CODECS = {"wav": "pcm_s16le", "opus": "opus", "webm": "opus", "mp3": "mp3float", "m4a": "aac"}


@pytest.mark.parametrize("name", FORMATS)
def test_an_encoded_clip_has_the_same_audio(name: str) -> None:
    clip = short_clips("3")[0]
    file = io.BytesIO(encode(clip.pcm, clip.rate_hz, name))
    assert sniff(file) == READ_AS[name]
    decoded = decode(file, clip.rate_hz, AudioLimits(60.0, 1 << 28, 8)).samples
    assert len(decoded) == pytest.approx(len(clip.pcm), abs=0.05 * clip.rate_hz)
    original = clip.pcm / FULL_SCALE
    spectrum = np.fft.rfft(original, 1 << 17) * np.fft.rfft(decoded, 1 << 17).conj()
    similarity = np.fft.irfft(spectrum).max() / (np.linalg.norm(original) * np.linalg.norm(decoded))
    assert similarity > 0.9, "at the best delay: encoders insert silence at the start"


@pytest.mark.parametrize("name", FORMATS)
def test_files_have_common_codecs_and_rates(name: str) -> None:
    clip, form = short_clips("2")[0], FORMATS[name]
    with av.open(io.BytesIO(encode(clip.pcm, clip.rate_hz, name))) as file:
        (stream,) = file.streams.audio
        assert stream.codec_context.name == CODECS[name]
        assert stream.rate == (form.rate_hz or clip.rate_hz)
        assert stream.channels == av.AudioLayout(form.layout).nb_channels


@pytest.mark.parametrize("name", FORMATS)
def test_a_clip_is_the_same_file_every_time(name: str) -> None:
    """Locust's workers must send the clips that another process has requested the reference texts for."""
    clip = short_clips("2")[0]
    assert encode(clip.pcm, clip.rate_hz, name) == encode(clip.pcm, clip.rate_hz, name)


def test_a_clip_is_encoded_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = short_clips("2,3")[:2]
    once = [encode_once(clip.pcm, clip.rate_hz, "opus", tmp_path / "cache") for clip in (one, other)]
    assert once == [encode(clip.pcm, clip.rate_hz, "opus") for clip in (one, other)]
    monkeypatch.setattr(encoding, "encode", None)
    assert once == [encode_once(clip.pcm, clip.rate_hz, "opus", tmp_path / "cache") for clip in (one, other)]
    assert len(list((tmp_path / "cache").iterdir())) == 2


def test_a_folder_that_cannot_be_written_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    clip = short_clips("2")[0]
    assert encode_once(clip.pcm, clip.rate_hz, "opus", tmp_path / "file") == encode(clip.pcm, clip.rate_hz, "opus")


def test_a_mix_names_known_formats_once() -> None:
    assert formats_of("opus, mp3") == ["opus", "mp3"]
    assert set(formats_of(DEFAULT_FORMATS)) < set(FORMATS)
    for wrong in ("", "ogg", "wav,", "wav,wav"):
        with pytest.raises(ValueError, match=r"there is no format|lists a format twice"):
            formats_of(wrong)
