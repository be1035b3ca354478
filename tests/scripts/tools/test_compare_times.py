import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from app.families.ctc.decoding import Emissions
from app.recognizer import Samples
from scripts.tools import compare_times
from scripts.tools.compare_times import measure, table
from tests.checkpoints import exported
from tests.fakes import FakeCtc


class Slow(FakeCtc):
    """A recognizer whose calls take some seconds of a fake clock."""

    now_s = 0.0

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.seconds = seconds

    def emissions(self, clips: Sequence[Samples]) -> list[Emissions]:
        Slow.now_s += self.seconds
        return []


def test_models_take_turns_and_the_first_round_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "perf_counter", lambda: Slow.now_s)
    slow, fast = Slow(3.0), Slow(1.0)
    seconds = measure({("a/slow", "onnx"): slow, ("b/fast", "onnx"): fast}, 1.0, rounds=2)
    assert seconds == {("a/slow", "onnx"): [3.0, 3.0], ("b/fast", "onnx"): [1.0, 1.0]}
    assert table(seconds).splitlines()[2:] == [
        "| slow | onnx | 3000.0 | 3000.0 ± 0.0 | 1.00 |",
        "| fast | onnx | 1000.0 | 1000.0 ± 0.0 | 0.33 |",
    ]


def test_it_prints_a_row_for_each_model_and_backend(
    checkpoints: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = str(exported("sew", checkpoints))
    options = [folder, folder, "--backends", "onnx_int8", "onnx", "--length_s", "0.3", "--rounds", "2"]
    monkeypatch.setattr(sys, "argv", ["compare_times.py", *options])
    compare_times.main()
    rows = [line.split(" | ") for line in capsys.readouterr().out.splitlines() if line.startswith("| sew")]
    assert [row[1] for row in rows] == ["onnx_int8", "onnx"]
    assert all(float(row[2]) > 0 for row in rows)


def test_a_folder_without_a_model_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["compare_times.py", str(tmp_path)])
    with pytest.raises(SystemExit, match="config"):
        compare_times.main()
