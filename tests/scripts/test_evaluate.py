import json
import subprocess
import sys
from pathlib import Path

import pytest

from app.settings import BUNDLED_MODEL

ROOT = Path(__file__).resolve().parents[2]
SAMPLES = "samples/manifest.jsonl"


def evaluate(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "scripts/evaluate.py", "--model_dir", str(BUNDLED_MODEL), *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_the_table_and_the_figures_of_every_set(tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.jsonl"
    clip = {"audio": str(ROOT / "samples" / "short.wav"), "text": "bambaşka bir cümle", "duration": 1.6}
    wrong.write_text(json.dumps(clip) + "\n", encoding="utf-8")
    out = tmp_path / "figures.json"
    result = evaluate(SAMPLES, str(wrong), "--out", str(out))
    assert result.returncode == 0, result.stderr
    sets = json.loads(out.read_text(encoding="utf-8"))["sets"]
    assert sets[SAMPLES]["clips"] == 4
    assert sets[SAMPLES]["cer"]["rate"] <= 0.05
    assert sets[str(wrong)]["wer"]["rate"] == 1
    assert "heard: evet doğru" in result.stdout
    assert f"| {SAMPLES} | 4 |" in result.stdout


def test_limit_takes_the_first_clips() -> None:
    assert f"| {SAMPLES} | 2 |" in evaluate(SAMPLES, "--limit", "2").stdout


@pytest.mark.parametrize("arguments", [("samples/nothing.jsonl",), (SAMPLES, "--split", "test")])
def test_data_that_is_not_there_is_said_without_a_traceback(arguments: tuple[str, ...]) -> None:
    result = evaluate(*arguments)
    assert result.returncode == 1
    assert "Traceback" not in result.stderr
    assert arguments[0] in result.stderr
