import argparse
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from scripts.tools.decoding_benchmark import (
    FORMATS,
    BenchmarkError,
    cpu_s_of_checkout,
    measure,
    read_audio,
    report,
    run,
    run_ffmpeg,
)
from tests.sounds import speechlike, wav

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    path = tmp_path / "clip.wav"
    path.write_bytes(wav(speechlike(1.0)))
    return path


def test_the_audio_is_repeated(clip: Path) -> None:
    samples = read_audio([clip, clip.parent], 3.5)
    assert len(samples) == 3.5 * 16_000
    np.testing.assert_array_equal(samples[:16_000], samples[16_000:32_000])


def test_audio_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "broken.wav").write_bytes(b"no audio")
    with pytest.raises(BenchmarkError, match=r"broken\.wav: the file is not audio"):
        read_audio([tmp_path], 1.0)


def test_all_decoders_take_turns_and_medians_count() -> None:
    asked: list[tuple[str, str]] = []
    times = iter([1.0, 10.0, 2.0, 20.0, 9.0, 30.0, 4.0, 40.0, 3.0, 20.0, 6.0, 90.0])

    def decoder(key: str) -> Callable[[Path], float]:
        def decode(path: Path) -> float:
            asked.append((key, path.name))
            return next(times)

        return decode

    files = {"mp3": Path("a.mp3"), "flac": Path("a.flac")}
    taken_s = measure(files, {"Dikte": decoder("Dikte"), "ffmpeg": decoder("ffmpeg")}, runs=3)
    assert asked == [("Dikte", "a.mp3"), ("ffmpeg", "a.mp3"), ("Dikte", "a.flac"), ("ffmpeg", "a.flac")] * 3
    assert taken_s == {"mp3": {"Dikte": 3.0, "ffmpeg": 20.0}, "flac": {"Dikte": 4.0, "ffmpeg": 40.0}}


def test_the_table_has_speeds_and_shares() -> None:
    rows = report({"mp3": {"before": 4.0, "Dikte": 0.5, "ffmpeg": 0.4}}, 600.0).splitlines()
    assert rows[0] == "| format | before | Dikte | ffmpeg | before / ffmpeg | Dikte / ffmpeg |"
    assert rows[2] == "| MP3, 16 kHz | 150 | 1,200 | 1,500 | 0.10 | 0.80 |"


def test_the_code_of_a_checkout_decodes_in_a_process_of_its_own(clip: Path) -> None:
    assert 0 < cpu_s_of_checkout(ROOT, clip) < 60


def test_a_file_that_the_checkout_cannot_decode_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "empty.wav"
    path.touch()
    with pytest.raises(BenchmarkError, match="the file is empty"):
        cpu_s_of_checkout(ROOT, path)


def fake_ffmpeg(folder: Path, script: str) -> None:
    program = folder / "ffmpeg"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)


def test_the_output_of_ffmpeg_is_the_error_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_ffmpeg(tmp_path, "echo first >&2; echo 'Unknown encoder' >&2; exit 1")
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    with pytest.raises(BenchmarkError, match=r"^Unknown encoder$"):
        run_ffmpeg("-i", "sound.wav")


def options(tmp_path: Path, **others: object) -> argparse.Namespace:
    return argparse.Namespace(
        audio=[ROOT / "samples"], seconds=1.0, formats=["mp3", "wav"], runs=1, core=None, out=tmp_path / "out",
        **{"against": None} | others,
    )  # fmt: skip


@pytest.mark.parametrize("against", [None, ROOT])
def test_the_report(tmp_path: Path, against: Path | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a fake program that copies its input, or prints its version."""
    copy = 'for last; do :; done; cp "$5" "$last"'
    fake_ffmpeg(tmp_path, f'case "$*" in -version) echo ffmpeg version 7.0 ;; *f32le*) ;; *) {copy} ;; esac')
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setattr("os.sched_setaffinity", lambda *_: None)
    text = run(options(tmp_path, against=against)).read_text(encoding="utf-8")
    assert "ffmpeg 7.0" in text
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    assert [row.split(" | ")[0] for row in rows[2:]] == [f"| {FORMATS[name].title}" for name in ("mp3", "wav")]
    assert ("before" in rows[0]) == (against is not None)


def test_a_missing_ffmpeg_program_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BenchmarkError, match="apt-get install ffmpeg"):
        run(options(tmp_path))


def test_another_folder_is_no_checkout(tmp_path: Path) -> None:
    command = [sys.executable, "scripts/tools/decoding_benchmark.py", "--against", str(tmp_path)]
    refused = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert refused.returncode == 1
    assert "is not a checkout of this repository" in refused.stderr
