import io
import struct
import zipfile
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import av
import numpy as np
import pytest
import soundfile

from app.audio import AudioLimits, Waveform, decode, decoder, ffmpeg
from app.audio.blocks import BLOCK_FRAMES, Block, Source
from app.errors import AsrError, AudioTooLong, InvalidAudio, UnsupportedMedia
from tests.sounds import (
    ENCODINGS,
    MODEL_HZ,
    Samples,
    amr,
    atoms,
    by_ffmpeg,
    by_sndfile,
    remuxed,
    speechlike,
    tone,
    wav,
    with_id3,
)

LIMITS = AudioLimits(max_duration_s=60.0, max_decoded_bytes=1 << 28, max_channels=8)
CLIP_S = 2.5


def read(data: bytes, limits: AudioLimits = LIMITS) -> Waveform:
    return decode(io.BytesIO(data), MODEL_HZ, limits)


@pytest.fixture(scope="module")
def clip() -> Samples:
    return speechlike(CLIP_S)


@pytest.fixture
def blocks(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Frames of every block that is decoded."""
    seen: list[int] = []

    def counting(open_file: Callable[..., Source | None]) -> Callable[..., Source | None]:
        def count(blocks: Iterator[Block]) -> Iterator[Block]:
            for block in blocks:
                seen.append(len(block.samples))
                yield block

        def opened(*arguments: Any) -> Source | None:
            source = open_file(*arguments)
            return None if source is None else source._replace(blocks=count(source.blocks))

        return opened

    for name in ("open_sndfile", "open_ffmpeg"):
        monkeypatch.setattr(decoder, name, counting(getattr(decoder, name)))
    return seen


# Every encoding

ONE_BIT_OF_16 = 1.0 / (1 << 15)
RESAMPLED = 3 * ONE_BIT_OF_16
LOSSLESS = {
    "wav u8": 1.0 / (1 << 7),
    "wav s16": ONE_BIT_OF_16,
    "wav s24": 2.0 ** -23,
    "wav s32": 2.0 ** -23,
    "wav f32": 0.0,
    "wav f64": 0.0,
    "wav 8 kHz": RESAMPLED,
    "wav 44.1 kHz": RESAMPLED,
    "wav 96 kHz": RESAMPLED,
    "wav stereo": ONE_BIT_OF_16,
    "wav 8 channels": ONE_BIT_OF_16,
    "wavex": ONE_BIT_OF_16,
    "rf64": ONE_BIT_OF_16,
    "bw64": ONE_BIT_OF_16,
    "w64": ONE_BIT_OF_16,
    "aiff": ONE_BIT_OF_16,
    "au": ONE_BIT_OF_16,
    "caf": ONE_BIT_OF_16,
    "caf alac": ONE_BIT_OF_16,
    "flac 16": ONE_BIT_OF_16,
    "flac 24": 2.0 ** -23,
    "flac 8 channels": ONE_BIT_OF_16,
    "ogg flac": ONE_BIT_OF_16,
    "mka flac": ONE_BIT_OF_16,
    "mp4 alac": ONE_BIT_OF_16,
    "mov pcm": ONE_BIT_OF_16,
}  # fmt: skip
"""Encoding -> largest error of a sample: the step of its numbers, and what resampling there and back adds."""


class Lossy(NamedTuple):
    """How close a lossy codec comes.

    correlation: with the clip, at least. delay_s: silence that the encoder puts before the sound and the file does not
    tell of. tail_s: what the last block, filled up, may add after it, or (below 0) what a filter's delay takes away.
    """

    correlation: float
    delay_s: float = 0.0
    tail_s: float = 0.0


AAC_FRAME = 1024
LOSSY = {
    "wav a-law 8 kHz": Lossy(0.999),
    "wav mu-law 8 kHz": Lossy(0.999),
    "wav gsm 8 kHz": Lossy(0.99, tail_s=2 * 320 / 8_000),
    "w64 gsm 8 kHz": Lossy(0.99, tail_s=2 * 320 / 8_000),
    "wav ms adpcm": Lossy(0.999, tail_s=1012 / 16_000),
    "wav g721 8 kHz": Lossy(0.99, tail_s=120 / 8_000),
    "au g721 8 kHz": Lossy(0.99, tail_s=120 / 8_000),
    "wav g722": Lossy(0.99, delay_s=22 / 16_000, tail_s=-22 / 16_000),
    "wav g726 8 kHz": Lossy(0.99),
    "wav g723.1 8 kHz": Lossy(0.99, delay_s=60 / 8_000, tail_s=2 * 240 / 8_000),
    "wav g729 8 kHz": Lossy(0.0),
    "wav vox 8 kHz": Lossy(0.98),
    "wav mp3": Lossy(0.99, delay_s=1105 / 16_000, tail_s=2 * 576 / 16_000),
    "wav ima adpcm": Lossy(0.999, tail_s=1017 / 16_000),
    "ogg vorbis": Lossy(0.999),
    "ogg opus": Lossy(0.99),
    "ogg opus by ffmpeg": Lossy(0.99),
    "mp3": Lossy(0.999),
    "mp3 by ffmpeg": Lossy(0.999),
    "mp3 id3": Lossy(0.999),
    "aac adts": Lossy(0.98, delay_s=AAC_FRAME / 44_100, tail_s=AAC_FRAME / 44_100),
    "m4a, moov last": Lossy(0.98, tail_s=AAC_FRAME / 44_100),
    "m4a, moov first": Lossy(0.98, tail_s=AAC_FRAME / 44_100),
    "m4a 7.1": Lossy(0.98, tail_s=AAC_FRAME / 48_000),
    "mp4 in fragments": Lossy(0.98, delay_s=AAC_FRAME / 48_000, tail_s=AAC_FRAME / 48_000),
    "webm opus": Lossy(0.99),
    "webm opus, live": Lossy(0.99),
    "amr": Lossy(0.0),
    "3gp amr": Lossy(0.0),
}


def test_every_encoding_is_tested() -> None:
    assert LOSSLESS.keys() ^ LOSSY.keys() == ENCODINGS.keys()
    assert len(ENCODINGS) >= 40


@pytest.mark.parametrize("name", LOSSLESS)
def test_lossless_encodings(name: str, clip: Samples) -> None:
    waveform = read(ENCODINGS[name](clip, MODEL_HZ))
    assert_waveform(waveform)
    assert waveform.duration_s == CLIP_S
    inner = slice(400, -400) if LOSSLESS[name] == RESAMPLED else slice(None)  # resampling rings at the ends
    np.testing.assert_allclose(waveform.samples[inner], clip[inner], rtol=0, atol=LOSSLESS[name])


@pytest.mark.parametrize("name", LOSSY)
def test_lossy_encodings(name: str, clip: Samples) -> None:
    expected = LOSSY[name]
    waveform = read(ENCODINGS[name](clip, MODEL_HZ))
    assert_waveform(waveform)
    tail_s = waveform.duration_s - CLIP_S - expected.delay_s
    assert min(0.0, expected.tail_s) <= tail_s <= expected.tail_s + 1 / MODEL_HZ
    if expected.correlation:
        delay = round(expected.delay_s * MODEL_HZ)
        heard = waveform.samples[delay : delay + len(clip)]
        assert np.corrcoef(heard, clip[: len(heard)])[0, 1] >= expected.correlation
        assert np.std(heard) == pytest.approx(np.std(clip), rel=0.1)


def assert_waveform(waveform: Waveform) -> None:
    assert (waveform.samples.dtype.name, waveform.samples.ndim, waveform.rate_hz) == ("float32", 1, MODEL_HZ)
    assert np.isfinite(waveform.samples).all()
    assert np.abs(waveform.samples).max() > 0.1


def test_amr_decodes_as_ffmpeg_does(clip: Samples) -> None:
    """There is no AMR encoder to make known sound with; both containers must at least hold the same noise."""
    raw, in_3gp = (read(ENCODINGS[name](clip, MODEL_HZ)).samples for name in ("amr", "3gp amr"))
    np.testing.assert_array_equal(raw, in_3gp)


@pytest.mark.parametrize("order", ["moov last", "moov first"])
def test_the_two_layouts_of_m4a_are_what_they_are_called(order: str, clip: Samples) -> None:
    places = {name: start for name, start, _ in atoms(ENCODINGS[f"m4a, {order}"](clip, MODEL_HZ))}
    assert (places[b"moov"] > places[b"mdat"]) == (order == "moov last")


# Mixing and resampling


def test_channels_are_averaged() -> None:
    left, right = tone(440, 0.5, MODEL_HZ), tone(1000, 0.5, MODEL_HZ)
    samples = read(wav(np.stack([left, right], axis=1), subtype="FLOAT")).samples
    np.testing.assert_allclose(samples, (left + right) / 2, atol=1e-7)


@pytest.mark.parametrize("encoding", ["FLAC", "WAV"])
def test_eight_channels_are_averaged(encoding: str) -> None:
    sound = np.stack([tone(200 * (channel + 1), 0.5, MODEL_HZ) for channel in range(8)], axis=1)
    samples = read(by_sndfile(sound, MODEL_HZ, encoding, "PCM_16")).samples
    np.testing.assert_allclose(samples, sound.mean(axis=1), atol=ONE_BIT_OF_16)


@pytest.mark.parametrize("rate_hz", [22_050, 44_100, 48_000, 96_000])
def test_resampling_folds_nothing_down(rate_hz: int) -> None:
    """10 kHz cannot be told at 16 kHz; without an anti-alias filter it would be heard at 6 kHz."""
    samples = read(wav(tone(10_000, 1.0, rate_hz), rate_hz, "FLOAT")).samples
    assert np.abs(samples[800:-800]).max() < 1e-4
    kept = read(wav(tone(3_000, 1.0, rate_hz), rate_hz, "FLOAT")).samples
    np.testing.assert_allclose(kept[800:-800], tone(3_000, 1.0, MODEL_HZ)[800:-800], atol=1e-3)


def test_blocks_leave_no_seams() -> None:
    """Longer than a block, at another rate: the tone goes through."""
    rate_hz = 44_100
    duration_s = 3.5 * BLOCK_FRAMES / rate_hz
    samples = read(wav(tone(1000, duration_s, rate_hz), rate_hz, "FLOAT")).samples
    expected = tone(1000, duration_s, MODEL_HZ)
    np.testing.assert_allclose(samples[400:-400], expected[400 : len(samples) - 400], atol=1e-3)


def test_the_file_may_stand_anywhere_and_stays_open(clip: Samples) -> None:
    file = io.BytesIO(wav(clip))
    file.seek(1000)
    assert decode(file, MODEL_HZ, LIMITS).duration_s == CLIP_S
    assert not file.closed


def test_any_rate_of_the_model(clip: Samples) -> None:
    waveform = decode(io.BytesIO(wav(clip)), 8_000, LIMITS)
    assert (waveform.rate_hz, waveform.duration_s) == (8_000, CLIP_S)


# Limits


def test_duration_up_to_the_limit() -> None:
    limits = AudioLimits(CLIP_S, LIMITS.max_decoded_bytes, LIMITS.max_channels)
    assert read(wav(speechlike(CLIP_S)), limits).duration_s == CLIP_S
    with pytest.raises(AudioTooLong) as caught:
        read(wav(speechlike(CLIP_S + 0.001)), limits)
    assert caught.value.details == {"max_duration_s": CLIP_S, "max_decoded_bytes": LIMITS.max_decoded_bytes}


@pytest.mark.parametrize("channels", [1, 2])
def test_decoded_bytes_up_to_the_limit(channels: int) -> None:
    sound = np.zeros((1000, channels), dtype=np.float32)
    assert read(wav(sound), AudioLimits(60.0, 4000 * channels, 8)).duration_s == 1000 / MODEL_HZ
    with pytest.raises(AudioTooLong):
        read(wav(sound), AudioLimits(60.0, 4000 * channels - 1, 8))


def test_decoded_bytes_stop_the_decoder(blocks: list[int]) -> None:
    with pytest.raises(AudioTooLong):
        read(wav(np.zeros((500_000, 8), dtype=np.int16)), AudioLimits(60.0, 1_000_000, 8))
    assert sum(blocks) <= BLOCK_FRAMES


@pytest.mark.parametrize("channels", [9, 255, 1024])
def test_too_many_channels(channels: int, blocks: list[int]) -> None:
    with pytest.raises(InvalidAudio, match=f"{channels} channels"):
        read(wav(np.zeros((10, channels))))
    assert blocks == []


@cache
def silent_flac(duration_s: int) -> bytes:
    file = io.BytesIO()
    minute = np.zeros(8_000 * 60, dtype=np.int16)
    with soundfile.SoundFile(file, "w", 8_000, 1, format="FLAC", subtype="PCM_16") as sound:
        for _ in range(duration_s // 60):
            sound.write(minute)
    return file.getvalue()


def silent_opus(container: str, duration_s: int) -> bytes:
    piece_s = 6
    piece = by_ffmpeg(np.zeros(48_000 * piece_s, dtype=np.float32), 48_000, "ogg", "libopus")
    return remuxed(piece, "ogg", container, duration_s // piece_s)


BOMB_S = 1200


@pytest.mark.parametrize(
    "bomb",
    [
        lambda: silent_flac(3600),
        lambda: with_flac_length(silent_flac(3600), 0),
        lambda: with_flac_length(silent_flac(3600), 16_000),
        lambda: silent_opus("ogg", BOMB_S),
        lambda: silent_opus("webm", BOMB_S),
        lambda: remuxed(by_sndfile(np.zeros(24_000), 24_000, "MP3", "MPEG_LAYER_III"), "mp3", "mp3", BOMB_S),
    ],
    ids=["flac", "flac of unknown length", "flac that says 2 s", "ogg opus", "webm opus", "mp3"],
)
def test_hours_in_a_small_file_are_refused_before_they_are_decoded(
    bomb: Callable[[], bytes], blocks: list[int]
) -> None:
    data = bomb()
    with pytest.raises(AudioTooLong):
        read(data, AudioLimits(30.0, 1 << 30, 8))
    assert sum(blocks) <= 30 * 48_000 + BLOCK_FRAMES


def with_flac_length(flac: bytes, frames: int) -> bytes:
    """The file with another number of frames (0: unknown) in its STREAMINFO: 36 bits from bit 108 on (RFC 9639)."""
    assert flac[:4] == b"fLaC"
    start = 8 + 13
    return (
        flac[:start]
        + bytes([flac[start] & 0xF0 | frames >> 32])
        + struct.pack(">I", frames & 0xFFFFFFFF)
        + flac[start + 5 :]
    )


@pytest.mark.parametrize("frames", [0, 1, 100_000, 0xFFFFFFFF])
def test_a_forged_mp3_header_does_not_count(frames: int, clip: Samples) -> None:
    mp3 = bytearray(ENCODINGS["mp3"](clip, MODEL_HZ))
    place = mp3.index(b"Xing") + 8
    mp3[place : place + 4] = frames.to_bytes(4, "big")
    assert read(bytes(mp3)).duration_s == pytest.approx(CLIP_S, abs=0.03)


def test_mp3_files_joined_to_one(clip: Samples) -> None:
    """As podcasts with inserted advertisements are: the first header tells of the first part only."""
    mp3 = ENCODINGS["mp3"](clip, MODEL_HZ)
    assert read(mp3 + mp3).duration_s == pytest.approx(2 * CLIP_S, abs=0.2)


@pytest.mark.parametrize(("rate_hz", "channels"), [(24_000, 1), (16_000, 2), (24_000, 2)])
def test_mp3_files_of_different_forms_joined_to_one(rate_hz: int, channels: int, clip: Samples) -> None:
    """The second part is heard as it would be alone, whichever of them comes first."""
    low = tone(440, 2.0, MODEL_HZ)
    high = np.stack([tone(1000, 2.0, rate_hz)] * channels, axis=1)
    one, other = by_sndfile(low, MODEL_HZ, "MP3", "MPEG_LAYER_III"), by_sndfile(high, rate_hz, "MP3", "MPEG_LAYER_III")
    for data, pitches in ((one + other, (440, 1000)), (other + one, (1000, 440))):
        samples = read(data).samples
        assert len(samples) == pytest.approx(4.0 * MODEL_HZ, abs=0.3 * MODEL_HZ)
        for begin_s, pitch_hz in zip((0.5, 2.5), pitches, strict=True):
            second = samples[int(begin_s * MODEL_HZ) :][:MODEL_HZ]
            assert np.abs(np.fft.rfft(second)).argmax() == pitch_hz


@pytest.mark.parametrize("subtype", ["VORBIS", "OPUS"])
def test_ogg_files_joined_to_one(subtype: str) -> None:
    """As recordings of a stream are: each link of the chain is heard."""
    links = (by_sndfile(tone(pitch_hz, 2.0, MODEL_HZ), MODEL_HZ, "OGG", subtype) for pitch_hz in (440, 1000))
    samples = read(b"".join(links)).samples
    assert len(samples) == pytest.approx(4.0 * MODEL_HZ, abs=0.1 * MODEL_HZ)
    for begin_s, pitch_hz in ((0.5, 440), (2.5, 1000)):
        second = samples[int(begin_s * MODEL_HZ) :][:MODEL_HZ]
        assert np.abs(np.fft.rfft(second)).argmax() == pitch_hz


def alac_bomb(frames: int) -> bytes:
    """An MP4 file whose first packet, of some hundred bytes, is `frames` frames of silence in ALAC.

    Source of the layout: FFmpeg's libavcodec/alac.c. A run of 65536 zeros is 26 bits.
    """
    data = bytearray(ENCODINGS["mp4 alac"](speechlike(1.0), MODEL_HZ))
    cookie = data.index(b"alac", data.index(b"alac") + 4)
    data[cookie + 8 : cookie + 12] = frames.to_bytes(4, "big")
    fields = [
        (0, 3), (0, 4), (0, 12), (1, 1), (0, 2), (0, 1), (frames, 32),  # single channel; with a size; compressed
        (0, 8), (0, 8), (0, 4), (1, 4), (4, 3), (0, 5),  # no prediction
    ]  # fmt: skip
    code = "".join(f"{value:0{bits}b}" for value, bits in fields)
    code += ("0" + "1" * (9 + 16)) * (frames // 65536) + "111"
    code += "0" * (-len(code) % 8)
    packet = int(code, 2).to_bytes(len(code) // 8, "big")
    start = next(start for name, start, _ in atoms(bytes(data)) if name == b"mdat") + 8
    data[start : start + len(packet)] = packet
    return bytes(data)


def test_a_packet_of_minutes_is_not_decoded(blocks: list[int]) -> None:
    assert read(alac_bomb(1 << 19)).duration_s >= (1 << 19) / MODEL_HZ  # this is how it works
    blocks.clear()
    assert read(alac_bomb(1 << 24)).duration_s <= 1.0
    assert sum(blocks) <= MODEL_HZ


def test_packets_that_cannot_be_decoded_are_silence(clip: Samples) -> None:
    """Such as AMR's comfort noise (frame type 8), which FFmpeg does not know: speech goes on behind it, in time."""
    speech, noise = amr(0.5), bytes([8 << 3 | 0b100, *range(5)])
    samples = read(speech + noise * 20 + speech[6:]).samples
    assert len(samples) == 1.4 * MODEL_HZ
    heard = [bool(np.abs(samples[int(s * MODEL_HZ) :][:1600]).max() > 0.01) for s in (0.1, 0.3, 0.6, 0.8, 1.0, 1.2)]
    assert heard == [True, True, False, False, True, True]


def test_packets_that_cannot_be_decoded_are_not_tried_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """A byte of AMR can be a frame that holds nothing: a file of them costs hours and counts to no other limit."""
    monkeypatch.setattr(ffmpeg, "MAX_BROKEN_S", 2.0)
    file = io.BytesIO(b"#!AMR\n" + bytes([15 << 3 | 0b100]) * 200_000)
    with pytest.raises(InvalidAudio, match="no audio"):
        decode(file, MODEL_HZ, LIMITS)
    assert file.tell() < 100_000  # FFmpeg reads ahead, but not to the end


@pytest.mark.parametrize(("container", "codec"), [("mp4", "aac"), ("matroska", "libopus"), ("matroska", "flac")])
@pytest.mark.parametrize("late_s", [0.0, 1.5])
def test_sound_that_starts_late_is_heard_late(container: str, codec: str, late_s: float) -> None:
    """In a film the sound may start after the picture; words have the time that a player shows."""
    waveform = read(film(tone(440, 1.0, 48_000), 48_000, container, codec, late_s))
    assert waveform.duration_s == pytest.approx(late_s + 1.0, abs=0.05)
    begin = int(np.flatnonzero(np.abs(waveform.samples) > 0.1)[0])
    assert begin / MODEL_HZ == pytest.approx(late_s, abs=0.03)


def film(samples: Samples, rate_hz: int, container: str, codec: str, late_s: float) -> bytes:
    """A film with a second of black before and behind its sound, which starts after `late_s`."""
    file = io.BytesIO()
    with av.open(file, "w", format=container) as output:
        picture = output.add_stream("mpeg4", rate=10)
        picture.width = picture.height = 64
        sound = output.add_stream(codec, rate=rate_hz, layout="mono")
        for number in range(30):
            black = av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), dtype=np.uint8), format="rgb24")
            black.pts = number
            output.mux(picture.encode(black))
        output.mux(picture.encode(None))
        assert isinstance(sound, av.AudioStream)
        resampler = av.AudioResampler(sound.format, sound.layout, rate_hz, frame_size=sound.codec_context.frame_size)
        whole = av.AudioFrame.from_ndarray(samples.reshape(1, -1), format="flt", layout="mono")
        whole.sample_rate, whole.pts = rate_hz, round(late_s * rate_hz)
        for frame in (*resampler.resample(whole), *resampler.resample(None), None):
            output.mux(sound.encode(frame))
    return file.getvalue()


