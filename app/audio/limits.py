"""The limits of a clip, and the checks that all decoded samples pass."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from app.audio.blocks import Block, Source
from app.errors import AudioTooLong, InvalidAudio

MIN_RATE_HZ, MAX_RATE_HZ = 1_000, 768_000
"""Sample rates outside this range mean a broken header (telephones use 8 kHz, the fastest converters 768 kHz)."""
MAX_SAMPLE = 2.0**31
"""Full scale is 1, but some programs store unscaled integers of 16 or 32 bits as floats. Larger values are not
audio."""
ROUNDING_S = 1e-6
"""Less than one sample at any rate: the rounding error when the durations of blocks add up."""
BYTES_PER_SAMPLE = 4


@dataclass(frozen=True)
class AudioLimits:
    """Limits of a clip: duration in seconds, size in bytes when decoded to float32 (all channels), channels."""

    max_duration_s: float
    max_decoded_bytes: int
    max_channels: int


def check_header(source: Source, limits: AudioLimits) -> None:
    """Check the header before anything is decoded. Raises InvalidAudio or AudioTooLong."""
    _check_form(source.rate_hz, source.channels, limits)
    if source.length_s is not None:
        decoded_bytes = source.length_s * source.rate_hz * source.channels * BYTES_PER_SAMPLE
        if source.length_s > limits.max_duration_s + ROUNDING_S or decoded_bytes > limits.max_decoded_bytes + 0.5:
            raise _too_long(limits)


def checked(blocks: Iterator[Block], limits: AudioLimits, meter: Callable[[float], object]) -> Iterator[Block]:
    """The same blocks, without those that have no frames.

    meter: called with the duration of each block, in seconds, first.

    Raises AudioTooLong beyond the limits, InvalidAudio for an impossible rate or number of channels, and for samples
    that are not finite or absurdly large.
    """
    duration_s, decoded_bytes = 0.0, 0
    for block in blocks:
        samples = block.samples
        _check_form(block.rate_hz, samples.shape[1], limits)
        duration_s += len(samples) / block.rate_hz
        decoded_bytes += samples.nbytes
        if duration_s > limits.max_duration_s + ROUNDING_S or decoded_bytes > limits.max_decoded_bytes:
            raise _too_long(limits)
        meter(len(samples) / block.rate_hz)
        if not len(samples):
            continue
        # min and max propagate NaN, and comparisons with NaN are false.
        if not (samples.max() <= MAX_SAMPLE and samples.min() >= -MAX_SAMPLE):
            raise InvalidAudio("the file contains invalid samples (NaN, infinity or absurdly large)")
        yield block


def _check_form(rate_hz: int, channels: int, limits: AudioLimits) -> None:
    if not 1 <= channels <= limits.max_channels:
        message = f"the file has {channels} channels; 1 to {limits.max_channels} are supported"
        raise InvalidAudio(message, channels=channels)
    if not MIN_RATE_HZ <= rate_hz <= MAX_RATE_HZ:
        raise InvalidAudio(f"the file has an impossible sample rate of {rate_hz} Hz", rate_hz=rate_hz)


def _too_long(limits: AudioLimits) -> AudioTooLong:
    return AudioTooLong(
        f"the audio is longer than {limits.max_duration_s:g} s or {limits.max_decoded_bytes} bytes decoded",
        max_duration_s=limits.max_duration_s,
        max_decoded_bytes=limits.max_decoded_bytes,
    )
