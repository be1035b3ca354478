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


class Resampler:
    """Resamples pieces as they come. Parts of different rates are resampled separately and joined.

    The samples have the shape (samples,) or (samples, channels), float32, and all pieces the same number of channels.
    """

    def __init__(self, to_hz: int) -> None:
        self._to_hz = to_hz
        self._from_hz = to_hz
        self._stream: soxr.ResampleStream | None = None
        self._last: Samples | None = None

    def add(self, samples: Samples, rate_hz: int) -> list[Samples]:
        """Take the next samples. Returns those that are ready at the other rate: the filter keeps some back."""
        ready = []
        if rate_hz != self._from_hz:
            ready = self.finish()
            self._from_hz = rate_hz
            channels = 1 if samples.ndim == 1 else samples.shape[1]
            if rate_hz != self._to_hz:
                self._stream = soxr.ResampleStream(rate_hz, self._to_hz, channels, "float32", QUALITY)
        self._last = samples
        if self._stream is None:
            return [*ready, samples]
        return [*ready, self._stream.resample_chunk(np.ascontiguousarray(samples))]

    def finish(self) -> list[Samples]:
        """The samples that are still in the filter."""
        stream, self._stream, self._from_hz = self._stream, None, self._to_hz
        if stream is None or self._last is None:
            return []
        return [stream.resample_chunk(np.zeros((0, *self._last.shape[1:]), dtype=np.float32), last=True)]


def resampled(blocks: Iterator[MonoBlock] | Iterator[Block], to_hz: int) -> Iterator[Samples]:
    """The samples at another rate; see `Resampler`. blocks: all with the same number of channels."""
    resampler = Resampler(to_hz)
    for block in blocks:
        yield from resampler.add(block.samples, block.rate_hz)
    yield from resampler.finish()
