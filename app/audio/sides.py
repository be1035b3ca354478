"""Compares the two channels of a recording: one sound, one room, or the two sides of a call.

All of it works on levels and correlations of short blocks, so it costs little beside recognition.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app.audio.blocks import Samples

Powers = NDArray[np.float64]
"""Mean power of consecutive blocks, without their DC offset, shape (blocks,), float64; full scale is 1."""

FRAME_S = 0.032
"""Blocks whose levels are compared: short enough to fall between the words of two speakers."""
BLOCK_S = 0.256
"""Blocks whose waveforms are compared: long enough that two voices do not correlate by chance."""
SILENT_POWER = 1e-9
"""Less than a step of 16 bits: rounding."""
LOUD_PERCENTILE = 95
FLOOR_PERCENTILE = 10
"""A recording's level is the first, its noise the second of these percentiles of the powers of its frames."""

SAME_DEVIATION = 0.1
"""Most power, relative to the block, in which copies differ: -10 dB. Codecs at low bit rates reach it."""
SAME_NOISE = 0.01
"""Differences below this share of the recording's level, -20 dB, are noise."""

ACTIVE_RANGE = 10**-3.5
"""Frames within 35 dB of the louder channel's level are active: a party may be 20 dB quieter than the other."""
ABOVE_FLOOR = 4.0
"""Power above the noise, 6 dB, from which on a frame is active."""
DOMINANCE = 10**1.2
"""Ratio of the powers, 12 dB, from which on a frame belongs to one channel alone. Microphones in one room hear a voice
at levels that differ by less; crosstalk between the sides of a call is -20 dB and less."""
MIN_SIDE_S = 0.4
"""Least duration that each channel must have alone: a word."""
MIN_SIDE_SHARE = 0.02
"""Least share of the active frames that each channel must have alone."""
MIN_OWN_SHARE = 0.4
"""Least share of the active frames that belong to one channel alone, whichever it is. Where both parties talk at once,
they still pause at different moments."""
MAX_LAG_S = 0.03
"""Longest delay between two microphones in one room: 10 m."""
COHERENT = 0.3
"""Squared correlation at the best lag from which on two blocks have a common source."""
MAX_COMMON_SHARE = 0.2
"""Most of the loud blocks with a common source and similar levels; a call has none but announcements to both."""
COMMON_RATIO = 10.0
"""Ratio of the powers, 10 dB, up to which levels are similar."""
MAX_BLOCKS = 500
"""Most blocks whose waveforms are compared, evenly spread over the recording."""


def same_sound(left: Samples, right: Samples, rate_hz: int) -> bool:
    """Whether one channel is a copy of the other, each of shape (samples,), float32: no block differs audibly.

    A copy may be scaled or inverted as a whole, and have noise below `SAME_NOISE` or a codec's below `SAME_DEVIATION`.
    """
    power, other, product = moments(left, right, round(BLOCK_S * rate_hz))
    return not _differs(power, other, product) and not _differs(other, power, product)


def _differs(power: Powers, source: Powers, product: Powers) -> bool:
    """Whether a channel has a block that is not the other channel's, times a gain. product: their covariances."""
    loud = source > SAME_NOISE * level_of(source)
    gain = float(np.median(product[loud] / source[loud])) if loud.any() else 0.0
    deviation = power - 2 * gain * product + gain**2 * source
    audible = max(SAME_NOISE * level_of(power), SILENT_POWER)
    return bool(((deviation > SAME_DEVIATION * power) & (deviation > audible)).any())


def two_sides(left: Samples, right: Samples, rate_hz: int) -> bool:
    """Whether two channels, each of shape (samples,), float32, are the two sides of a call."""
    levels = compare_levels(left, right, rate_hz)
    return levels.allow_two_sides and common_share(left, right, rate_hz) <= MAX_COMMON_SHARE


@dataclass(frozen=True)
class LevelComparison:
    """active_s: seconds in which at least one channel is active. left_s, right_s: those that belong to one alone."""

    active_s: float
    left_s: float
    right_s: float

    @property
    def own_share(self) -> float:
        """Share of the active time that belongs to one channel alone, whichever it is; 0 to 1."""
        return (self.left_s + self.right_s) / self.active_s if self.active_s else 0.0

    @property
    def allow_two_sides(self) -> bool:
        """Whether each channel is often enough alone."""
        least_s = max(MIN_SIDE_S, MIN_SIDE_SHARE * self.active_s)
        return min(self.left_s, self.right_s) >= least_s and self.own_share >= MIN_OWN_SHARE


