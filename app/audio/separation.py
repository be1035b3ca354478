"""The channels of a file at the model's rate: kept apart where somebody else speaks in each, otherwise mixed."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from app.audio.blocks import BLOCK_FRAMES, Block, Samples
from app.audio.channels import Mixer
from app.audio.crosstalk import mute_crosstalk
from app.audio.sides import common_share, same_sound, two_sides
from app.errors import InvalidAudio
from app.recognizer import ChannelMode

MAX_SEPARATE = 8
"""Most channels that are transcribed separately, each at the cost of a clip."""
SIDES = 2
"""Channels of a recording that may be the two sides of a call."""
EARLY_S = 300.0
"""When a long recording is looked at first: if its channels share their sound by then, they are mixed from here on, so
that long music and interviews take no more memory than mono ones."""
EARLY_COMMON_SHARE = 0.5
"""Share of the loud blocks with a common source from which on channels are mixed early."""


class Track(NamedTuple):
    """Samples at the model's rate, shape (samples,), float32. channel: of the file; None if all channels are mixed."""

    samples: Samples
    channel: int | None


def channels_apart(channels: int, mode: ChannelMode) -> int:
    """How many channels of a file are decoded apart at first; 1 if they are mixed at once.

    Raises InvalidAudio if there are too many to transcribe separately.
    """
    if mode == "mix" or (mode == "auto" and channels != SIDES):
        return 1
    if channels > MAX_SEPARATE:
        message = f"the file has {channels} channels; at most {MAX_SEPARATE} can be transcribed separately"
        raise InvalidAudio(message, channels=channels)
    return channels


def with_channels(blocks: Iterator[Block], channels: int) -> Iterator[Block]:
    """Blocks that all have so many channels.

    A part of a concatenated file with another number is mixed, and becomes the first channel; the others are silent.
    """
    mixer = Mixer()
    for block in blocks:
        if block.samples.shape[1] == channels:
            yield block
        else:
            samples = np.zeros((len(block.samples), channels), dtype=np.float32)
            samples[:, 0] = mixer.mono(block).samples
            yield Block(samples, block.rate_hz)


class Separator:
    """Collects the channels of one file, and decides whether they stay apart.

    `separate` keeps all that are no copies of others. `auto` keeps two channels if they are the sides of a call: it
    compares all of the file, but mixes a long one early if its channels share their sound (`EARLY_S`).
    """

    def __init__(self, channels: int, mode: ChannelMode, rate_hz: int) -> None:
        self._mode = mode
        self._rate_hz = rate_hz
        self._tracks = [bytearray() for _ in range(channels)]  # they grow in place; a list of blocks would need twice
        self._mixer: Mixer | None = None
        self._early_bytes = round(EARLY_S * rate_hz) * np.dtype(np.float32).itemsize if mode == "auto" else None

    @property
    def held(self) -> int:
        """Number of channels in memory."""
        return len(self._tracks)

    def add(self, samples: Samples) -> None:
        """Take the next samples, shape (samples, channels), float32."""
        if self._mixer is not None:
            samples = self._mixer.mono(Block(samples, self._rate_hz)).samples[:, np.newaxis]
        for track, channel in zip(self._tracks, samples.T, strict=True):
            track += channel.tobytes()
        if self._early_bytes is not None and len(self._tracks[0]) >= self._early_bytes:
            self._early_bytes = None
            if _share_sound(self._arrays(), self._rate_hz):
                self._mix()

    def finish(self) -> list[Track]:
        """The channels that stay apart, in order, or their mix."""
        if self._mixer is None and not self._apart(self._arrays()):
            self._mix()
        arrays = self._arrays()
        if len(arrays) == 1:
            return [Track(arrays[0], None)]
        copies = _copies(arrays, self._rate_hz)
        if len(arrays) == SIDES:
            mute_crosstalk(arrays[0], arrays[1], self._rate_hz)
        return [Track(samples, channel) for channel, samples in enumerate(arrays) if channel not in copies]

    def _apart(self, channels: Sequence[Samples]) -> bool:
        if self._mode == "auto":
            left, right = channels
            return not same_sound(left, right, self._rate_hz) and two_sides(left, right, self._rate_hz)
        return any(not same_sound(channels[0], other, self._rate_hz) for other in channels[1:])

    def _mix(self) -> None:
        """Mix what was collected, in place, and from here on everything."""
        self._mixer = Mixer()
        channels = self._arrays()
        for start in range(0, len(channels[0]), BLOCK_FRAMES):
            part = slice(start, start + BLOCK_FRAMES)
            block = Block(np.stack([samples[part] for samples in channels], axis=1), self._rate_hz)
            channels[0][part] = self._mixer.mono(block).samples
        del self._tracks[1:]

    def _arrays(self) -> list[Samples]:
        return [np.frombuffer(track, dtype=np.float32) for track in self._tracks]


def _share_sound(channels: Sequence[Samples], rate_hz: int) -> bool:
    left, right = channels
    return same_sound(left, right, rate_hz) or common_share(left, right, rate_hz) > EARLY_COMMON_SHARE


def _copies(channels: Sequence[Samples], rate_hz: int) -> set[int]:
    """Indices of the channels that are copies of earlier ones."""
    return {
        index
        for index, samples in enumerate(channels)
        if any(same_sound(other, samples, rate_hz) for other in channels[:index])
    }
