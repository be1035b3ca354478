"""Audio that arrives in pieces -> blocks of samples.

Raw samples are converted as they come; half a sample waits for the next piece. A container (WebM, Ogg, FLAC, WAV, MP3,
...) is read by FFmpeg on a thread of its own, which waits in the middle of the file until more of it arrives.
"""

import sys
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from math import inf
from typing import Literal, get_args

import numpy as np

from app.audio.blocks import Block, Samples
from app.audio.limits import MAX_RATE_HZ, MIN_RATE_HZ, AudioLimits, checked
from app.errors import InvalidParameter
from app.live.backlog import Backlog, Mark
from app.live.containers import ContainerReader

Encoding = Literal["s16le", "s32le", "f32le", "mulaw", "alaw"]
ENCODINGS: tuple[str, ...] = get_args(Encoding)
BYTES: dict[Encoding, int] = {"s16le": 2, "s32le": 4, "f32le": 4, "mulaw": 1, "alaw": 1}
"""Per sample."""


@dataclass(frozen=True)
class RawAudio:
    """Interleaved samples without a header, at `rate_hz`.

    Raises InvalidParameter for an impossible rate or number of channels.
    """

    encoding: Encoding
    rate_hz: int
    channels: int = 1

    def __post_init__(self) -> None:
        if self.encoding not in ENCODINGS:
            raise InvalidParameter(f"the encoding must be one of {', '.join(ENCODINGS)}", allowed=list(ENCODINGS))
        if not MIN_RATE_HZ <= self.rate_hz <= MAX_RATE_HZ:
            raise InvalidParameter(f"the sample rate must be {MIN_RATE_HZ} to {MAX_RATE_HZ} Hz")
        if self.channels < 1:
            raise InvalidParameter("there must be a channel")


@dataclass(frozen=True)
class NewFormat(Mark):
    """The samples that follow are of another kind."""

    audio: RawAudio


@dataclass(frozen=True)
class AnyContainer:
    """Audio in a container, which says what it is."""


LiveAudio = RawAudio | AnyContainer


async def blocks_of(audio: LiveAudio, backlog: Backlog, max_channels: int) -> AsyncGenerator[Block | Mark, None]:
    """The audio in a backlog, as blocks, and the marks between its pieces, each after all audio before it.

    Raises InvalidAudio for samples that are not finite and for too many channels, UnsupportedMedia for bytes that are
    no audio in a known container.
    """
    limits = AudioLimits(inf, sys.maxsize, max_channels)
    if isinstance(audio, AnyContainer):
        reader = ContainerReader(limits)
        try:
            async for block in reader.blocks(backlog):
                yield block
        finally:
            reader.close()
        return
    convert = RawConverter(audio)
    while (piece := await backlog.get()) is not None:
        if isinstance(piece, NewFormat):
            convert = RawConverter(piece.audio)
            continue
        if isinstance(piece, Mark):
            yield piece
            continue
        for block in checked(iter([convert(piece)]), limits, lambda seconds: None):
            yield block


class RawConverter:
    """Bytes of interleaved samples -> blocks. Bytes of an incomplete frame wait for the next call."""

    def __init__(self, audio: RawAudio) -> None:
        self._audio = audio
        self._frame_bytes = BYTES[audio.encoding] * audio.channels
        self._rest = b""

    def __call__(self, data: bytes) -> Block:
        """The complete frames up to here, shape (frames, channels), float32, full scale is 1."""
        data = self._rest + data
        whole = len(data) // self._frame_bytes * self._frame_bytes
        self._rest = data[whole:]
        samples = CONVERTERS[self._audio.encoding](data[:whole])
        return Block(samples.reshape(-1, self._audio.channels), self._audio.rate_hz)


def _mulaw_table() -> Samples:
    """The sample of each byte of mu-law, shape (256,), float32 (ITU-T G.711, table 2; as in Sun's g711.c)."""
    code = ~np.arange(256) & 0xFF
    magnitude = (((code & 0x0F) << 3) + 0x84) << ((code & 0x70) >> 4)
    return (np.where(code & 0x80, 0x84 - magnitude, magnitude - 0x84) / 32768).astype(np.float32)


def _alaw_table() -> Samples:
    """The sample of each byte of A-law, shape (256,), float32 (ITU-T G.711, table 1; as in Sun's g711.c)."""
    code = np.arange(256) ^ 0x55
    segment = (code & 0x70) >> 4
    mantissa = (code & 0x0F) << 4
    magnitude = np.where(segment == 0, mantissa + 8, (mantissa + 0x108) << np.maximum(segment - 1, 0))
    return (np.where(code & 0x80, magnitude, -magnitude) / 32768).astype(np.float32)


_MULAW, _ALAW = _mulaw_table(), _alaw_table()
CONVERTERS: dict[Encoding, Callable[[bytes], Samples]] = {
    "s16le": lambda data: np.frombuffer(data, dtype="<i2").astype(np.float32) / np.float32(1 << 15),
    "s32le": lambda data: np.frombuffer(data, dtype="<i4").astype(np.float32) / np.float32(1 << 31),
    "f32le": lambda data: np.frombuffer(data, dtype="<f4").astype(np.float32),
    "mulaw": lambda data: _MULAW[np.frombuffer(data, dtype=np.uint8)],
    "alaw": lambda data: _ALAW[np.frombuffer(data, dtype=np.uint8)],
}
"""Bytes of whole samples -> shape (samples,), float32."""