def compare_levels(left: Samples, right: Samples, rate_hz: int) -> LevelComparison:
    """Find when which channel is active. left, right: shape (samples,), float32, of equal length."""
    size = round(FRAME_S * rate_hz)
    power, other, _ = moments(left, right, size)
    least = max(ACTIVE_RANGE * max(level_of(power), level_of(other)), SILENT_POWER)
    power, other = _above_floor(power), _above_floor(other)
    active = (power > least) | (other > least)
    frame_s = size / rate_hz
    return LevelComparison(
        active_s=float(active.sum() * frame_s),
        left_s=float((active & (power > DOMINANCE * other)).sum() * frame_s),
        right_s=float((active & (other > DOMINANCE * power)).sum() * frame_s),
    )


def common_share(left: Samples, right: Samples, rate_hz: int) -> float:
    """Share of the loud blocks in which both channels have a common source, at similar levels; 0 to 1."""
    size, lags = round(BLOCK_S * rate_hz), round(MAX_LAG_S * rate_hz)
    power, other, _ = moments(left, right, size)
    loud = np.flatnonzero((power > 0.01 * level_of(power)) | (other > 0.01 * level_of(other)))
    loud = loud[(power + other)[loud] > SILENT_POWER]
    if not len(loud):
        return 0.0
    chosen = loud[:: -(-len(loud) // MAX_BLOCKS)]
    similar = (power < COMMON_RATIO * other) & (other < COMMON_RATIO * power)
    common = sum(
        coherence(left[block * size : (block + 1) * size], right[block * size : (block + 1) * size], lags) > COHERENT
        for block in chosen[similar[chosen]].tolist()
    )
    return common / len(chosen)


def coherence(block: Samples, other: Samples, lags: int) -> float:
    """The squared correlation of two blocks of equal length, shape (samples,), at the best lag of up to `lags`."""
    block, other = block - block.mean(), other - other.mean()
    energy = float(np.dot(block, block)) * float(np.dot(other, other))
    if energy <= 0:
        return 0.0
    size = 1 << int(len(block) + lags - 1).bit_length()
    spectrum = np.conj(np.fft.rfft(block, size)) * np.fft.rfft(other, size)
    products = np.fft.irfft(spectrum, size)
    return float(np.square(np.concatenate([products[-lags:], products[: lags + 1]])).max()) / energy


def moments(left: Samples, right: Samples, size: int) -> tuple[Powers, Powers, Powers]:
    """Powers of both channels, and their covariance, in blocks of `size` samples; the last may be shorter."""
    whole = len(left) // size * size
    parts = [(left[:whole].reshape(-1, size), right[:whole].reshape(-1, size))]
    if whole < len(left):
        parts.append((left[np.newaxis, whole:], right[np.newaxis, whole:]))
    columns = zip(*(_moments_of_blocks(one, two) for one, two in parts), strict=True)
    power, other, covariance = (np.concatenate(column) for column in columns)
    return power, other, covariance


def _moments_of_blocks(left: Samples, right: Samples) -> tuple[Powers, Powers, Powers]:
    """The moments of blocks of equal length, shape (blocks, samples), float32."""
    size = left.shape[1]
    means = left.mean(axis=1, dtype=np.float64), right.mean(axis=1, dtype=np.float64)

    def covariance(one: Samples, two: Samples, product_of_means: Powers) -> Powers:
        products: Powers = np.einsum("ij,ij->i", one, two).astype(np.float64)
        products /= size
        products -= product_of_means
        return products

    return (
        covariance(left, left, means[0] ** 2).clip(0),
        covariance(right, right, means[1] ** 2).clip(0),
        covariance(left, right, means[0] * means[1]),
    )


def level_of(powers: Powers) -> float:
    """The power of the loud blocks, of all blocks of a channel; 0 if there are none."""
    return float(np.percentile(powers, LOUD_PERCENTILE)) if len(powers) else 0.0


def _above_floor(powers: Powers) -> Powers:
    """Powers without the channel's noise; 0 for frames of noise."""
    floor = float(np.percentile(powers, FLOOR_PERCENTILE)) if len(powers) else 0.0
    return np.where(powers > ABOVE_FLOOR * floor, powers - floor, 0.0)
