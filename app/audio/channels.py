"""Frames of several channels -> mono."""

from collections.abc import Iterator

import numpy as np

from app.audio.blocks import Block, Samples
from app.audio.resampling import MonoBlock

CANCELLED, HEARD = 0.05, 0.2
"""Power of the sum of the channels / sum of their powers. N channels of different people give 1, the same sound in all
gives N, one channel that is the other inverted gives nearly 0. Below CANCELLED (-13 dB) the mean has lost the sound;
above HEARD it has it again. Between the two the decision stays."""
HALF_LIFE_S = 0.25
"""Powers count half as much after so long. A block is mostly longer; of shorter ones a few decide together."""
QUIET, LOUDNESS_HALF_LIFE_S = 0.1, 10.0
"""Sound under a tenth of the loudest of the last seconds is a pause: its noise says nothing about the channels."""
SILENT_POWER = 1e-9
"""Less than a step of 16 bits: rounding."""
THINNING = 7
"""Powers are taken from every seventh frame: enough to know them, at a seventh of the cost."""
FADE_S = 0.02
"""A change of the decision is faded over so long, so that it cannot be heard as a click."""


def mono(blocks: Iterator[Block]) -> Iterator[MonoBlock]:
    """Each block as mono, in the way that `Mixer` tells."""
    mixer = Mixer()
    for block in blocks:
        yield mixer.mono(block)


class Mixer:
    """The mean of the channels; where they cancel each other out, the loudest one alone.

    Cables and converters that invert one channel of two are common, and the mean of what they record is silence. The
    difference of the channels would be right for those, and wrong for all others, and it knows only two channels. So
    the channels' powers decide, for each block as a whole, so that the first word counts as well. The decision stays
    in pauses, and is faded where it changes.
    """

    def __init__(self) -> None:
        self._channels = 0
        self._start()

    def _start(self) -> None:
        self._powers = np.zeros(self._channels)
        self._sum_power = self._loudest = 0.0
        self._speaker: int | None = None

    def mono(self, block: Block) -> MonoBlock:
        """samples of the block: shape (frames, channels), float32. Returns as many samples, float32."""
        samples = block.samples
        channels = samples.shape[1]
        if channels == 1:
            return MonoBlock(samples[:, 0], block.rate_hz)
        if channels != self._channels:
            self._channels = channels
            self._start()
            self._decide(samples, block.rate_hz)
            return MonoBlock(_mix(samples, self._speaker), block.rate_hz)
        before = self._speaker
        self._decide(samples, block.rate_hz)
        mixed = _mix(samples, self._speaker)
        if self._speaker != before:
            head = samples[: round(FADE_S * block.rate_hz)]
            fade = np.linspace(0, 1, len(head), dtype=np.float32)
            mixed[: len(head)] = fade * mixed[: len(head)] + (1 - fade) * _mix(head, before)
        return MonoBlock(mixed, block.rate_hz)

    def _decide(self, samples: Samples, rate_hz: int) -> None:
        """Set `_speaker` to the channel to take, None for the mean."""
        thinned = samples[::THINNING].T.astype(np.float64, order="C")
        if not thinned.size:
            return
        thinned -= thinned.mean(axis=1, keepdims=True)  # a constant is no sound, and inverted ones would cancel out
        duration_s = len(samples) / rate_hz
        kept = 0.5 ** (duration_s / HALF_LIFE_S)
        self._powers = kept * self._powers + (1 - kept) * np.square(thinned).mean(axis=1)
        self._sum_power = kept * self._sum_power + (1 - kept) * np.square(thinned.sum(axis=0)).mean()
        power = self._powers.sum()
        self._loudest = max(power, self._loudest * 0.5 ** (duration_s / LOUDNESS_HALF_LIFE_S))
        if power <= max(SILENT_POWER, QUIET * self._loudest):
            return
        if self._speaker is None and self._sum_power < CANCELLED * power:
            self._speaker = int(self._powers.argmax())
        elif self._speaker is not None and self._sum_power > HEARD * power:
            self._speaker = None


def _mix(samples: Samples, speaker: int | None) -> Samples:
    """One channel, or the mean of all: shape (frames,), float32. Column by column, for numpy's mean is slow on rows."""
    if speaker is not None:
        return samples[:, speaker].copy()
    channels = samples.shape[1]
    mixed: Samples = samples[:, 0] + samples[:, 1]
    for channel in range(2, channels):
        mixed += samples[:, channel]
    mixed *= np.float32(1 / channels)
    return mixed
