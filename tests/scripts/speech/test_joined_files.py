"""Long files made of clips: where they end, and whose errors are whose."""

import numpy as np
import pytest

from scripts.speech.clips import DataError
from scripts.speech.joined_files import (
    EditCounts,
    edits_by_clip,
    faster,
    fastest_rows,
    join_clips,
    longest_gap_s,
    most_repeats,
)
from tests.speech import speech_rows

HZ = 16_000


def test_files_consist_of_whole_clips_with_pauses() -> None:
    rows = speech_rows([""] * 4, [1.0, 2.0, 1.5, 1.0])
    first, second = join_clips(rows, [3, 1, 0, 2], length_s=3.0, pause_s=0.25, rate_hz=HZ)
    assert (first.clips, second.clips) == ((3, 1), (0, 2))
    assert len(first.samples) == (1.0 + 0.25 + 2.0 + 0.25) * HZ
    assert not first.samples[HZ : HZ + HZ // 4].any()
    assert np.array_equal(first.samples[:HZ], rows.samples(3, HZ))


def test_a_file_that_would_be_too_short_is_left_out() -> None:
    rows = speech_rows(["", ""], [1.0, 1.0])
    assert not list(join_clips(rows, [0, 1], length_s=5.0, pause_s=0.0, rate_hz=HZ))


def test_the_fastest_clips_have_the_most_words_per_second() -> None:
    rows = speech_rows(["one", "one two three", "one two three", ""], [1.0, 2.0, 1.0, 1.0])
    assert fastest_rows(rows, 2) == [1, 2]


def test_faster_speech_has_the_same_pitch() -> None:
    tone = (np.sin(2 * np.pi * 200 * np.arange(2 * HZ) / HZ) / 2).astype(np.float32)
    fast = faster(tone, 1.5, HZ)
    assert len(fast) == pytest.approx(len(tone) / 1.5, rel=0.02)
    middle = fast[HZ // 4 : HZ // 4 + HZ // 2]
    assert np.abs(np.fft.rfft(middle)).argmax() == 200 * len(middle) // HZ


def test_an_impossible_tempo_is_refused() -> None:
    with pytest.raises(DataError, match="sox fails"):
        faster(np.zeros(HZ, dtype=np.float32), -1.0, HZ)


def test_errors_belong_to_their_clips() -> None:
    edits = edits_by_clip(["one two three", "", "four five", "six"], "one too three more four five six seven")
    assert edits == [EditCounts(1, 0, 0, 3), EditCounts(0, 0, 0, 0), EditCounts(0, 0, 1, 2), EditCounts(0, 0, 1, 1)]
    assert edits_by_clip(["one two", "three"], "one") == [EditCounts(0, 1, 0, 2), EditCounts(0, 1, 0, 1)]


def test_texts_without_words() -> None:
    assert edits_by_clip(["", ""], "what is this") == [EditCounts(0, 0, 0, 0), EditCounts(0, 0, 3, 0)]
    assert edits_by_clip(["one"], "") == [EditCounts(0, 1, 0, 1)]


@pytest.mark.parametrize(
    ("spans", "gap_s"),
    [([], 10.0), ([(0.0, 10.0)], 0.0), ([(1.0, 2.0), (5.0, 9.0)], 3.0), ([(0.0, 8.0), (1.0, 2.0)], 2.0)],
)
def test_the_longest_gap(spans: list[tuple[float, float]], gap_s: float) -> None:
    assert longest_gap_s(spans, 10.0) == gap_s


@pytest.mark.parametrize(
    ("text", "repeats"),
    [("", 0), ("one two", 1), ("no no no", 3), ("we go we go we go home", 3), ("we go home we go", 1)],
)
def test_repeats_in_a_row(text: str, repeats: int) -> None:
    assert most_repeats(text.split()) == repeats
