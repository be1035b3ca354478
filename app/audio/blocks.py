"""Types that the modules of `app.audio` exchange: blocks of samples, and an opened file that yields them."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Samples = NDArray[np.float32]

BLOCK_FRAMES = 1 << 16
"""Frames (one sample of each channel) per block: 1.4 s at 48 kHz. Large enough that Python's overhead does not matter,
small enough that limits and cancelled requests take effect quickly and memory stays bounded."""


class Block(NamedTuple):
    """Consecutive frames: `samples`, shape (frames, channels), float32, full scale is 1, at `rate_hz`.

    The blocks of one file may differ in rate and channels if it was concatenated from several files.
    """

    samples: Samples
    rate_hz: int


class Source(NamedTuple):
    """An opened file.

    rate_hz, channels: from the header, not yet checked. length_s: from the header, in seconds; None if it has none.
    blocks: the audio. A block without frames only gives the caller a chance to stop.
    """

    rate_hz: int
    channels: int
    length_s: float | None
    blocks: Iterator[Block]


def silence(frames: int, rate_hz: int) -> Iterator[Block]:
    """Mono silence of `frames` frames, in blocks."""
    for start in range(0, frames, BLOCK_FRAMES):
        yield Block(np.zeros((min(BLOCK_FRAMES, frames - start), 1), dtype=np.float32), rate_hz)
