"""What the parts of `app.audio` hand on: blocks of samples, and the opened file that they come from."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Samples = NDArray[np.float32]

BLOCK_FRAMES = 1 << 16
"""Frames (one sample of each channel) handled at once: 1.4 s at 48 kHz. Large enough that Python's part of the work
does not count, small enough that limits and cancelled requests are noticed at once and memory stays bounded."""


class Block(NamedTuple):
    """Successive frames: `samples`, shape (frames, channels), float32, full scale is 1, at `rate_hz`.

    The blocks of one file may differ in rate and channels, where several files were joined to one.
    """

    samples: Samples
    rate_hz: int


class Source(NamedTuple):
    """An opened file.

    rate_hz, channels: as the header says; not yet checked. length_s: as the header says, None where it does not.
    blocks: the sound. A block without frames only gives the caller a chance to stop.
    """

    rate_hz: int
    channels: int
    length_s: float | None
    blocks: Iterator[Block]


def silence(frames: int, rate_hz: int) -> Iterator[Block]:
    """Mono silence of so many frames, in blocks."""
    for start in range(0, frames, BLOCK_FRAMES):
        yield Block(np.zeros((min(BLOCK_FRAMES, frames - start), 1), dtype=np.float32), rate_hz)
