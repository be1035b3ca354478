import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from app.audio import AudioLimits, decode
from scripts.tools.synthesize import (
    HELD_OUT_VOICES,
    NOT_SPEECH,
    SAMPLE_RATE_HZ,
    SOUNDS,
    choose_voices,
    installed_voices,
    main,
    plan,
    speak,
)

VARIANTS = ("Adam", "Mr serious", "fast", "announcer", "f2", *HELD_OUT_VOICES, "m1")
TEXTS = ["Merhaba dünya.", "Bugün hava güzel.", "Kitabı okudum."]

# Like espeak-ng 1.51: the columns of the list, and a WAV on stdout whose header does not have the right length.
FAKE_ESPEAK = """#!{python} -IS
import math, struct, sys
if "--voices=variant" in sys.argv:
    print("Pty Language       Age/Gender VoiceName          File                 Other Languages ")
    for name in {variants}:
        print(f" 5  variant         --/M      {{name.replace(' ', '_'):18}} !v/{{name:20}} ")
    sys.exit()
text = sys.stdin.buffer.read().decode()
options = dict(zip(sys.argv[1::2], sys.argv[2::2]))
with open({log!r}, "a", encoding="utf-8") as log:
    log.write(options["-v"] + " " + text + "\\n")
out = sys.stdout.buffer
out.write(b"RIFF" + struct.pack("<I", 0x7FFFF024) + b"WAVE")
out.write(b"fmt " + struct.pack("<IHHIIHH", 16, 1, 1, 22050, 44100, 2, 16))
out.write(b"data" + struct.pack("<I", 0x7FFFF000))
frames = 220 * len(text)
for n in range(frames):
    out.write(struct.pack("<h", int(12000 * math.sin(n * 0.1))))
    if "BREAK" in text and n == 500:
        sys.exit(1)
"""


class Espeak:
    """A fake espeak-ng and the texts that it was called with."""

    def __init__(self, folder: Path) -> None:
        self.log = folder / "spoken.log"
        folder.mkdir()
        program = folder / "espeak-ng"
        program.write_text(
            FAKE_ESPEAK.format(python=sys.executable, variants=VARIANTS, log=str(self.log)), encoding="utf-8"
        )
        program.chmod(0o755)

    def spoken(self) -> list[str]:
        """Voice and text of each clip that was synthesized since the last call."""
        lines = self.log.read_text(encoding="utf-8").splitlines() if self.log.exists() else []
        self.log.unlink(missing_ok=True)
        return sorted(lines)


