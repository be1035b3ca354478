"""The formats in which load tests upload their clips: as phones, browsers and messengers make them."""

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
"""Encoded clips, so that only the first load test takes the time, and Locust's workers none."""
NO_CHANCE = {"fflags": "+bitexact"}
"""Muxers write no random identifiers, so a clip is the same file in every process."""


@dataclass(frozen=True)
class Format:
    """How a clip is encoded: FFmpeg's muxer and encoder, the sample rate, the channels and the bit rate.

    A WAV file (no muxer) is 16-bit PCM at the clip's own rate.
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
"""Voice messages (Ogg Opus), browsers (`MediaRecorder`), files from recorders and podcasts, and memos of phones."""
DEFAULT_FORMATS = "wav,opus,mp3,m4a"


def formats_of(mix: str) -> list[str]:
    """The formats of `wav,opus,mp3`, in equal shares. Raises ValueError for one that is unknown or named twice."""
    names = [name.strip() for name in mix.split(",")]
    if unknown := [name for name in names if name not in FORMATS]:
        raise ValueError(f"clips cannot be sent as {unknown[0]!r}: give some of {', '.join(FORMATS)}")
    if len(set(names)) < len(names):
        raise ValueError(f"a format is named twice in {mix!r}: all have equal shares")
    return names


def encode(pcm: Pcm, rate_hz: int, name: str) -> bytes:
    """A file of the clip in one of `FORMATS`. pcm: shape (samples,)."""
    target = FORMATS[name]
    file = io.BytesIO()
    if not target.muxer:
        soundfile.write(file, pcm, rate_hz, format="WAV", subtype="PCM_16")
        return file.getvalue()
    samples = soxr.resample(np.divide(pcm, FULL_SCALE, dtype=np.float32), rate_hz, target.rate_hz)
    channels = av.AudioLayout(target.layout).nb_channels
    interleaved = np.repeat(samples, channels)[np.newaxis]
    with av.open(file, "w", format=target.muxer, options=NO_CHANCE) as output:
        added = output.add_stream(target.encoder, rate=target.rate_hz, layout=target.layout, options=target.options)
        stream = cast(av.AudioStream, added)
        stream.bit_rate = target.bit_rate
        frame = av.AudioFrame.from_ndarray(interleaved, format="flt", layout=target.layout)
        frame.sample_rate, frame.pts, frame.time_base = target.rate_hz, 0, Fraction(1, target.rate_hz)
        for part in (frame, None):
            output.mux(stream.encode(part))
    return file.getvalue()


def encode_once(pcm: Pcm, rate_hz: int, name: str, cache: Path = CACHE) -> bytes:
    """The same, from `cache` if it was encoded before; a folder that cannot be written is no error."""
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
        partial.replace(path)  # whole or not at all, as others may look for it
    return data
