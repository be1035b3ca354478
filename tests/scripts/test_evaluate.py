import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import soundfile

from app.audio import decode
from app.settings import BUNDLED_MODEL
from scripts.evaluate import main
from scripts.speech.clips import NO_LIMITS
from tests.checkpoints import RATE_HZ

ROOT = Path(__file__).resolve().parents[2]
SAMPLES = "samples/manifest.jsonl"


def command(*arguments: str) -> list[str]:
    return ["scripts/evaluate.py", "--model_dir", str(BUNDLED_MODEL), *arguments]


class Ended(NamedTuple):
    """The result of the command, in the form of a process that ended."""

    returncode: int
    stdout: str
    stderr: str


@pytest.fixture
def evaluate(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Ended]:
    """Run the command in this process, where the slow imports are already done."""

    def run(*arguments: str) -> Ended:
        monkeypatch.chdir(ROOT)
        monkeypatch.setattr(sys, "argv", command(*arguments))
        message, code = "", 0
        try:
            main()
        except SystemExit as exit_:
            assert isinstance(exit_.code, str)
            message, code = f"{exit_.code}\n", 1
        printed = capsys.readouterr()
        return Ended(code, printed.out, printed.err + message)

    return run


def test_the_table_and_the_figures_of_every_set(tmp_path: Path) -> None:
    """As a process."""
    wrong = tmp_path / "wrong.jsonl"
    clip = {"audio": str(ROOT / "samples" / "short.wav"), "text": "bambaşka bir cümle", "duration": 1.6}
    wrong.write_text(json.dumps(clip) + "\n", encoding="utf-8")
    out = tmp_path / "figures.json"
    process = [sys.executable, *command(SAMPLES, str(wrong), "--out", str(out))]
    result = subprocess.run(process, cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    sets = json.loads(out.read_text(encoding="utf-8"))["sets"]
    assert sets[SAMPLES]["clips"] == 4
    assert sets[SAMPLES]["cer"]["rate"] <= 0.05
    assert sets[str(wrong)]["wer"]["rate"] == 1
    assert "hypothesis: evet doğru" in result.stdout
    assert f"| {SAMPLES} | 4 |" in result.stdout


def test_limit_takes_the_first_clips(evaluate: Callable[..., Ended]) -> None:
    assert f"| {SAMPLES} | 2 |" in evaluate(SAMPLES, "--limit", "2").stdout


@pytest.mark.parametrize("arguments", [("samples/nothing.jsonl",), (SAMPLES, "--split", "test")])
def test_missing_data_is_reported_without_a_traceback(
    arguments: tuple[str, ...], evaluate: Callable[..., Ended]
) -> None:
    result = evaluate(*arguments)
    assert result.returncode == 1
    assert "Traceback" not in result.stderr
    assert arguments[0] in result.stderr


def test_segments_of_a_recording_are_scored_with_their_own_texts(
    tmp_path: Path, evaluate: Callable[..., Ended]
) -> None:
    """A NeMo manifest. Without its offsets, each text would be compared with the whole recording."""
    rows, parts, start_s = [], [], 0.0
    for line in (ROOT / SAMPLES).read_text(encoding="utf-8").splitlines()[:3]:
        sample = json.loads(line)
        with (ROOT / "samples" / sample["audio"]).open("rb") as file:
            parts.append(decode(file, RATE_HZ, NO_LIMITS).samples)
        duration_s = len(parts[-1]) / RATE_HZ
        rows.append({"audio_filepath": "all.wav", "offset": start_s, "duration": duration_s, "text": sample["text"]})
        start_s += duration_s
    soundfile.write(tmp_path / "all.wav", np.concatenate(parts), RATE_HZ)
    manifest = tmp_path / "manifest.json"
    manifest.write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    out = tmp_path / "figures.json"
    result = evaluate(str(manifest), "--out", str(out))
    assert result.returncode == 0, result.stderr
    (figures,) = json.loads(out.read_text(encoding="utf-8"))["sets"].values()
    assert figures["cer"]["rate"] <= 0.05


def test_a_clip_that_cannot_be_read_ends_it_with_its_row(tmp_path: Path, evaluate: Callable[..., Ended]) -> None:
    (tmp_path / "broken.wav").write_bytes(b"broken")
    rows = [
        {"audio": str(ROOT / "samples" / "short.wav"), "text": "evet doğru", "duration": 1.6},
        {"audio": "broken.wav", "text": "bir", "duration": 1.0},
    ]
    manifest = tmp_path / "manifest.jsonl"
    manifest.write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    result = evaluate(str(manifest))
    assert result.returncode == 1
    assert "Traceback" not in result.stderr
    last = result.stderr.splitlines()[-1]
    assert last.startswith(f"broken.wav (line 2 of {manifest}) cannot be read: the file is not audio")
