"""Silences what of one side of a call is heard, faintly, in the channel of the other.

Handsets, hybrids and cables leak 20 to 40 dB below the voice. A recognizer scales its windows, so it would write the
leaked words of one side once more for the other, wherever that one is silent. Where a channel holds a copy of the other
one at a constant gain and delay, and nothing louder, it is set to zero. Channels without such a copy are not changed.
"""

from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from app.audio.blocks import Samples
from app.audio.sides import BLOCK_S, FRAME_S, Powers, level_of, moments

MAX_DELAY_S = 0.3
"""Longest delay of an echo that comes back from the far end of a line."""
DOMINANCE = 10.0
"""Blocks in which the other channel is louder by 10 dB are looked at for its crosstalk."""
COHERENT = 0.3
"""Squared correlation, at the best delay, from which on a block is crosstalk."""
SAME_DELAY_S = 0.004
"""How much the delays of blocks with the same crosstalk may differ."""
MAX_BLOCKS = 64
"""Most blocks that are looked at, evenly spread."""
MIN_BLOCKS, MIN_SHARE = 3, 0.2
"""Least number and share of blocks with crosstalk at the same delay."""
MARGIN = 4.0
"""Frames that are louder than the expected crosstalk by 6 dB have speech of their own."""
KEPT_S = 0.1
"""Kept around a channel's own speech, whose edges are quiet."""
MIN_MUTED_S = 0.2
"""Shorter crosstalk is left: a recognizer writes no words for it."""
FADE_S = 0.005
GAIN_PERCENTILE = 75
"""Of the gains of the blocks: crosstalk with noise is louder than crosstalk alone."""
SOURCE_RANGE = 1e-3
"""Crosstalk of what is 30 dB below the other channel's level is not heard."""
INAUDIBLE = 1e-10
"""Power, -100 dB of full scale, below which a channel has nothing that could be crosstalk."""


Values = TypeVar("Values", Powers, NDArray[np.bool_])


class Leak(NamedTuple):
    """Crosstalk from another channel: its power gain, and its delay in samples."""

    gain: float
    delay: int


def mute_crosstalk(left: Samples, right: Samples, rate_hz: int) -> None:
    """Set to zero, in place, what each of two channels has of the other alone.

    left, right: shape (samples,), float32, of equal length.
    """
    runs = [_muted_runs(channel, other, rate_hz) for channel, other in ((left, right), (right, left))]
    size, fade = round(FRAME_S * rate_hz), round(FADE_S * rate_hz)
    fading = np.linspace(1, 0, fade, dtype=np.float32)
    for channel, muted in zip((left, right), runs, strict=True):
        for first, last in muted:
            part = channel[first * size : last * size]
            part[:fade] *= fading[: len(part)]
            part[fade:-fade] = 0
            part[-fade:] *= fading[::-1][-len(part) :]


def _muted_runs(channel: Samples, other: Samples, rate_hz: int) -> list[tuple[int, int]]:
    """First frame, and frame after the last, of each run of frames of `channel` with crosstalk alone."""
    leak = find_leak(channel, other, rate_hz)
    return [] if leak is None else _runs(muted_frames(channel, other, leak, rate_hz), round(MIN_MUTED_S / FRAME_S))


def find_leak(channel: Samples, other: Samples, rate_hz: int) -> Leak | None:
    """The crosstalk of `other` in `channel`; None if there is none."""
    size, longest = round(BLOCK_S * rate_hz), round(MAX_DELAY_S * rate_hz)
    power, source, _ = moments(channel, other, size)
    usable = (source > DOMINANCE * power) & (source > 0.01 * level_of(source)) & (power > INAUDIBLE)
    blocks = np.flatnonzero(usable)
    blocks = blocks[(blocks * size >= longest) & ((blocks + 1) * size <= len(channel))]
    blocks = blocks[:: -(-len(blocks) // MAX_BLOCKS) or 1]
    found = []
    for block in blocks.tolist():
        start = block * size
        delay, coherence, ratio = _match(channel[start : start + size], other[start - longest : start + size])
        if coherence > COHERENT:
            found.append((delay, ratio))
    if len(found) < MIN_BLOCKS:
        return None
    delays, ratios = np.array(found).T
    median = float(np.median(delays))
    same = np.abs(delays - median) <= SAME_DELAY_S * rate_hz
    if same.sum() < max(MIN_BLOCKS, MIN_SHARE * len(blocks)):
        return None
    return Leak(float(np.percentile(ratios[same], GAIN_PERCENTILE)), round(median))


def muted_frames(channel: Samples, other: Samples, leak: Leak, rate_hz: int) -> NDArray[np.bool_]:
    """Which frames of `FRAME_S` hold only crosstalk, shape (frames,), bool."""
    size = round(FRAME_S * rate_hz)
    power, source, _ = moments(channel, other, size)
    shift = leak.delay // size
    source = np.pad(source, (shift, 0))[: len(source)]
    expected = MARGIN * leak.gain * _highest_around(source, 1)
    audible = power > max(INAUDIBLE, leak.gain * SOURCE_RANGE * level_of(source))
    own = audible & (power > expected)
    kept = _highest_around(own, round(KEPT_S / FRAME_S))
    muted: NDArray[np.bool_] = ~kept & (source > SOURCE_RANGE * level_of(source))
    return _joined(muted, ~own)


def _match(block: Samples, source: Samples) -> tuple[int, float, float]:
    """Delay, squared correlation and ratio of the powers where `source` fits best.

    source: longer than the block by the longest delay; it ends where the block ends.
    """
    block = block - block.mean()
    source = source - source.mean()
    longest = len(source) - len(block)
    size = 1 << (len(source) + len(block) - 1).bit_length()
    products = np.fft.irfft(np.conj(np.fft.rfft(block, size)) * np.fft.rfft(source, size), size)[: longest + 1]
    sums = np.concatenate([[0.0], np.cumsum(np.square(source, dtype=np.float64))])
    energies = np.maximum(sums[len(block) :] - sums[: longest + 1], 1e-12)
    energy = float(np.dot(block, block))
    coherences = np.square(products) / (energies * max(energy, 1e-12))
    best = int(coherences.argmax())
    return longest - best, float(coherences[best]), energy / float(energies[best])


def _highest_around(values: Values, frames: int) -> Values:
    """The highest of each value and its neighbours up to `frames` away."""
    padded = np.pad(values, frames, mode="edge")
    highest: Values = np.lib.stride_tricks.sliding_window_view(padded, 2 * frames + 1).max(axis=1)
    return highest


def _joined(muted: NDArray[np.bool_], allowed: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Muted frames, and pauses of one frame between them."""
    filled: NDArray[np.bool_] = muted | (allowed & np.append(muted[1:], False) & np.append(False, muted[:-1]))
    return filled


def _runs(frames: NDArray[np.bool_], shortest: int) -> list[tuple[int, int]]:
    """Start and end of each run of at least `shortest` frames that are True."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], frames, [False]]).astype(np.int8))).tolist()
    return [(start, end) for start, end in zip(edges[::2], edges[1::2], strict=True) if end - start >= shortest]
