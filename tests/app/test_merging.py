from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from app.merging import Channel, Merger
from app.recognizer import Window
from app.transcript import Segment, Word

RATE_HZ = 10


class Script:
    """A decoder whose outputs are the segments that become final, and the start of what does not."""

    def __init__(self) -> None:
        self.pending_s: float | None = None

    def add(self, window: Window, output: tuple[list[Segment], float | None]) -> list[Segment]:
        segments, self.pending_s = output
        return list(segments)

    def finish(self) -> list[Segment]:
        return []


def windows(*starts_s: float) -> list[Window]:
    return [Window(np.zeros(RATE_HZ, dtype=np.float32), round(start_s * RATE_HZ)) for start_s in starts_s]


def segment(start_s: float, end_s: float) -> Segment:
    return Segment.of((Word(f"w{start_s:g}", start_s, end_s, 0.9),))


def merger(*starts_s: Sequence[float]) -> Merger:
    numbers: list[int | None] = [None] if len(starts_s) == 1 else list(range(len(starts_s)))
    return Merger(
        [Channel(number, windows(*starts), Script()) for number, starts in zip(numbers, starts_s, strict=True)], RATE_HZ
    )


def texts(segments: Sequence[Segment]) -> list[str]:
    return [segment.text for segment in segments]


def test_windows_of_all_channels_advance_together() -> None:
    """The clip with more of them, too, and one that is silent at first."""
    starts = [window.start / RATE_HZ for window in merger([0, 16, 32, 48], [0, 16], [20]).windows]
    assert starts == [0, 0, 16, 16, 20, 32, 48]


def test_the_segments_of_one_channel_pass_at_once_and_have_no_speaker() -> None:
    merging = merger([0, 16])
    first, second = segment(1, 2), segment(5, 6)
    assert merging.add(([first], 5.0)) == [first]
    assert merging.add(([second], None)) == [second]


def test_segments_come_by_their_start_and_none_before_an_earlier_one_is_possible() -> None:
    merging = merger([0, 16], [0, 16])
    assert texts(merging.add(([segment(3, 9), segment(10, 12)], 13.0))) == []  # the other channel may begin at 0
    assert texts(merging.add(([segment(2, 4)], 11.0))) == ["w2", "w3", "w10"]
    assert texts(merging.add(([segment(13, 15)], None))) == []
    assert texts(merging.add(([segment(11, 14), segment(15, 16)], None))) == ["w11", "w13", "w15"]


def test_a_channel_without_windows_holds_nothing_up() -> None:
    merging = merger([0, 16], [])
    assert texts(merging.add(([segment(1, 2)], None))) == ["w1"]


def test_a_channel_that_falls_silent_holds_nothing_up() -> None:
    """Its next window is far away, and nothing is pending before."""
    merging = merger([0, 16], [0, 100])
    merging.add(([segment(1, 2)], None))
    assert texts(merging.add(([], None))) == ["w1"]
    assert texts(merging.add(([segment(20, 30)], None))) == ["w20"]


def test_segments_and_words_carry_their_channel_and_speaker() -> None:
    merging = merger([0], [0])
    merging.add(([segment(1, 2)], None))
    found = merging.add(([segment(1.5, 3)], None))
    assert [(part.channel, part.speaker) for part in found] == [(0, "A"), (1, "B")]
    assert [(part.words[0].channel, part.words[0].speaker) for part in found] == [(0, "A"), (1, "B")]


def test_any_order_of_pauses_gives_all_segments_in_order() -> None:
    random = np.random.default_rng(0)
    starts_s = [sorted(random.uniform(0, 100, 40)) for _ in range(3)]
    merging = merger(*([0, 20, 40, 60, 80] for _ in starts_s))
    found: list[Segment] = []
    for window in range(5):
        for starts in starts_s:
            final = [segment(start, start + 1) for start in starts if 20 * window <= start < 20 * window + 20]
            found += merging.add((final, None))
    assert len(found) == 120
    assert all(before.start_s <= after.start_s for before, after in pairwise(found))
