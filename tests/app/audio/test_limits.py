from collections.abc import Iterator

import numpy as np
import pytest

from app.audio.blocks import Block, Source, silence
from app.audio.limits import MAX_SAMPLE, AudioLimits, check_header, checked
from app.errors import AudioTooLong, InvalidAudio

LIMITS = AudioLimits(max_duration_s=10.0, max_decoded_bytes=1 << 20, max_channels=2)


def header(rate_hz: int = 16_000, channels: int = 1, length_s: float | None = None) -> Source:
    return Source(rate_hz, channels, length_s, iter(()))


@pytest.mark.parametrize("source", [header(), header(length_s=10.0), header(8_000, 2, 10.0), header(length_s=0.0)])
def test_headers_within_the_limits(source: Source) -> None:
    check_header(source, LIMITS)


@pytest.mark.parametrize("length_s", [10.001, 1e12, float("inf")])
def test_a_header_that_tells_more_seconds(length_s: float) -> None:
    with pytest.raises(AudioTooLong) as caught:
        check_header(header(length_s=length_s), LIMITS)
    assert caught.value.details == {"max_duration_s": 10.0, "max_decoded_bytes": 1 << 20}


def test_a_header_that_tells_more_bytes() -> None:
    limits = AudioLimits(10.0, 2 * 4 * 16_000, 2)
    check_header(header(16_000, 2, 1.0), limits)
    with pytest.raises(AudioTooLong):
        check_header(header(16_000, 2, 1.01), limits)


@pytest.mark.parametrize("source", [header(channels=0), header(channels=3), header(rate_hz=0), header(rate_hz=999)])
def test_impossible_headers(source: Source) -> None:
    with pytest.raises(InvalidAudio):
        check_header(source, LIMITS)


def blocks(*forms: tuple[int, int, int], value: float = 0.0) -> Iterator[Block]:
    """forms: frames, channels and rate of each block."""
    for frames, channels, rate_hz in forms:
        yield Block(np.full((frames, channels), value, dtype=np.float32), rate_hz)


def test_seconds_add_up_over_blocks_of_all_rates() -> None:
    told: list[float] = []
    assert len(list(checked(blocks((40_000, 1, 8_000), (80_000, 1, 16_000)), LIMITS, told.append))) == 2
    assert told == [5.0, 5.0]
    with pytest.raises(AudioTooLong):
        list(checked(blocks((40_000, 1, 8_000), (80_001, 1, 16_000)), LIMITS, told.append))


def test_many_blocks_up_to_the_limit_are_not_rounded_above_it() -> None:
    forms = [(441, 1, 44_100)] * 1_000
    assert len(list(checked(blocks(*forms), AudioLimits(10.0, 1 << 30, 2), lambda seconds: None))) == 1_000


@pytest.mark.parametrize("form", [(1, 3, 16_000), (1, 1, 500), (1, 1, 1_000_000)])
def test_a_stream_may_not_become_what_its_header_may_not_be(form: tuple[int, int, int]) -> None:
    with pytest.raises(InvalidAudio):
        list(checked(blocks((1, 1, 16_000), form), LIMITS, lambda seconds: None))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1.1 * MAX_SAMPLE, -1.1 * MAX_SAMPLE])
def test_one_sample_that_is_no_sound(value: float) -> None:
    samples = np.zeros((1_000, 2), dtype=np.float32)
    samples[777, 1] = value
    with pytest.raises(InvalidAudio, match="NaN, infinity"):
        list(checked(iter([Block(samples, 16_000)]), LIMITS, lambda seconds: None))


def test_what_is_refused_is_not_handed_on() -> None:
    told: list[float] = []
    handed = checked(blocks((16_000, 1, 16_000), (160_000, 1, 16_000)), LIMITS, told.append)
    next(handed)
    with pytest.raises(AudioTooLong):
        next(handed)
    assert told == [1.0]


def test_a_block_without_frames_is_only_metered() -> None:
    """The caller may stop there."""
    told: list[float] = []
    assert list(checked(blocks((0, 1, 16_000)), LIMITS, told.append)) == []
    assert told == [0.0]


@pytest.mark.parametrize(
    ("frames", "sizes"), [(0, []), (1, [1]), (65_536, [65_536]), (150_000, [65_536, 65_536, 18_928])]
)
def test_silence_comes_in_blocks(frames: int, sizes: list[int]) -> None:
    made = list(silence(frames, 8_000))
    assert [len(block.samples) for block in made] == sizes
    assert all(block.rate_hz == 8_000 and not block.samples.any() for block in made)