def test_a_clock_that_was_set_is_no_silence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ffmpeg, "MAX_GAP_S", 1.0)
    waveform = read(film(tone(440, 1.0, 48_000), 48_000, "matroska", "flac", 1.5))
    assert waveform.duration_s == pytest.approx(1.0, abs=0.05)


# Broken headers and samples


def patched(data: bytes, place: int, layout: str, value: int) -> bytes:
    packed = struct.pack(layout, value)
    return data[:place] + packed + data[place + len(packed) :]


@pytest.mark.parametrize("rate_hz", [0, 1, 999, 768_001, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF])
def test_impossible_sample_rates(rate_hz: int, clip: Samples) -> None:
    with pytest.raises(InvalidAudio):
        read(patched(wav(clip), 24, "<I", rate_hz))


@pytest.mark.parametrize("channels", [0, 9, 255, 1025, 0xFFFF])
def test_impossible_channels(channels: int, clip: Samples) -> None:
    with pytest.raises(InvalidAudio):
        read(patched(wav(clip), 22, "<H", channels))


@pytest.mark.parametrize("size", [0xFFFFFFFF, 0x7FFFFFFF, 0x80000000])
def test_wav_as_programs_write_it_into_a_pipe(size: int, clip: Samples) -> None:
    data = patched(patched(wav(clip), 4, "<I", size), 40, "<I", size)
    np.testing.assert_array_equal(read(data).samples, read(wav(clip)).samples)


