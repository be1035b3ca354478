import json
import sys
from pathlib import Path

import pytest

from app.models import open_model
from scripts.tools import squeeze_checkpoint
from tests.checkpoints import built, clips


def run(monkeypatch: pytest.MonkeyPatch, *options: str) -> None:
    monkeypatch.setattr(sys, "argv", ["squeeze_checkpoint.py", *options])
    squeeze_checkpoint.main()


def test_it_makes_a_checkpoint_and_says_how_near_it_is(
    checkpoints: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    speech = str(clips(checkpoints) / "manifest.jsonl")
    options = ["--checkpoint", str(built("small", checkpoints)), "--speech", speech]
    shares = []
    for squeeze in (1, 2):
        out = tmp_path / str(squeeze)
        run(monkeypatch, *options, "--out", str(out), "--squeeze", str(squeeze))
        open_model(out)
        assert json.loads((out / "config.json").read_text(encoding="utf-8"))["squeeze_factor"] == squeeze
        (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("On 2 clips")]
        shares.append(float(line.split("the same token in ")[1].split("%")[0]))
    assert 100 >= shares[0] > shares[1] > 0


def test_what_cannot_be_squeezed_is_said(checkpoints: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = ["--checkpoint", str(built("layer_norm_like", checkpoints)), "--out", str(tmp_path / "out")]
    with pytest.raises(SystemExit, match="cannot be squeezed"):
        run(monkeypatch, *options)
    assert not (tmp_path / "out").exists()
