from pathlib import Path

import numpy as np
import pytest
import soundfile

from scripts.benchmarking.benchmark_clips import ClipsError, choose_rows, cut_clips, speech_clips
from scripts.speech.eval_sets import load_eval_set
from tests.checkpoints import RATE_HZ, babbling


def test_a_file_is_looped_or_cut(tmp_path: Path) -> None:
    soundfile.write(path := tmp_path / "a.wav", babbling(1.0, 1), RATE_HZ)
    clips = cut_clips(path, [0.5, 2.0], RATE_HZ)
    assert {length_s: [len(clip) for clip in of_length] for length_s, of_length in clips.items()} == {
        0.5: [RATE_HZ // 2],
        2.0: [2 * RATE_HZ],
    }
    (short,), (long,) = clips.values()
    np.testing.assert_array_equal(short, long[RATE_HZ : RATE_HZ + len(short)])


def test_utterances_of_the_length_are_taken_whole() -> None:
    durations_s = [3.6, 3.1, 9.0, 2.9, 3.0]
    assert choose_rows(durations_s, 3.0, 3, seed=0) == [[4], [1], [3]]


def test_where_there_are_none_utterances_are_joined_until_they_are_long_enough() -> None:
    durations_s = [4.0, 5.0, 3.0, 2.0, 6.0, 4.0]
    chosen = choose_rows(durations_s, 8.0, 2, seed=1)
    assert len(chosen) == 2
    used = [index for indices in chosen for index in indices]
    assert len(used) == len(set(used))
    for indices in chosen:
        assert sum(durations_s[index] for index in indices) >= 8.0 > sum(durations_s[index] for index in indices[:-1])
    assert choose_rows(durations_s, 8.0, 2, seed=2) != chosen
    assert choose_rows(durations_s, 24.0, 1, seed=0), "all of it"
    with pytest.raises(ClipsError, match="too short for 3 clips of 9 s"):
        choose_rows(durations_s, 9.0, 3, seed=0)
    with pytest.raises(ClipsError):
        choose_rows([], 1.0, 1, seed=0)


def test_a_longer_utterance_is_cut(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "long.wav", babbling(5.0, 1), RATE_HZ)
    (speech := tmp_path / "speech.jsonl").write_text('{"audio": "long.wav", "text": "a"}', encoding="utf-8")
    rows = load_eval_set(str(speech))
    assert [len(clip) for clip in speech_clips(rows, [2.0], 1, RATE_HZ, 0)[2.0]] == [2 * RATE_HZ]
    assert [len(clip) for clip in speech_clips(rows, [4.5], 1, RATE_HZ, 0)[4.5]] == [5 * RATE_HZ]


def test_the_clips_of_a_set() -> None:
    rows = load_eval_set("samples/manifest.jsonl", 3)
    (joined,), whole = speech_clips(rows, [12.5], 1, RATE_HZ, 0)[12.5], rows.samples(0, RATE_HZ)
    assert len(joined) == round(12.5 * RATE_HZ)
    (alone,) = speech_clips(rows, [len(whole) / RATE_HZ], 1, RATE_HZ, 0)[len(whole) / RATE_HZ]
    np.testing.assert_array_equal(alone, whole)