@pytest.mark.parametrize("frames", [0, 1_000, 0xFFFFFFFFF])
def test_flac_with_a_length_that_is_unknown_or_a_lie(frames: int, clip: Samples) -> None:
    flac = ENCODINGS["flac 16"](clip, MODEL_HZ)
    np.testing.assert_array_equal(read(with_flac_length(flac, frames)).samples, read(flac).samples)


@pytest.mark.parametrize("container", ["WAV", "AIFF", "AU", "CAF", "FLAC", "W64"])
def test_no_samples(container: str) -> None:
    with pytest.raises(InvalidAudio):
        read(by_sndfile(np.zeros(0, dtype=np.float32), MODEL_HZ, container, "PCM_16"))


@pytest.mark.parametrize("size", [12, 20, 36, 43, 44])
def test_a_wav_header_and_no_more(size: int, clip: Samples) -> None:
    with pytest.raises(InvalidAudio):
        read(wav(clip)[:size])


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 3e38, -1e30])
@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("rate_hz", [16_000, 44_100])
@pytest.mark.parametrize("subtype", ["FLOAT", "DOUBLE"])
def test_samples_that_are_no_numbers_or_absurd(value: float, channels: int, rate_hz: int, subtype: str) -> None:
    sound = np.zeros((1000, channels))
    sound[500, -1] = value
    with pytest.raises(InvalidAudio, match="infinity"):
        read(wav(sound, rate_hz, subtype))


