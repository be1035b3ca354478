import json
import re
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from app.artifacts import open_artifact
from app.asr import load_engine
from app.decoding import decode_ctc
from scripts.common.files import SOUND_SUFFIXES, find_files
from scripts.transcribe import main, name_transcripts
from tests.checkpoints import RATE_HZ, babbling, exported

DURATIONS_S = {"a": 0.8, "b": 2.5, "c": 1.2}


@pytest.fixture(autouse=True)
def model(checkpoints: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The settings name a tiny model and cut a clip of more than two seconds into windows."""
    folder = exported("small", checkpoints)
    settings = {"MODEL_DIR": str(folder), "BACKEND": "onnx", "WORKERS": "2", "WINDOW_S": "2", "OVERLAP_S": "0.5"}
    settings["ALLOW_UNPROVEN"] = "true"  # random weights prove nothing
    for name, value in settings.items():
        monkeypatch.setenv(f"ASR_{name}", value)
    return folder


@pytest.fixture
def recordings(tmp_path: Path) -> Path:
    folder = tmp_path / "recordings"
    (folder / "deep").mkdir(parents=True)
    soundfile.write(folder / "a.wav", babbling(DURATIONS_S["a"], 11), RATE_HZ)
    soundfile.write(folder / "b.flac", babbling(DURATIONS_S["b"], 12), RATE_HZ)
    soundfile.write(folder / "deep" / "c.WAV", babbling(DURATIONS_S["c"], 13), RATE_HZ)
    (folder / "notes.txt").write_text("no sound", encoding="utf-8")
    return folder


def run(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int | str | None:
    """Call the command line; its exit code."""
    monkeypatch.setattr(sys, "argv", ["transcribe.py", *map(str, arguments)])
    with pytest.raises(SystemExit) as exit_:
        main()
    return exit_.value.code


def said(model: Path, path: Path) -> str:
    """What the engine says of a clip that fits into one window."""
    artifact = open_artifact(model)
    samples, _ = soundfile.read(path, dtype="float32")
    (emissions,) = load_engine(artifact, "onnx", threads=1).emissions([samples])
    text = " ".join(word.text for word in decode_ctc(emissions, artifact.vocabulary, artifact.frame_s))
    assert len(text) > 3, "the model says something"
    return text


def test_one_file_is_printed(
    model: Path, recordings: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, recordings / "a.wav") == 0
    assert capsys.readouterr().out == said(model, recordings / "a.wav") + "\n"


def test_files_and_folders_are_printed_in_order(
    model: Path, recordings: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, recordings / "deep" / "c.WAV", recordings) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition(": ")[0] for line in lines] == [
        str(recordings / name) for name in ("deep/c.WAV", "a.wav", "b.flac")
    ]
    assert lines[0].partition(": ")[2] == said(model, recordings / "deep" / "c.WAV")
    assert lines[1].partition(": ")[2] == said(model, recordings / "a.wav")
    assert len(lines[2].partition(": ")[2]) > 3


def test_a_file_each_in_the_folder_asked_for(
    model: Path, recordings: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "new" / "out"
    assert run(monkeypatch, recordings, "--out", out) == 0
    assert {path.name for path in out.iterdir()} == {"a.txt", "b.txt", "c.txt"}
    assert (out / "a.txt").read_text(encoding="utf-8") == said(model, recordings / "a.wav") + "\n"
    assert capsys.readouterr().out == f"3 of 3 transcripts in {out}\n"


@pytest.mark.parametrize(("format_", "suffix"), [("text", "txt"), ("json", "json"), ("srt", "srt"), ("vtt", "vtt")])
def test_every_format(
    format_: str, suffix: str, model: Path, recordings: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run(monkeypatch, recordings / "a.wav", "--format", format_, "--out", tmp_path) == 0
    written = (tmp_path / f"a.{suffix}").read_text(encoding="utf-8")
    text = said(model, recordings / "a.wav")
    clock = r"00:00:00{0}\d{{3}} --> 00:00:00{0}\d{{3}}\n"
    match format_:
        case "text":
            assert written == text + "\n"
        case "json":
            body = json.loads(written)
            assert (body["text"], body["backend"], body["duration"]) == (text, "onnx", DURATIONS_S["a"])
            assert " ".join(word["word"] for word in body["words"]) == text
        case "srt":
            assert re.match(r"1\n" + clock.format(","), written)
            assert " ".join(re.findall(r"-->.*\n(.*)\n", written)) == text
        case "vtt":
            assert re.match(r"WEBVTT\n\n" + clock.format(r"\."), written)
            assert " ".join(re.findall(r"-->.*\n(.*)\n", written)) == text


def test_a_broken_file_does_not_keep_the_others_from_being_done(
    recordings: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (recordings / "aa broken.mp3").write_bytes(b"this is no sound at all")
    (recordings / "ab empty.wav").touch()
    (recordings / "ac nan.wav").touch()
    soundfile.write(recordings / "ac nan.wav", np.full(RATE_HZ, np.nan), RATE_HZ, subtype="FLOAT")
    out = tmp_path / "out"
    assert run(monkeypatch, recordings, "--out", out) == 1
    printed = capsys.readouterr()
    assert {path.name for path in out.iterdir()} == {"a.txt", "b.txt", "c.txt"}
    assert f"{recordings / 'aa broken.mp3'}: the file is not sound in a known format" in printed.err
    assert f"{recordings / 'ab empty.wav'}: the file is empty" in printed.err
    assert f"{recordings / 'ac nan.wav'}: the file holds samples that are no" in printed.err
    assert printed.out == f"3 of 6 transcripts in {out}\n"


def test_a_file_that_goes_away_does_not_keep_the_others_from_being_done(
    recordings: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def find_and_lose(paths: list[Path]) -> list[Path]:
        found = find_files(paths)
        (recordings / "a.wav").unlink()
        return found

    monkeypatch.setattr("scripts.transcribe.find_files", find_and_lose)
    assert run(monkeypatch, recordings) == 1
    printed = capsys.readouterr()
    assert f"{recordings / 'a.wav'}: the file cannot be read: No such file" in printed.err
    assert len(printed.out.splitlines()) == 2


def test_files_of_one_name_do_not_overwrite_each_other(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clips = [tmp_path / "in" / name for name in ("monday/call.wav", "tuesday/call.wav", "tuesday/call.flac")]
    for seed, clip in enumerate(clips):
        clip.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(clip, babbling(1.0, 20 + seed), RATE_HZ)
    texts = [said(model, clip) for clip in clips]
    assert len(set(texts)) == 3
    out = tmp_path / "out"
    assert run(monkeypatch, tmp_path / "in", "--out", out) == 0
    written = {str(path.relative_to(out)): path.read_text(encoding="utf-8") for path in out.rglob("*.txt")}
    assert written == {
        "monday/call.wav.txt": texts[0] + "\n",
        "tuesday/call.wav.txt": texts[1] + "\n",
        "tuesday/call.flac.txt": texts[2] + "\n",
    }


def test_names_stay_inside_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    files = [Path("../there/a.wav"), Path("a.wav")]
    assert name_transcripts(files, ".srt") == {
        files[0]: Path("there/a.wav.srt"),
        files[1]: Path("here/a.wav.srt"),
    }
    assert name_transcripts(files[:1], ".srt") == {files[0]: Path("a.srt")}


def test_a_folder_is_searched_at_any_depth_for_sound_only(recordings: Path) -> None:
    (recordings / "folder.wav").mkdir()
    (recordings / "gone.wav").symlink_to(recordings / "nowhere.wav")
    assert find_files([recordings]) == [recordings / name for name in ("a.wav", "b.flac", "deep/c.WAV")]
    assert find_files([recordings / "notes.txt"]) == [recordings / "notes.txt"], "what is named is taken"
    assert find_files([recordings / "b.flac", recordings])[0] == recordings / "b.flac"
    assert len(find_files([recordings / "b.flac", recordings])) == 3
    assert {".m4a", ".webm", ".amr", ".opus"} <= SOUND_SUFFIXES


def test_an_unproven_model_is_refused_unless_that_is_allowed(
    model: Path,
    recordings: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = shutil.copytree(model, tmp_path / "model")
    (folder / "manifest.json").unlink()
    monkeypatch.setenv("ASR_MODEL_DIR", str(folder))
    assert run(monkeypatch, recordings / "a.wav") == 0
    assert capsys.readouterr().out == said(model, recordings / "a.wav") + "\n"
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    assert "there is no manifest.json" in caplog.text
    monkeypatch.setenv("ASR_ALLOW_UNPROVEN", "false")
    refusal = str(run(monkeypatch, recordings / "a.wav"))
    assert refusal.startswith(
        "model is not proven: there is no manifest.json; prove it anew with `python scripts/export.py"
    )
    assert "ASR_ALLOW_UNPROVEN" in refusal


def test_what_is_not_there_is_said(
    recordings: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: Path
) -> None:
    assert run(monkeypatch, recordings, tmp_path / "no.wav") == f"there is no file {tmp_path / 'no.wav'}"
    (tmp_path / "empty").mkdir()
    assert run(monkeypatch, tmp_path / "empty") == f"there is no sound file in {tmp_path / 'empty'}"
    monkeypatch.setenv("ASR_MODEL_DIR", str(tmp_path / "none"))
    assert run(monkeypatch, recordings) == f"there is no model folder {tmp_path / 'none'}"
