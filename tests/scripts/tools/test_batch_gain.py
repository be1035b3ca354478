import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from app.families.ctc.decoding import Emissions
from app.recognizer import Samples
from app.settings import BUNDLED_MODEL
from scripts.tools.batch_gain import gain
from tests.fakes import FakeCtc

ROOT = Path(__file__).resolve().parents[3]
CLIPS = [np.zeros(10, dtype=np.float32)] * 5


class ByTheCall(FakeCtc):
    """A recognizer whose calls take one second of a fake clock, whatever the size of the batch."""

    now_s = 0.0

    def emissions(self, clips: Sequence[Samples]) -> list[Emissions]:
        self.now_s += 1
        return []


def test_it_is_the_time_together_over_the_time_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    recognizer = ByTheCall()
    monkeypatch.setattr(time, "perf_counter", lambda: recognizer.now_s)
    assert gain(recognizer, CLIPS, rounds=3) == 1 / 5


def run(*options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "scripts/tools/batch_gain.py", "--model_dir", str(BUNDLED_MODEL), *options]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_it_prints_a_row_for_each_length() -> None:
    printed = run("--lengths_s", "0.3", "0.5", "--rounds", "1", "--batch", "2").stdout
    rows = [line.split(" | ") for line in printed.splitlines() if line.startswith("| 0")]
    assert [row[0] for row in rows] == ["| 0.3 s", "| 0.5 s"]
    assert all(float(row[1].strip(" |")) > 0 for row in rows)


def test_an_engine_that_takes_one_clip_at_a_time_says_so() -> None:
    refused = run("--backend", "onnx_int8")
    assert refused.returncode == 1
    assert "one clip at a time" in refused.stderr