def test_integers_stored_as_floats_are_taken_as_they_are() -> None:
    sound = np.array([0, 32767, -32768, 2.0**31])
    np.testing.assert_array_equal(read(wav(sound, subtype="FLOAT")).samples, sound.astype(np.float32))


@pytest.mark.parametrize("rate_hz", [8_000, 16_000, 44_100, 48_000, 192_000])
def test_one_sample(rate_hz: int) -> None:
    """Sound, if very little: of the faster rates not one sample is left."""
    assert len(read(wav(np.array([0.5]), rate_hz)).samples) == MODEL_HZ // rate_hz


@pytest.mark.parametrize("name", ["aac adts", "flac 16", "mp3", "ogg opus", "wav s16", "aiff", "m4a, moov first"])
def test_an_id3_tag_may_stand_before_other_formats_than_mp3(name: str, clip: Samples) -> None:
    data = ENCODINGS[name](clip, MODEL_HZ)
    np.testing.assert_array_equal(read(with_id3(data)).samples, read(data).samples)


# Files that are cut off

CUT = {
    "wav s16": 0.001,
    "wav 8 channels": 0.001,
    "flac 16": 0.3,
    "ogg flac": 1.0,
    "ogg vorbis": 1.5,
    "ogg opus": 1.2,
    "mp3": 0.1,
    "aac adts": 0.1,
    "m4a, moov first": 0.3,
    "mp4 in fragments": 0.7,
    "webm opus": 0.1,
    "amr": 0.03,
}
"""Encoding -> seconds that may be lost besides what was cut: a frame, or a page of Ogg; compressed clips are uneven."""