@pytest.fixture
def espeak(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Espeak:
    fake = Espeak(tmp_path / "bin")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    return fake


def run(monkeypatch: pytest.MonkeyPatch, texts: list[str], out: Path, *options: str) -> list[dict[str, object]]:
    """Run the command. Returns the lines of the manifest."""
    source = out.parent / "sentences.txt"
    source.write_text("\n".join(texts) + "\n", encoding="utf-8")
    monkeypatch.setattr(sys, "argv", ["synthesize.py", "--text", str(source), "--out", str(out), *options])
    main()
    return [json.loads(line) for line in (out / "manifest.jsonl").read_text(encoding="utf-8").splitlines()]


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_voices_are_read_from_the_listing(espeak: Espeak) -> None:
    assert installed_voices() == sorted(set(VARIANTS) - set(NOT_SPEECH))


def test_held_out_voices_are_never_trained_on(espeak: Espeak) -> None:
    training, held_out = choose_voices("training"), choose_voices("held_out")
    assert training == sorted({"Adam", "Mr serious", "f2", "m1"})
    assert held_out == list(HELD_OUT_VOICES)
    assert choose_voices("all") == sorted({*training, *held_out})
    assert choose_voices("f2,m1") == ["f2", "m1"]


def test_a_plan_is_decided_by_seed_and_sentence() -> None:
    voices = ["a", "b", "c", "d"]
    first = plan(TEXTS, voices, "tr", 3, seed=1)
    assert first == plan(TEXTS, voices, "tr", 3, seed=1)
    assert first != plan(TEXTS, voices, "tr", 3, seed=2)
    assert first[3:6] == plan(TEXTS[1:2], voices, "tr", 3, seed=1), "other sentences do not matter"
    assert [clip.text for clip in first] == [text for text in TEXTS for _ in range(3)]
    for start in (0, 3, 6):
        assert len({clip.voice for clip in first[start : start + 3]}) == 3


def test_a_plan_has_no_more_clips_of_a_sentence_than_voices_and_no_sentence_twice() -> None:
    assert len(plan([*TEXTS, *TEXTS], ["a", "b"], "tr", 5, seed=0)) == 2 * len(TEXTS)


def test_a_clip_is_named_after_all_that_it_depends_on() -> None:
    plans = [
        plan(TEXTS, ["a"], "tr", 1, seed=0),
        plan(TEXTS, ["b"], "tr", 1, seed=0),
        plan(TEXTS, ["a"], "az", 1, seed=0),
        plan(TEXTS, ["a"], "tr", 1, seed=1),
        *(plan(TEXTS, ["a"], "tr", 1, 0, sound) for sound in SOUNDS if sound != "clean"),
    ]
    names = [clip.audio for clips in plans for clip in clips]
    assert len(set(names)) == len(names)


def test_speed_pitch_and_gap_stay_in_their_ranges() -> None:
    clips = plan([f"cümle {number}" for number in range(300)], ["a"], "tr", 1, seed=0)
    assert all(100 <= clip.speed_wpm <= 240 and 0 <= clip.pitch <= 99 and 0 <= clip.word_gap <= 4 for clip in clips)
    assert len({clip.speed_wpm for clip in clips}) > 50


def test_clips_and_manifest(espeak: Espeak, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "data" / "train"
    out.parent.mkdir()
    lines = run(monkeypatch, TEXTS, out, "--clips_per_text", "2")
    expected = plan(TEXTS, choose_voices("training"), "tr", 2, 0)
    assert [line["audio"] for line in lines] == [clip.audio for clip in expected]
    assert espeak.spoken() == sorted(f"tr+{clip.voice} {clip.text}" for clip in expected)
    assert files(out) == {"manifest.jsonl", *(clip.audio for clip in expected)}
    for line in lines:
        samples, rate_hz = soundfile.read(out / str(line["audio"]))
        assert (rate_hz, samples.ndim) == (SAMPLE_RATE_HZ, 1)
        duration_s = 220 * len(str(line["text"])) / 22_050  # the length of the audio, not that in the header
        assert line["duration"] == pytest.approx(duration_s, abs=0.001)
        assert len(samples) == pytest.approx(duration_s * SAMPLE_RATE_HZ, abs=2)
        assert np.abs(samples).max() == pytest.approx(12_000 / 32_768, rel=0.05)


def test_a_second_run_makes_only_missing_clips(espeak: Espeak, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "out"
    first = run(monkeypatch, TEXTS[:2], out)
    assert len(espeak.spoken()) == 2
    stamps = {name: (out / name).stat().st_mtime_ns for name in files(out / "clips") if (out / name).exists()}
    again = run(monkeypatch, TEXTS[:2], out)
    assert (espeak.spoken(), again) == ([], first)
    more = run(monkeypatch, TEXTS, out)
    assert [line.split(" ", 1)[1] for line in espeak.spoken()] == TEXTS[2:]
    assert more[:2] == first
    (out / str(first[0]["audio"])).unlink()
    assert run(monkeypatch, TEXTS, out) == more
    assert [line.split(" ", 1)[1] for line in espeak.spoken()] == TEXTS[:1]
    assert all((out / name).stat().st_mtime_ns == stamp for name, stamp in stamps.items())


def test_limit_takes_the_first_sentences(espeak: Espeak, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = run(monkeypatch, ["", *TEXTS], tmp_path / "out", "--limit", "1", "--voices", "f2")
    assert [(line["text"], line["voice"]) for line in lines] == [(TEXTS[0], "f2")]


def test_interrupted_synthesis_leaves_no_clip(espeak: Espeak, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "out"
    with pytest.raises(subprocess.CalledProcessError):
        run(monkeypatch, [TEXTS[0], "BREAK off", TEXTS[1]], out, "--workers", "1")
    left = files(out)
    broken = plan(["BREAK off"], choose_voices("training"), "tr", 1, 0)[0]
    assert broken.audio not in left
    assert "manifest.jsonl" not in left


def test_a_partly_written_clip_does_not_count(espeak: Espeak, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (clip,) = plan(TEXTS[:1], ["f2"], "tr", 1, 0)
    write = soundfile.write

    def write_half(
        path: Path, samples: np.ndarray[tuple[int], np.dtype[np.float32]], *rest: object, **more: object
    ) -> None:
        write(path, samples[: len(samples) // 2], *rest, **more)
        raise KeyboardInterrupt

    monkeypatch.setattr(soundfile, "write", write_half)
    with pytest.raises(KeyboardInterrupt):
        speak(clip, "tr", tmp_path)
    assert not (tmp_path / clip.audio).exists()
    monkeypatch.setattr(soundfile, "write", write)
    duration_s = speak(clip, "tr", tmp_path)
    assert files(tmp_path / "clips") == {clip.audio.removeprefix("clips/")}, "leftover files are removed"
    assert soundfile.info(tmp_path / clip.audio).duration == pytest.approx(duration_s, abs=0.001)


@pytest.mark.parametrize("sound", SOUNDS)
def test_acoustic_conditions_are_deterministic(espeak: Espeak, tmp_path: Path, sound: str) -> None:
    (clip,) = plan(TEXTS[:1], ["f2"], "tr", 1, 0, sound)
    clean = replace(clip, audio="clean.wav", sound="clean")
    files = []
    for folder in (tmp_path / "a", tmp_path / "b"):
        speak(clip, "tr", folder)
        files.append((folder / clip.audio).read_bytes())
    assert files[0] == files[1]
    speak(clean, "tr", tmp_path)
    with (tmp_path / clip.audio.replace("clips", "a/clips", 1)).open("rb") as file:
        samples = decode(file, SAMPLE_RATE_HZ, AudioLimits(10, 1 << 20, 1)).samples
    plain, _ = soundfile.read(tmp_path / "clean.wav", dtype="float32")
    assert len(samples) == len(plain)
    assert (np.abs(samples - plain).max() > 0.01) == (sound != "clean")


def test_without_espeak_the_message_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SystemExit) as exit_:
        run(monkeypatch, TEXTS, tmp_path / "out")
    assert exit_.value.code == 2
    assert "apt-get install espeak-ng" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
