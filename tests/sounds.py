"""Sound for the tests, made when it is needed: no sound files are kept for them.

`ENCODINGS` are the ways in which phones, browsers, telephone systems and programs store one clip.
"""

import io
import struct
import tempfile
from collections.abc import Callable, Iterator
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import Any

import av
import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

Samples = NDArray[np.float32]
Encoder = Callable[[Samples, int], bytes]

MODEL_HZ = 16_000
SAME_EVERY_TIME = {"fflags": "+bitexact"}
"""FFmpeg's muxers write no random identifiers and no version."""
AMR_FRAME_S = 0.02
AMR_NB_12_2_KBIT = 7
"""Frame type of the highest of the AMR-NB modes (RFC 4867, section 3.6): 244 bits, in 31 bytes."""


@lru_cache(maxsize=32)
def speechlike(duration_s: float, rate_hz: int = MODEL_HZ) -> Samples:
    """Four syllables a second of a gliding voice, nothing above 3 kHz; shape (samples,), float32 in -0.5..0.5.

    Not to be changed.
    """
    time_s = np.arange(round(duration_s * rate_hz)) / rate_hz
    phase = 2 * np.pi * (140 * time_s + 20 / (2 * np.pi * 0.7) * np.sin(2 * np.pi * 0.7 * time_s))
    voice = sum(np.sin(harmonic * phase) / harmonic for harmonic in range(1, 18))
    syllables = np.sin(np.pi * 4 * time_s) ** 2
    sound = (0.25 * syllables * voice).astype(np.float32)
    sound.setflags(write=False)
    return sound


def tone(frequency_hz: float, duration_s: float, rate_hz: int, amplitude: float = 0.5) -> Samples:
    """A sine, shape (samples,), float32."""
    time_s = np.arange(round(duration_s * rate_hz)) / rate_hz
    return (amplitude * np.sin(2 * np.pi * frequency_hz * time_s)).astype(np.float32)


def wav(samples: NDArray[Any], rate_hz: int = MODEL_HZ, subtype: str = "PCM_16") -> bytes:
    """A WAV file. samples: shape (samples,) or (samples, channels)."""
    return by_sndfile(samples, rate_hz, "WAV", subtype)


