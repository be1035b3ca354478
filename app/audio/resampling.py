"""Blocks of any sample rate -> samples at the model's rate."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import soxr

from app.audio.blocks import Block, Samples

QUALITY = "HQ"
"""soxr's recipe for 20 bits. From 22.05, 32, 44.1, 48 and 96 kHz to 16 kHz its filter passes 0 to 7.3 kHz within 0.01
dB, attenuates by 0.4 dB at 7.5 and 2.9 dB at 7.6 kHz, and by 126 dB and more from 8 kHz on (measured with sines;
`tests/app/audio/test_resampling.py` repeats it). From 8 kHz it passes 0 to 3.65 kHz within 0.01 dB."""


class MonoBlock(NamedTuple):
    """Consecutive samples, shape (samples,), float32, at `rate_hz`."""

    samples: Samples
    rate_hz: int


def resampled(blocks: Iterator[MonoBlock] | Iterator[Block], to_hz: int) -> Iterator[Samples]:
    """The samples at another rate. Parts of different rates are resampled separately and joined.

    blocks: all with the same number of channels. The samples have the shape of theirs: (samples,) or (samples,
    channels).
    """
    stream: soxr.ResampleStream | None = None
    from_hz = to_hz
    last: Samples | None = None
    for block in blocks:
        if block.rate_hz != from_hz:
            if stream is not None and last is not None:
                yield _rest(stream, last)
            from_hz = block.rate_hz
            channels = 1 if block.samples.ndim == 1 else block.samples.shape[1]
            stream = None if from_hz == to_hz else soxr.ResampleStream(from_hz, to_hz, channels, "float32", QUALITY)
        last = block.samples
        yield last if stream is None else stream.resample_chunk(np.ascontiguousarray(last))
    if stream is not None and last is not None:
        yield _rest(stream, last)


def _rest(stream: soxr.ResampleStream, samples: Samples) -> Samples:
    """The samples that are still in the filter. samples: any that it has resampled."""
    rest: Samples = stream.resample_chunk(np.zeros((0, *samples.shape[1:]), dtype=np.float32), last=True)
    return rest
