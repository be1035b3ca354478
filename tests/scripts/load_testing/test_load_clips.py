import io
import json
import subprocess
import sys
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import soundfile

from scripts.load_testing.encoding import FORMATS
from scripts.load_testing.load_clips import (
    CONTENT_TYPE,
    SPEECH_RATE_HZ,
    ClipCutter,
    clip_cutter,
    in_formats,
    in_turn,
    lengths_of,
    long_clip,
    read_samples,
    short_clips,
)
from scripts.speech.clips import DataError
from tests.checkpoints import babbling
from tests.conftest import ROOT, Client


@pytest.mark.parametrize(
    ("mix", "lengths_s"),
    [("2-4", [2.0, 2.5, 3.0, 3.5, 4.0]), ("3-3", [3.0]), ("2,5,10", [2.0, 5.0, 10.0]), ("3", [3.0])],
)
def test_a_mix_is_a_range_or_a_list(mix: str, lengths_s: list[float]) -> None:
    assert lengths_of(mix) == lengths_s


@pytest.mark.parametrize("mix", ["", "0", "4-2", "two", "-3"])
def test_an_invalid_mix_is_refused(mix: str) -> None:
    with pytest.raises(ValueError, match=r"is not a valid list|could not convert"):
        lengths_of(mix)


def test_clips_have_their_lengths_and_only_whole_samples_their_texts() -> None:
    clips = short_clips("2,7.25")
    cuts, whole = clips[:2], clips[2:]
    assert [clip.duration_s for clip in cuts] == [2.0, 7.25]
    assert all(clip.text is None for clip in cuts)
    assert {clip.name for clip in whole} == {"sample", "short"}, "the others are longer than the longest of the mix"
    assert all(clip.text for clip in whole)
    assert len({clip.name for clip in clips}) == len(clips)


def test_clips_are_the_same_every_time_and_all_different() -> None:
    once, again = short_clips(), short_clips()
    assert [clip.body for clip in once] == [clip.body for clip in again]
    assert len({clip.pcm.tobytes() for clip in once}) == len(once)


DURATIONS_S = [18.0, 4.5, 2.0, 9.0, 4.0, 6.5]


