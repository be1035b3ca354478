import sys
from pathlib import Path

import pytest
from transformers import AutoConfig

from scripts.tools import make_student
from scripts.training.students import Shape, shape_of
from tests.checkpoints import built
from tests.speech import write_clips


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> None:
    monkeypatch.setattr(sys, "argv", ["make_student.py", *arguments])
    make_student.main()


def test_it_makes_a_checkpoint(
    checkpoints: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    data, out = write_clips(tmp_path, ["bir", "iki"]), tmp_path / "out"
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    arguments = ["--teacher", str(built("small", checkpoints)), "--out", str(out), "--dataset_name", str(data)]
    run(monkeypatch, *arguments, "--shape", "l1-c20")
    assert shape_of(AutoConfig.from_pretrained(out)) == Shape(1, 64, 20)
    assert "Student l1-c20" in capsys.readouterr().out
    solved = (out / "model.safetensors").read_bytes()
    run(monkeypatch, *arguments, "--shape", "l1-c20", "--cut")
    assert (out / "model.safetensors").read_bytes() != solved
    with pytest.raises(SystemExit, match="at most the 2 layers of its teacher, not 3"):
        run(monkeypatch, *arguments, "--shape", "l3")
    with pytest.raises(SystemExit, match="missing/teacher"):
        run(monkeypatch, "--teacher", "missing/teacher", *arguments[2:], "--shape", "l1")
    with pytest.raises(SystemExit):
        run(monkeypatch, *arguments, "--shape", "six layers")
