"""Encode clips in the formats that load tests upload, which are those of phones, browsers and messengers."""

import hashlib
import io
import os
from contextlib import suppress
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import cast

import av
import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from scripts.common import ROOT

Pcm = NDArray[np.int16]

FULL_SCALE = 1 << 15
CACHE = ROOT / "artifacts" / "clips"
"""Cache of encoded clips, so that only the first load test encodes them."""
REPRODUCIBLE = {"fflags": "+bitexact"}
"""Muxer options without random identifiers, so that a clip gives the same file in every process."""


@dataclass(frozen=True)
class Format:
    """An audio format: media type and suffix, FFmpeg's muxer and encoder, sample rate, channel layout and bit rate.

    Without a muxer, it is a WAV file with 16-bit PCM at the rate of the clip.
    """

    media_type: str
    suffix: str
    muxer: str = ""
    encoder: str = ""
    rate_hz: int = 0
    layout: str = "mono"
    bit_rate: int = 0
    options: dict[str, str] = field(default_factory=dict)


FORMATS = {
    "wav": Format("audio/wav", "wav"),
    "opus": Format("audio/ogg", "ogg", "ogg", "libopus", 48_000, bit_rate=24_000, options={"application": "voip"}),
    "webm": Format("audio/webm", "webm", "webm", "libopus", 48_000, bit_rate=48_000),
    "mp3": Format("audio/mpeg", "mp3", "mp3", "libmp3lame", 44_100, "stereo", 128_000),
    "m4a": Format("audio/mp4", "m4a", "ipod", "aac", 44_100, bit_rate=64_000),
}
"""WAV, voice messages (Ogg Opus), browsers (`MediaRecorder`), recorders and podcasts (MP3), and phone memos (M4A)."""
DEFAULT_FORMATS = "wav,opus,mp3,m4a"


def formats_of(mix: str) -> list[str]:
    """Parse a list such as `wav,opus,mp3`. Raises ValueError for a format that is unknown or listed twice."""
    names = [name.strip() for name in mix.split(",")]
    if unknown := [name for name in names if name not in FORMATS]:
        raise ValueError(f"there is no format {unknown[0]!r}; there are {', '.join(FORMATS)}")
    if len(set(names)) < len(names):
        raise ValueError(f"{mix!r} lists a format twice; all formats have equal shares")
    return names


def encode(pcm: Pcm, rate_hz: int, name: str) -> bytes:
    """Encode a clip. pcm: shape (samples,), int16. name: a key of `FORMATS`."""
    target = FORMATS[name]
    file = io.BytesIO()
    if not target.muxer:
        soundfile.write(file, pcm, rate_hz, format="WAV", subtype="PCM_16")
        return file.getvalue()
    samples = soxr.resample(np.divide(pcm, FULL_SCALE, dtype=np.float32), rate_hz, target.rate_hz)
    channels = av.AudioLayout(target.layout).nb_channels
    interleaved = np.repeat(samples, channels)[np.newaxis]
    with av.open(file, "w", format=target.muxer, options=REPRODUCIBLE) as output:
        added = output.add_stream(target.encoder, rate=target.rate_hz, layout=target.layout, options=target.options)
        stream = cast(av.AudioStream, added)
        stream.bit_rate = target.bit_rate
        frame = av.AudioFrame.from_ndarray(interleaved, format="flt", layout=target.layout)
        frame.sample_rate, frame.pts, frame.time_base = target.rate_hz, 0, Fraction(1, target.rate_hz)
        for part in (frame, None):
            output.mux(stream.encode(part))
    return file.getvalue()


def encode_once(pcm: Pcm, rate_hz: int, name: str, cache: Path = CACHE) -> bytes:
    """The same as `encode`, cached in the folder `cache`. If the cache cannot be written, the clip is not cached."""
    if not FORMATS[name].muxer:
        return encode(pcm, rate_hz, name)
    how = repr((rate_hz, FORMATS[name], av.__version__)).encode()
    path = cache / f"{hashlib.sha256(how + pcm.tobytes()).hexdigest()[:32]}.{FORMATS[name].suffix}"
    with suppress(OSError):
        return path.read_bytes()
    data = encode(pcm, rate_hz, name)
    with suppress(OSError):
        cache.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(f".{os.getpid()}")
        partial.write_bytes(data)
        partial.replace(path)  # atomic, because other processes may read the cache
    return data