@pytest.fixture(scope="module")
def speech(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A table of clips of `DURATIONS_S`, at 8 kHz."""
    table = tmp_path_factory.mktemp("speech") / "manifest.jsonl"
    rows = []
    for index, duration_s in enumerate(DURATIONS_S):
        soundfile.write(table.with_name(f"{index}.wav"), babbling(duration_s, seed=index)[::2], 8_000)
        rows.append({"audio": f"{index}.wav", "text": "evet", "duration": duration_s})
    table.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return str(table)


def test_utterances_are_whole_and_the_nearest_to_the_lengths_of_the_mix(speech: str) -> None:
    clips = short_clips("2,4,4,8", speech)
    assert [clip.name for clip in clips] == ["row-2", "row-4", "row-1", "row-3"], "each is taken once"
    assert [clip.duration_s for clip in clips] == [2.0, 4.0, 4.5, 9.0]
    assert {clip.rate_hz for clip in clips} == {SPEECH_RATE_HZ}
    assert all(clip.text is None for clip in clips), "how well they are recognized is not the question"
    assert all(np.abs(clip.pcm).max() > 1000 for clip in clips)


@pytest.mark.parametrize("length_s", [20.0, 22.5, 60.0])
def test_a_long_clip_has_the_clips_of_a_set_one_after_the_other(speech: str, length_s: float) -> None:
    clip = long_clip(length_s, speech)
    assert clip.duration_s == length_s
    first, second = (short_clips(mix, speech)[0] for mix in ("18", "4.5"))
    both = np.concatenate([first.pcm, second.pcm])[: len(clip.pcm)]
    assert np.array_equal(clip.pcm[: len(both)], both)


def test_clips_are_cut_from_as_much_of_a_set_as_is_needed(speech: str) -> None:
    every = clip_cutter(speech).cut("every", sum(DURATIONS_S))
    assert np.array_equal(clip_cutter(speech, 3.0).cut("cut", 3.0).pcm, every.pcm[: 3 * SPEECH_RATE_HZ])
    again = clip_cutter(speech, 3.0).cut("longer", 20.0).pcm  # one clip is enough, and repeats
    assert np.array_equal(again[18 * SPEECH_RATE_HZ :], every.pcm[: 2 * SPEECH_RATE_HZ])


def test_too_few_utterances_are_refused(speech: str) -> None:
    with pytest.raises(ValueError, match=r"manifest.jsonl has 6 clips; a mix of 2-12 needs 21"):
        short_clips("2-12", speech)


def test_a_set_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"manifest\.jsonl"):
        short_clips("2", str(tmp_path / "manifest.jsonl"))


def test_reading_a_set_says_what_to_install(speech: str) -> None:
    code = (
        "import sys; sys.modules['datasets'] = None\n"
        "from scripts.load_testing.load_clips import short_clips\n"
        f"try: short_clips('2', {speech!r})\n"
        "except ValueError as error: print(error)"
    )
    ended = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert ended.stdout == "speech data needs datasets: pip install -r requirements-train.txt\n"


def test_clips_are_cut_one_after_the_other_from_repeated_samples() -> None:
    samples = read_samples()
    whole = np.concatenate([sample.pcm for sample in samples])
    cutter = ClipCutter(samples)
    length_s = len(whole) / samples[0].rate_hz
    first, second = cutter.cut("first", 1.0), cutter.cut("second", length_s)
    assert np.array_equal(first.pcm, whole[:16_000])
    assert np.array_equal(second.pcm, np.roll(whole, -16_000))


def test_a_long_clip_has_the_requested_length() -> None:
    assert long_clip(100.0).duration_s == 100.0


def test_the_body_is_a_form_with_a_wav_file() -> None:
    (clip,) = short_clips("2")[:1]
    head, _, rest = clip.body.partition(b"\r\n\r\n")
    samples, rate_hz = soundfile.read(io.BytesIO(rest), dtype="int16")
    assert b'name="file"' in head
    assert rate_hz == clip.rate_hz
    assert np.array_equal(samples, clip.pcm)


def test_the_service_takes_the_body(client: Client) -> None:
    (clip,) = short_clips("2.5")[:1]
    answer = client.post("/transcribe", content=clip.body, headers={"Content-Type": CONTENT_TYPE})
    assert answer.status_code == 200, answer.text
    assert answer.json()["duration"] == 2.5


def test_users_cycle_through_all_clips_from_different_starts() -> None:
    clips = short_clips("2,3,4")[:3]
    assert list(islice(in_turn(clips, 4), 4)) == [clips[1], clips[2], clips[0], clips[1]]


def test_each_clip_is_sent_in_each_format_and_neighbours_differ() -> None:
    clips = short_clips("2,3,4")[:3]
    mixed = in_formats(clips, ["wav", "opus"])
    assert [(clip.duration_s, clip.format) for clip in mixed] == [
        *((2.0, "wav"), (3.0, "opus"), (4.0, "wav")),
        *((2.0, "opus"), (3.0, "wav"), (4.0, "opus")),
    ]
    assert len({clip.name for clip in mixed}) == len(mixed), "texts are kept by name"
    assert in_formats(clips, ["wav"]) == clips


def test_the_text_of_a_sample_is_known_in_every_format() -> None:
    texts = {(clip.format, clip.text) for clip in in_formats(read_samples(), list(FORMATS)) if "short" in clip.name}
    assert texts == {(name, "Evet, doğru.") for name in FORMATS}


@pytest.mark.parametrize("name", FORMATS)
def test_the_service_takes_every_format(name: str, client: Client) -> None:
    (clip,) = in_formats(short_clips("2")[:1], [name])
    answer = client.post("/transcribe", content=clip.body, headers={"Content-Type": CONTENT_TYPE})
    assert answer.status_code == 200, answer.text
    assert answer.json()["duration"] == pytest.approx(2.0, abs=0.05)
