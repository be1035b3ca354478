import json
import subprocess
import sys
from pathlib import Path

import pytest
import soundfile

from app.settings import BUNDLED_MODEL
from scripts.speech.joined_files import EditCounts
from scripts.tools.long_files import Result, main, results_table

ROOT = Path(__file__).resolve().parents[3]
JOIN = ("join", "samples/manifest.jsonl", "--minutes", "0.3", "--out")


def run(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "scripts/tools/long_files.py", *words]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_clips_become_files_that_are_scored_clip_by_clip(tmp_path: Path) -> None:
    done = run(*JOIN, str(tmp_path))
    assert done.returncode == 0, done.stderr
    (row,) = map(json.loads, (tmp_path / "manifest.jsonl").read_text(encoding="utf-8").splitlines())
    assert soundfile.info(tmp_path / row["audio"]).duration >= 0.3 * 60
    assert " ".join(row["clips"]) == row["text"]
    out = tmp_path / "figures.json"
    options = ["--backends", "onnx_int8", "--windows_s", "20", "10", "--times", "--out", str(out)]
    done = run("score", str(tmp_path / "manifest.jsonl"), "--model_dir", str(BUNDLED_MODEL), *options)
    assert done.returncode == 0, done.stderr
    first, second = json.loads(out.read_text(encoding="utf-8"))
    assert (first["system"], second["system"]) == ("onnx_int8, windows of 20 s", "onnx_int8, windows of 10 s")
    assert len(first["edits"]) == len(row["clips"])
    assert sum(edits["words"] for edits in first["edits"]) > 20
    assert "onnx_int8, windows of 10 s" in done.stdout.splitlines()[-3]


def test_the_order_depends_on_the_seed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    texts = set()
    for seed in range(3):
        main([*JOIN, str(tmp_path / str(seed)), "--seed", str(seed), "--repeats", "2", "--files", "1"])
        texts.add((tmp_path / str(seed) / "manifest.jsonl").read_text(encoding="utf-8"))
    assert len(texts) > 1


def test_too_few_clips_are_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    with pytest.raises(SystemExit, match="--repeats"):
        main([*JOIN, str(tmp_path), "--minutes", "60"])


def test_systems_are_compared_with_the_first() -> None:
    right = [EditCounts(0, 0, 0, 10)] * 20
    wrong = [EditCounts(1, 1, 0, 10)] * 20
    lines = results_table([Result("a", right, 1.0, 2.0, 1), Result("b", wrong, 1.0, 3.0, 4)], times=True).splitlines()
    assert lines[2].startswith("| a | 0.0% (0.0% to 0.0%) |  | 0.0% |")
    assert "+20.00 points (+20.00 to +20.00) | 10.0% | 10.0% | 0.0% |" in lines[3]
    assert lines[3].endswith("| 3.0 | 4 |")
