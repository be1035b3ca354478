import errno
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pytest
import soundfile

import app.audio
from app.audio import Waveform
from scripts.common.audio_files import AUDIO_SUFFIXES, find_audio_files
from scripts.transcribe import STANDARD_INPUT, main, name_transcripts, parse_path
from tests.checkpoints import RATE_HZ, babbling, exported
from tests.fakes import PATIENCE_S
from tests.recognizers import ctc_recognizer

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "transcribe.py"
DURATIONS_S = {"a": 0.8, "b": 2.5, "c": 1.2}


@pytest.fixture(autouse=True)
def model(checkpoints: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The settings name a tiny model and cut a clip of more than two seconds into windows."""
    folder = exported("small", checkpoints)
    settings = {"MODEL_DIR": str(folder), "BACKEND": "onnx", "WORKERS": "2", "WINDOW_S": "2", "OVERLAP_S": "0.5"}
    settings["ALLOW_UNPROVEN"] = "true"  # random weights pass no proof
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
    (folder / "notes.txt").write_text("no audio", encoding="utf-8")
    return folder


def run(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int | str | None:
    """Run the command in this process. Returns its exit code."""
    monkeypatch.setattr(sys, "argv", ["transcribe.py", *map(str, arguments)])
    with pytest.raises(SystemExit) as exit_:
        main()
    return exit_.value.code


def transcript_of(model: Path, path: Path) -> str:
    """The transcript of a clip that fits into one window."""
    recognizer = ctc_recognizer(model, "onnx")
    samples, _ = soundfile.read(path, dtype="float32")
    (emissions,) = recognizer.emissions([samples])
    text = recognizer.text(emissions)
    assert len(text) > 3, "the transcript is not empty"
    return text


def test_one_file_is_printed(
    model: Path, recordings: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, recordings / "a.wav") == 0
    assert capsys.readouterr().out == transcript_of(model, recordings / "a.wav") + "\n"


def test_files_and_folders_are_printed_in_order(
    model: Path, recordings: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, recordings / "deep" / "c.WAV", recordings) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition(": ")[0] for line in lines] == [
        str(recordings / name) for name in ("deep/c.WAV", "a.wav", "b.flac")
    ]
    assert lines[0].partition(": ")[2] == transcript_of(model, recordings / "deep" / "c.WAV")
    assert lines[1].partition(": ")[2] == transcript_of(model, recordings / "a.wav")
    assert len(lines[2].partition(": ")[2]) > 3


def test_each_transcript_is_a_file_in_the_output_folder(
    model: Path, recordings: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "new" / "out"
    assert run(monkeypatch, recordings, "--out", out) == 0
    assert {path.name for path in out.iterdir()} == {"a.txt", "b.txt", "c.txt"}
    assert (out / "a.txt").read_text(encoding="utf-8") == transcript_of(model, recordings / "a.wav") + "\n"
    assert capsys.readouterr().out == f"3 of 3 transcripts in {out}\n"


@pytest.mark.parametrize(("format_", "suffix"), [("text", "txt"), ("json", "json"), ("srt", "srt"), ("vtt", "vtt")])
def test_every_format(
    format_: str, suffix: str, model: Path, recordings: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run(monkeypatch, recordings / "a.wav", "--format", format_, "--out", tmp_path) == 0
    written = (tmp_path / f"a.{suffix}").read_text(encoding="utf-8")
    text = transcript_of(model, recordings / "a.wav")
    clock = r"00:00:00{0}\d{{3}} --> 00:00:01{0}\d{{3}}\n"
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


def test_a_broken_file_does_not_affect_the_others(
    recordings: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (recordings / "aa broken.mp3").write_bytes(b"this is not audio")
    (recordings / "ab empty.wav").touch()
    (recordings / "ac nan.wav").touch()
    soundfile.write(recordings / "ac nan.wav", np.full(RATE_HZ, np.nan), RATE_HZ, subtype="FLOAT")
    out = tmp_path / "out"
    assert run(monkeypatch, recordings, "--out", out) == 1
    printed = capsys.readouterr()
    assert {path.name for path in out.iterdir()} == {"a.txt", "b.txt", "c.txt"}
    assert f"{recordings / 'aa broken.mp3'}: the file is not audio in a known format" in printed.err
    assert f"{recordings / 'ab empty.wav'}: the file is empty" in printed.err
    assert f"{recordings / 'ac nan.wav'}: the file contains invalid samples" in printed.err
    assert printed.out == f"3 of 6 transcripts in {out}\n"


def test_a_file_that_disappears_does_not_affect_the_others(
    recordings: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def find_and_lose(paths: list[Path], report: Callable[[FileNotFoundError], object]) -> list[Path]:
        found = find_audio_files(paths, report)
        (recordings / "a.wav").unlink()
        return found

    monkeypatch.setattr("scripts.transcribe.find_audio_files", find_and_lose)
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
    texts = [transcript_of(model, clip) for clip in clips]
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


def test_a_folder_is_searched_at_any_depth_for_audio_files_only(recordings: Path) -> None:
    (recordings / "folder.wav").mkdir()
    (recordings / "gone.wav").symlink_to(recordings / "nowhere.wav")
    assert find_audio_files([recordings]) == [recordings / name for name in ("a.wav", "b.flac", "deep/c.WAV")]
    assert find_audio_files([recordings / "notes.txt"]) == [recordings / "notes.txt"], (
        "a named file is taken whatever its suffix"
    )
    assert find_audio_files([recordings / "b.flac", recordings])[0] == recordings / "b.flac"
    assert len(find_audio_files([recordings / "b.flac", recordings])) == 3
    assert {".m4a", ".webm", ".amr", ".opus"} <= AUDIO_SUFFIXES


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
    assert capsys.readouterr().out == transcript_of(model, recordings / "a.wav") + "\n"
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    assert "there is no manifest.json" in caplog.text
    monkeypatch.setenv("ASR_ALLOW_UNPROVEN", "false")
    refusal = str(run(monkeypatch, recordings / "a.wav"))
    assert refusal.startswith(
        "model is not proven: there is no manifest.json; prove it anew with `python scripts/export.py"
    )
    assert "ASR_ALLOW_UNPROVEN" in refusal


def test_missing_files_are_reported_and_the_others_are_transcribed(
    model: Path, recordings: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    too_long = tmp_path / ("x" * 300 + ".wav")
    missing = [tmp_path / "no.wav", tmp_path / "empty", too_long]
    assert run(monkeypatch, missing[0], recordings / "a.wav", *missing[1:]) == 1
    printed = capsys.readouterr()
    assert printed.out == transcript_of(model, recordings / "a.wav") + "\n"
    assert printed.err.splitlines() == [
        f"{tmp_path / 'no.wav'} does not exist",
        f"there is no audio file in {tmp_path / 'empty'}",
        f"{too_long} cannot be read: File name too long",
    ]


def test_without_any_file_no_model_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("scripts.transcribe.load_model", lambda _: pytest.fail("loads a model for nothing"))
    assert run(monkeypatch, tmp_path / "no.wav") == 1
    assert capsys.readouterr().err == f"{tmp_path / 'no.wav'} does not exist\n"


def test_a_missing_model_is_reported(
    recordings: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: Path
) -> None:
    monkeypatch.setenv("ASR_MODEL_DIR", str(tmp_path / "none"))
    assert run(monkeypatch, recordings) == f"there is no model folder {tmp_path / 'none'}"


def test_an_unexpected_error_affects_one_file_only(
    model: Path, recordings: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def decode(file: BinaryIO, *rest: Any) -> list[Waveform]:
        if file.name == str(recordings / "a.wav"):
            raise MemoryError("no more")
        return app.audio.decode_channels(file, *rest)

    monkeypatch.setattr("app.transcriber.decode_channels", decode)
    assert run(monkeypatch, recordings) == 1
    printed = capsys.readouterr()
    assert f"{recordings / 'a.wav'}: the file cannot be transcribed: MemoryError: no more" in printed.err
    assert len(printed.out.splitlines()) == 2


def test_a_transcript_that_cannot_be_written_is_reported_and_the_others_are_written(
    recordings: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    (out / "b.txt").mkdir(parents=True)
    assert run(monkeypatch, recordings, "--out", out) == 1
    printed = capsys.readouterr()
    assert f"{recordings / 'b.flac'}: {out / 'b.txt'} cannot be written: Is a directory" in printed.err
    assert printed.out == f"2 of 3 transcripts in {out}\n"
    assert (out / "a.txt").is_file()
    assert (out / "c.txt").is_file()


# Names


def test_appledouble_files_of_macos_are_not_audio(recordings: Path) -> None:
    (recordings / "._a.wav").write_bytes(b"\x00\x05\x16\x07")
    assert find_audio_files([recordings]) == [recordings / name for name in ("a.wav", "b.flac", "deep/c.WAV")]
    assert find_audio_files([recordings / "._a.wav"]) == [recordings / "._a.wav"], (
        "a named file is taken whatever its suffix"
    )


@pytest.mark.parametrize("suffix", ".mov .MKV .weba .webm .m4a .amr .opus .mp4 .3gp .wave".split())
def test_audio_in_video_files_and_phone_recordings_is_found(tmp_path: Path, suffix: str) -> None:
    (tmp_path / f"a{suffix}").touch()
    assert find_audio_files([tmp_path]) == [tmp_path / f"a{suffix}"]


def test_a_folder_that_cannot_be_read_is_reported(recordings: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scandir = os.scandir

    def deny(path: str) -> Any:
        """Root, as which tests often run, can read every folder."""
        if path == str(recordings / "deep"):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", deny)
    problems: list[FileNotFoundError] = []
    assert find_audio_files([recordings], problems.append) == [recordings / "a.wav", recordings / "b.flac"]
    message = f"{recordings / 'deep'} cannot be read: Permission denied"
    assert [str(problem) for problem in problems] == [message]
    with pytest.raises(FileNotFoundError, match=re.escape(message)):
        find_audio_files([recordings])


def test_names_that_are_too_long_with_their_ending_are_cut(
    model: Path, recordings: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ["ğ" * 125 + end for end in ("1.wav", "2.wav")]  # 255 bytes each
    for name in names:
        os.link(recordings / "a.wav", recordings / name)
    out = tmp_path / "out"
    assert run(monkeypatch, *(recordings / name for name in names), "--format", "json", "--out", out) == 0
    written = sorted(path.name for path in out.iterdir())
    assert len(written) == 2
    for name in written:
        assert name.startswith("ğ" * 100)
        assert len(name.encode()) <= 255
        assert name.endswith(".json")


def test_names_that_differ_only_in_case_do_not_collide(tmp_path: Path) -> None:
    files = [tmp_path / "A.wav", tmp_path / "a.flac"]
    assert set(name_transcripts(files, ".txt").values()) == {Path("A.wav.txt"), Path("a.flac.txt")}


def test_standard_input_has_a_name(tmp_path: Path) -> None:
    files = [STANDARD_INPUT, tmp_path / "stdin.wav", tmp_path / "a.wav"]
    assert name_transcripts(files[::2], ".txt") == {files[0]: Path("stdin.txt"), files[2]: Path("a.txt")}
    assert name_transcripts(files, ".txt") == {
        files[0]: Path("stdin.txt"), files[1]: Path("stdin.wav.txt"), files[2]: Path("a.wav.txt"),
    }  # fmt: skip


def test_a_file_may_have_the_name_of_standard_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert parse_path("-") == STANDARD_INPUT
    assert parse_path("./-") == tmp_path / "-"
    assert parse_path("a-") == Path("a-")


# As a process


def command(*arguments: str | bytes | Path) -> list[str | bytes | Path]:
    return [sys.executable, str(SCRIPT), *arguments]


@pytest.mark.parametrize("source", ["-", "/dev/stdin"])
def test_audio_from_a_pipe(
    model: Path, recordings: Path, source: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    audio = (recordings / "b.flac").read_bytes()
    piped = subprocess.run(command(source), input=audio, capture_output=True, check=True).stdout.decode()
    assert run(monkeypatch, recordings / "b.flac") == 0
    assert piped == capsys.readouterr().out
    assert len(piped) > 3


def test_named_pipes_beside_files(model: Path, recordings: Path, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with subprocess.Popen(command(recordings / "a.wav", pipe), stdout=subprocess.PIPE) as process:
        pipe.write_bytes((recordings / "deep" / "c.WAV").read_bytes())
        printed = process.communicate(timeout=PATIENCE_S)[0].decode()
    assert process.returncode == 0
    assert printed.splitlines() == [
        f"{recordings / 'a.wav'}: {transcript_of(model, recordings / 'a.wav')}",
        f"{pipe}: {transcript_of(model, recordings / 'deep' / 'c.WAV')}",
    ]


def test_an_endless_pipe_is_not_read_forever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASR_MAX_DECODED_BYTES", "1000000")
    result = subprocess.run(command("/dev/zero"), capture_output=True, check=False, timeout=PATIENCE_S)
    assert result.returncode == 1
    assert result.stderr.decode() == ("/dev/zero: the pipe has more than 1000000 bytes (ASR_MAX_DECODED_BYTES)\n")


def test_standard_input_that_is_closed(recordings: Path) -> None:
    shell = ["sh", "-c", 'exec "$@" <&-', "sh", *map(str, command("-", recordings / "a.wav"))]
    result = subprocess.run(shell, capture_output=True, check=False)
    assert result.returncode == 1
    assert result.stderr.startswith(b"-: ")
    assert b"Traceback" not in result.stderr
    assert result.stdout.startswith(bytes(recordings / "a.wav"))


@pytest.mark.parametrize("locale", ["C.UTF-8", "C"])
def test_names_that_are_no_text(
    model: Path, recordings: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, locale: str
) -> None:
    """For example in ISO 8859-9, as on old disks and in archives; also with an ASCII terminal."""
    for name, value in {"LC_ALL": locale, "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}.items():
        monkeypatch.setenv(name, value)
    folder = bytes(tmp_path) + b"/in"
    Path(os.fsdecode(folder)).mkdir()
    os.link(recordings / "a.wav", folder + b"/ses kayd\xfd.wav")
    Path(os.fsdecode(folder + b"/bo\xfe.wav")).touch()
    result = subprocess.run(command(folder), capture_output=True, check=False)
    assert result.returncode == 1
    assert (
        result.stdout == folder + b"/ses kayd\xfd.wav: " + transcript_of(model, recordings / "a.wav").encode() + b"\n"
    )
    assert result.stderr == folder + b"/bo\xfe.wav: the file is empty\n"
    out = bytes(tmp_path) + b"/out"
    assert subprocess.run(command(folder, "--out", out), capture_output=True, check=False).returncode == 1
    assert [os.fsencode(path.name) for path in Path(os.fsdecode(out)).iterdir()] == [b"ses kayd\xfd.txt"]


def test_a_reader_that_closes_the_pipe_ends_it_silently(recordings: Path) -> None:
    for number in range(5):
        os.link(recordings / "a.wav", recordings / f"a{number}.wav")
    with subprocess.Popen(command(recordings), stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline().startswith(bytes(recordings))
        process.stdout.close()
        complaint = process.stderr.read()
    assert complaint == b""
    assert process.returncode == 128 + signal.SIGPIPE


def test_ctrl_c_ends_it_while_it_waits_for_a_pipe(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with subprocess.Popen(command(pipe), stderr=subprocess.PIPE) as process:
        writer = os.open(pipe, os.O_WRONLY)  # blocks until the other side opens it
        process.send_signal(signal.SIGINT)
        try:
            complaint = process.communicate(timeout=PATIENCE_S)[1]
        finally:
            os.close(writer)  # which ends it in any case
    assert complaint == b"interrupted\n"
    assert process.returncode == 128 + signal.SIGINT


def test_ctrl_c_ends_it_during_transcription(recordings: Path) -> None:
    arguments = command(recordings)
    for number in range(200):
        os.link(recordings / "b.flac", recordings / f"b{number}.flac")
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(signal.SIGINT)
        _, complaint = process.communicate(timeout=PATIENCE_S)
    assert complaint == b"interrupted\n"
    assert process.returncode == 128 + signal.SIGINT