def two_sides(duration_s: float = 10.0) -> bytes:
    """Two who speak every other second, in turn."""
    voice = speechlike(duration_s)
    odd = (np.arange(len(voice)) // MODEL_HZ % 2).astype(bool)
    return wav(np.stack([np.where(odd, 0, voice), np.where(odd, voice, 0)], axis=1))


def by_sndfile(samples: NDArray[Any], rate_hz: int, container: str, subtype: str) -> bytes:
    """A file made by libsndfile; names as `soundfile.available_subtypes()` has them.

    Written in pieces: of a minute at once, libsndfile's Vorbis encoder overflows the stack.
    """
    file = io.BytesIO()
    channels = 1 if samples.ndim == 1 else samples.shape[1]
    with soundfile.SoundFile(file, "w", rate_hz, channels, subtype, format=container) as sound:
        for start in range(0, len(samples), 1 << 16):
            sound.write(samples[start : start + (1 << 16)])
    return file.getvalue()


def by_ffmpeg(
    samples: Samples,
    rate_hz: int,
    container: str,
    codec: str,
    layout: str = "mono",
    options: dict[str, str] | None = None,
    bit_rate: int | None = None,
) -> bytes:
    """A file made by FFmpeg's muxer `container` and encoder `codec`. On disk: some muxers read their own file.

    layout: of the channels, as FFmpeg names it; each gets the same samples.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "sound"
        with av.open(path, "w", format=container, options=SAME_EVERY_TIME | (options or {})) as output:
            stream = output.add_stream(codec, rate=rate_hz, layout=layout)
            assert isinstance(stream, av.AudioStream)
            if bit_rate:
                stream.bit_rate = bit_rate
            interleaved = np.repeat(samples, av.AudioLayout(layout).nb_channels)[np.newaxis]
            frame = av.AudioFrame.from_ndarray(interleaved, format="flt", layout=layout)
            frame.sample_rate, frame.pts, frame.time_base = rate_hz, 0, Fraction(1, rate_hz)
            for part in (frame, None):
                output.mux(stream.encode(part))
        return path.read_bytes()


def amr(duration_s: float) -> bytes:
    """An AMR-NB file of noise: FFmpeg has no encoder for it, but any bits are a valid frame (RFC 4867, section 5)."""
    bits = np.random.default_rng(0)
    header = bytes([AMR_NB_12_2_KBIT << 3 | 0b100])
    frames = (header + bits.bytes(31) for _ in range(round(duration_s / AMR_FRAME_S)))
    return b"#!AMR\n" + b"".join(frames)


def wav_in_codec(tag: int, data: bytes, rate_hz: int, bits: int, block_bytes: int, bytes_per_s: int) -> bytes:
    """A mono WAV file of such data. tag: of the codec, as Microsoft's mmreg.h has them."""
    form = struct.pack("<HHIIHHH", tag, 1, rate_hz, bytes_per_s, block_bytes, bits, 0)
    body = b"WAVE" + chunk(b"fmt ", form) + chunk(b"data", data)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def chunk(name: bytes, data: bytes) -> bytes:
    """A chunk of a WAV file."""
    return name + struct.pack("<I", len(data)) + data + bytes(len(data) % 2)


def vox(samples: Samples, from_hz: int) -> bytes:
    """WAV as voice cards write it: OKI's ADPCM at 8 kHz, two samples a byte."""
    narrow = soxr.resample(samples, from_hz, 8_000)
    coded = by_sndfile(narrow[: len(narrow) // 2 * 2], 8_000, "RAW", "VOX_ADPCM")
    return wav_in_codec(0x17, coded, 8_000, 4, 1, 4_000)


def g729(duration_s: float) -> bytes:
    """A WAV file of noise in G.729, for which FFmpeg has no encoder: 10 bytes each 10 ms, any bits are sound."""
    return wav_in_codec(0x83, np.random.default_rng(0).bytes(round(duration_s * 1000)), 8_000, 0, 10, 1_000)


def bw64(samples: Samples, rate_hz: int) -> bytes:
    """RF64 by its newer name (ITU-R BS.2088)."""
    return b"BW64" + by_sndfile(samples, rate_hz, "RF64", "PCM_16")[4:]


def remuxed(data: bytes, source: str, container: str, times: int = 1) -> bytes:
    """The same packets in another container, all of them so many times; names as FFmpeg has them."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "sound"
        with (
            av.open(io.BytesIO(data), "r", format=source) as given,
            av.open(path, "w", format=container, options=SAME_EVERY_TIME) as output,
        ):
            stream = output.add_stream_from_template(given.streams.audio[0])
            packets = [packet for packet in given.demux(given.streams.audio[0]) if packet.dts is not None]
            stamps = [packet.dts or 0 for packet in packets]
            length = stamps[-1] + (packets[-1].duration or 0) - stamps[0]
            for time in range(times):
                for packet, stamp in zip(packets, stamps, strict=True):
                    copy = av.Packet(bytes(packet))
                    copy.stream, copy.time_base, copy.duration = stream, packet.time_base, packet.duration
                    copy.pts = copy.dts = stamp + time * length
                    output.mux(copy)
        return path.read_bytes()


def with_id3(mp3: bytes) -> bytes:
    """An MP3 file with an ID3v2.4 tag before it that holds a title and room for more."""
    title = b"TIT2" + (7).to_bytes(4, "big") + b"\0\0" + b"\x03Dikte!"
    body = title + bytes(2048 - len(title))
    size = bytes([len(body) >> 7 * place & 0x7F for place in (3, 2, 1, 0)])
    return b"ID3\x04\x00\x00" + size + body + mp3


def atoms(data: bytes, start: int = 0, end: int | None = None) -> Iterator[tuple[bytes, int, int]]:
    """Type, start and end (in bytes, header included) of the atoms of an MP4 file, or of those in one of them."""
    end = len(data) if end is None else end
    while start < end:
        size = int.from_bytes(data[start : start + 4], "big")
        yield data[start + 4 : start + 8], start, start + size
        start += size


def _sndfile(container: str, subtype: str, rate_hz: int | None = None, channels: int = 1) -> Encoder:
    def encode(samples: Samples, from_hz: int) -> bytes:
        to_hz = rate_hz or from_hz
        sound = soxr.resample(samples, from_hz, to_hz)
        return by_sndfile(np.tile(sound[:, np.newaxis], channels), to_hz, container, subtype)

    return encode


def _ffmpeg(
    container: str, codec: str, rate_hz: int, layout: str = "mono", bit_rate: int | None = None, **options: str
) -> Encoder:
    def encode(samples: Samples, from_hz: int) -> bytes:
        sound = soxr.resample(samples, from_hz, rate_hz)
        return by_ffmpeg(sound, rate_hz, container, codec, layout, options, bit_rate)

    return encode


ENCODINGS: dict[str, Encoder] = {
    "wav u8": _sndfile("WAV", "PCM_U8"),
    "wav s16": _sndfile("WAV", "PCM_16"),
    "wav s24": _sndfile("WAV", "PCM_24"),
    "wav s32": _sndfile("WAV", "PCM_32"),
    "wav f32": _sndfile("WAV", "FLOAT"),
    "wav f64": _sndfile("WAV", "DOUBLE"),
    "wav a-law 8 kHz": _sndfile("WAV", "ALAW", 8_000),
    "wav mu-law 8 kHz": _sndfile("WAV", "ULAW", 8_000),
    "wav gsm 8 kHz": _sndfile("WAV", "GSM610", 8_000),
    "wav ima adpcm": _sndfile("WAV", "IMA_ADPCM"),
    "wav ms adpcm": _sndfile("WAV", "MS_ADPCM"),
    "wav g721 8 kHz": _sndfile("WAV", "G721_32", 8_000),
    "wav g722": _ffmpeg("wav", "g722", 16_000),
    "wav g726 8 kHz": _ffmpeg("wav", "g726", 8_000, bit_rate=32_000),
    "wav g723.1 8 kHz": _ffmpeg("wav", "g723_1", 8_000, bit_rate=6_300),
    "wav g729 8 kHz": lambda samples, rate_hz: g729(len(samples) / rate_hz),
    "wav vox 8 kHz": vox,
    "wav mp3": _ffmpeg("wav", "libmp3lame", 16_000),
    "wav 8 kHz": _sndfile("WAV", "PCM_16", 8_000),
    "wav 44.1 kHz": _sndfile("WAV", "PCM_16", 44_100),
    "wav 96 kHz": _sndfile("WAV", "PCM_24", 96_000),
    "wav stereo": _sndfile("WAV", "PCM_16", channels=2),
    "wav 8 channels": _sndfile("WAV", "PCM_16", channels=8),
    "wavex": _sndfile("WAVEX", "PCM_16"),
    "rf64": _sndfile("RF64", "PCM_16"),
    "bw64": bw64,
    "w64": _sndfile("W64", "PCM_16"),
    "w64 gsm 8 kHz": _sndfile("W64", "GSM610", 8_000),
    "aiff": _sndfile("AIFF", "PCM_16"),
    "au": _sndfile("AU", "PCM_16"),
    "au g721 8 kHz": _sndfile("AU", "G721_32", 8_000),
    "caf": _sndfile("CAF", "PCM_16"),
    "caf alac": _sndfile("CAF", "ALAC_16"),
    "flac 16": _sndfile("FLAC", "PCM_16"),
    "flac 24": _sndfile("FLAC", "PCM_24"),
    "flac 8 channels": _sndfile("FLAC", "PCM_16", channels=8),
    "ogg vorbis": _sndfile("OGG", "VORBIS", 44_100),
    "ogg opus": _sndfile("OGG", "OPUS", 48_000),
    "ogg opus by ffmpeg": _ffmpeg("ogg", "libopus", 48_000),
    "ogg flac": lambda samples, rate_hz: remuxed(ENCODINGS["flac 16"](samples, rate_hz), "flac", "ogg"),
    "mp3": _sndfile("MP3", "MPEG_LAYER_III", 44_100),
    "mp3 by ffmpeg": _ffmpeg("mp3", "libmp3lame", 22_050),
    "mp3 id3": lambda samples, rate_hz: with_id3(ENCODINGS["mp3"](samples, rate_hz)),
    "aac adts": _ffmpeg("adts", "aac", 44_100),
    "m4a, moov last": _ffmpeg("ipod", "aac", 44_100),
    "m4a, moov first": _ffmpeg("ipod", "aac", 44_100, movflags="faststart"),
    "m4a 7.1": _ffmpeg("ipod", "aac", 48_000, layout="7.1"),
    "mp4 in fragments": _ffmpeg("mp4", "aac", 48_000, movflags="frag_keyframe+empty_moov+default_base_moof"),
    "mp4 alac": _ffmpeg("mp4", "alac", 16_000),
    "mov pcm": _ffmpeg("mov", "pcm_s16le", 16_000),
    "webm opus": _ffmpeg("webm", "libopus", 48_000),
    "webm opus, live": _ffmpeg("webm", "libopus", 48_000, live="1"),
    "mka flac": lambda samples, rate_hz: remuxed(ENCODINGS["flac 16"](samples, rate_hz), "flac", "matroska"),
    "amr": lambda samples, rate_hz: amr(len(samples) / rate_hz),
    "3gp amr": lambda samples, rate_hz: remuxed(amr(len(samples) / rate_hz), "amr", "3gp"),
}