@pytest.mark.parametrize("name", CUT)
def test_the_part_before_the_cut_is_heard(name: str) -> None:
    sound = speechlike(5.0)
    data = ENCODINGS[name](sound, MODEL_HZ)
    waveform = read(data[: len(data) * 6 // 10])
    assert 3.0 - CUT[name] <= waveform.duration_s <= 3.0 + CUT[name]
    if name not in LOSSY:
        np.testing.assert_allclose(waveform.samples, sound[: len(waveform.samples)], atol=LOSSLESS[name])


def test_a_short_flac_that_is_cut_off() -> None:
    """Shorter than any block: what there is must not be lost with the block."""
    data = ENCODINGS["flac 16"](speechlike(2.0), MODEL_HZ)
    assert read(data[: len(data) * 8 // 10]).duration_s >= 1.0


@pytest.mark.parametrize("name", ["m4a, moov last", "mp4 alac", "mov pcm"])
@pytest.mark.parametrize("part", [0.5, 0.95])
def test_an_m4a_file_cut_before_its_index_is_broken(name: str, part: float, clip: Samples) -> None:
    data = ENCODINGS[name](clip, MODEL_HZ)
    with pytest.raises((InvalidAudio, UnsupportedMedia)):
        read(data[: int(len(data) * part)])


# What is no sound


def _zip() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("sound.wav", wav(speechlike(0.1)))
    return file.getvalue()


def _avi() -> bytes:
    """Sound, but in a container that is not on the list."""
    return by_ffmpeg(speechlike(0.5), MODEL_HZ, "avi", "pcm_s16le")


NO_SOUND = {
    "text": b"This is no sound.\n" * 100,
    "utf-16 text": "Ses değil.\n".encode("utf-16") * 100,
    "utf-16-be text": b"\xfe\xff" + "Ses değil.\n".encode("utf-16-be") * 100,
    "html": b"<!DOCTYPE html><html><audio src=http://127.0.0.1:9/a.mp3></audio></html>",
    "zip": _zip(),
    "png": b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + bytes(500),
    "jpeg": b"\xff\xd8\xff\xe0\0\x10JFIF" + bytes(500),
    "elf": b"\x7fELF\x02\x01\x01" + bytes(500),
    "pdf": b"%PDF-1.7\n" + bytes(500),
    "avi": _avi(),
    "m3u8": b"#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\nfile:///etc/passwd\n#EXT-X-ENDLIST\n",
    "sdp": b"v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=x\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 9 RTP/AVP 0\r\n",
    "concat": b"ffconcat version 1.0\nfile /etc/passwd\n",
    "dash": b'<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011"><BaseURL>file:///a</BaseURL></MPD>',
    "pls": b"[playlist]\nFile1=http://127.0.0.1:9/a.mp3\n",
    "null bytes": bytes(1000),
    "one byte": b"R",
    "riff of something": b"RIFF\x10\0\0\0CDXA" + bytes(100),
}  # fmt: skip


@pytest.mark.parametrize("name", NO_SOUND)
def test_what_is_no_sound(name: str) -> None:
    with pytest.raises(UnsupportedMedia) as caught:
        read(NO_SOUND[name])
    assert {"wav", "mp3", "mp4", "webm"} <= set(caught.value.details["supported"])


def test_an_empty_file() -> None:
    with pytest.raises(InvalidAudio, match="empty"):
        read(b"")


@pytest.mark.parametrize("codec", ["ac3", "eac3"])
def test_codecs_of_films_that_are_not_read(codec: str) -> None:
    data = by_ffmpeg(tone(440, 1.0, 48_000), 48_000, "matroska", codec)
    with pytest.raises(UnsupportedMedia, match="codec"):
        read(data)


@pytest.mark.parametrize("tag", [0x0000, 0x0161, 0xABCD])
def test_codecs_that_are_not_read(tag: int, clip: Samples) -> None:
    """Windows Media in a WAV file, and codecs that nobody knows."""
    with pytest.raises((UnsupportedMedia, InvalidAudio)):
        read(patched(wav(clip), 20, "<H", tag))


def test_a_container_without_sound() -> None:
    file = io.BytesIO()
    with av.open(file, "w", format="webm") as output:
        stream = output.add_stream("libvpx", rate=5)
        assert isinstance(stream, av.VideoStream)
        stream.width = stream.height = 16
        for part in (av.VideoFrame(16, 16, "yuv420p"), None):
            output.mux(stream.encode(part))
    with pytest.raises(UnsupportedMedia, match="no audio"):
        read(file.getvalue())


def with_data_reference(mov: bytes, name: bytes) -> bytes:
    """The MOV file, whose sound is now said to lie in the file `name` beside it: an alias in its `dref` atom.

    Layout: QuickTime File Format, "Data reference atoms"; the alias record as FFmpeg's mov_read_dref reads it.
    """
    path = b"/" + name
    record = bytearray(150)
    record[10] = 4
    record[10:38] = bytes([4]) + b"disk".ljust(27, b"\0")
    record[50:114] = bytes([len(name)]) + name.ljust(63, b"\0")
    record[130:134] = struct.pack(">hh", 1, 1)  # levels from this file up to the folder, and down to the other
    full = path + b"\0" * (len(path) % 2)
    record += struct.pack(">hH", 2, len(path)) + full + struct.pack(">hH", -1, 0)
    alias = struct.pack(">I4sI", 12 + len(record), b"alis", 0) + bytes(record)
    dref = struct.pack(">I4sII", 16 + len(alias), b"dref", 0, 1) + alias
    return _replaced(mov, [b"moov", b"trak", b"mdia", b"minf", b"dinf", b"dref"], dref)


def _replaced(data: bytes, path: list[bytes], atom: bytes) -> bytes:
    for name, start, end in atoms(data):
        if name == path[0]:
            inner = data[start + 8 : end]
            new = atom if len(path) == 1 else struct.pack(">I4s", 0, name) + _replaced(inner, path[1:], atom)
            new = struct.pack(">I", len(new)) + new[4:]
            return data[:start] + new + data[end:]
    raise AssertionError(f"no {path[0]!r}")


def test_a_mov_file_that_names_another_file_does_not_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clip: Samples
) -> None:
    monkeypatch.chdir(tmp_path)
    mov = ENCODINGS["mov pcm"](clip, MODEL_HZ)  # its index is behind the sound, so the sound's place stays right
    Path("other").write_bytes(mov)
    referring = with_data_reference(mov, b"other")
    Path("referring.mov").write_bytes(referring)
    options = {"enable_drefs": "1", "use_absolute_path": "1"}
    with av.open("referring.mov", "r", format="mov", options=options) as container:
        assert sum(frame.samples for frame in container.decode(audio=0)) == len(clip)  # FFmpeg can be made to follow
    with pytest.raises(InvalidAudio, match="no audio"):
        read(referring)


# Anything at all

MUTATED = [
    "wav s16", "wav ima adpcm", "rf64", "w64", "aiff", "au", "caf alac", "flac 16", "ogg vorbis", "ogg opus", "mp3",
    "mp3 id3", "aac adts", "m4a, moov last", "m4a 7.1", "mp4 in fragments", "mp4 alac", "webm opus", "mka flac",
    "3gp amr",
]  # fmt: skip
ROUNDS = 30


@pytest.mark.parametrize("name", MUTATED)
def test_broken_files_raise_nothing_but_our_errors(name: str) -> None:
    """Seeded garbage: behind the magic number, in the header, anywhere, and with pieces missing."""
    random = np.random.default_rng(len(name) * 1000 + ord(name[0]))
    data = ENCODINGS[name](speechlike(0.4), MODEL_HZ)
    errors = 0
    for number in range(ROUNDS):
        mutated = bytearray(data)
        match number % 4:
            case 0:
                mutated[random.integers(12, 60) :] = random.bytes(1000)
            case 1:
                mutated[random.integers(4, 200)] = random.integers(256)
            case 2:
                for place in random.integers(4, len(data), 10):
                    mutated[place] = random.integers(256)
            case 3:
                place = random.integers(12, len(data) - 12)
                del mutated[place : place + random.integers(1, 100)]
        try:
            waveform = read(bytes(mutated))
        except AsrError as error:
            assert type(error) in {InvalidAudio, UnsupportedMedia, AudioTooLong}
            errors += 1
        else:
            assert np.isfinite(waveform.samples).all()
    assert errors
