"""Frames of several channels -> mono."""

from collections.abc import Iterator

import numpy as np

from app.audio.blocks import Block, Samples
from app.audio.resampling import MonoBlock

CANCEL_RATIO, RECOVER_RATIO = 0.05, 0.2
"""Thresholds for the power of the sum of the channels / the sum of their powers. N channels with different speakers
give 1, N equal channels give N, a channel and its inverse give nearly 0. Below CANCEL_RATIO (-13 dB) the channels
cancel in the mean; above RECOVER_RATIO they do not. In between, the previous decision stays."""
HALF_LIFE_S = 0.25
"""Half-life of the averaged powers. Most blocks are longer; shorter blocks are averaged over a few of them."""
QUIET, LOUDNESS_HALF_LIFE_S = 0.1, 10.0
"""Audio below a tenth of the loudest power of the last seconds is a pause: its noise says nothing about the
channels."""
SILENT_POWER = 1e-9
"""Less than a step of 16 bits: rounding."""
THINNING = 7
"""Powers use every seventh frame: accurate enough, at a seventh of the cost."""
FADE_S = 0.02
"""Duration of the crossfade when the decision changes, so that there is no audible click."""


def mono(blocks: Iterator[Block]) -> Iterator[MonoBlock]:
    """Each block mixed to mono; see `Mixer`."""
    mixer = Mixer()
    for block in blocks:
        yield mixer.mono(block)


class Mixer:
    """Mixes channels to their mean or, where they cancel each other out, takes the loudest one alone.

    Cables and converters that invert one channel of two are common, and the mean of such a recording is silence. The
    difference of the channels would be right for those, but wrong for all others, and works for two channels only. So
    the powers of the channels decide, for each block as a whole, so that the first word is included. The decision stays
    during pauses, and a change is crossfaded.
    """

    def __init__(self) -> None:
        self._channels = 0
        self._start()

    def _start(self) -> None:
        self._powers = np.zeros(self._channels)
        self._sum_power = self._loudest = 0.0
        self._selected: int | None = None

    def mono(self, block: Block) -> MonoBlock:
        """Mix a block to mono: samples of shape (frames, channels), float32 -> shape (frames,), float32."""
        samples = block.samples
        channels = samples.shape[1]
        if channels == 1:
            return MonoBlock(samples[:, 0], block.rate_hz)
        if channels != self._channels:
            self._channels = channels
            self._start()
            self._decide(samples, block.rate_hz)
            return MonoBlock(_mix(samples, self._selected), block.rate_hz)
        before = self._selected
        self._decide(samples, block.rate_hz)
        mixed = _mix(samples, self._selected)
        if self._selected != before:
            head = samples[: round(FADE_S * block.rate_hz)]
            fade = np.linspace(0, 1, len(head), dtype=np.float32)
            mixed[: len(head)] = fade * mixed[: len(head)] + (1 - fade) * _mix(head, before)
        return MonoBlock(mixed, block.rate_hz)

    def _decide(self, samples: Samples, rate_hz: int) -> None:
        """Set `_selected` to the channel to take; None for the mean."""
        thinned = samples[::THINNING].T.astype(np.float64, order="C")
        if not thinned.size:
            return
        thinned -= thinned.mean(axis=1, keepdims=True)  # a DC offset is not audio, and inverted ones would cancel out
        duration_s = len(samples) / rate_hz
        kept = 0.5 ** (duration_s / HALF_LIFE_S)
        self._powers = kept * self._powers + (1 - kept) * np.square(thinned).mean(axis=1)
        self._sum_power = kept * self._sum_power + (1 - kept) * np.square(thinned.sum(axis=0)).mean()
        power = self._powers.sum()
        self._loudest = max(power, self._loudest * 0.5 ** (duration_s / LOUDNESS_HALF_LIFE_S))
        if power <= max(SILENT_POWER, QUIET * self._loudest):
            return
        if self._selected is None and self._sum_power < CANCEL_RATIO * power:
            self._selected = int(self._powers.argmax())
        elif self._selected is not None and self._sum_power > RECOVER_RATIO * power:
            self._selected = None


def _mix(samples: Samples, selected: int | None) -> Samples:
    """One channel, or the mean of all: shape (frames,), float32.

    Column by column, because NumPy's mean is slow on rows.
    """
    if selected is not None:
        return samples[:, selected].copy()
    channels = samples.shape[1]
    mixed: Samples = samples[:, 0] + samples[:, 1]
    for channel in range(2, channels):
        mixed += samples[:, channel]
    mixed *= np.float32(1 / channels)
    return mixed
