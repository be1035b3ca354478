import subprocess
import sys
from pathlib import Path
from typing import cast

import numpy as np
import pytest

from app.artifacts import open_artifact
from app.families.whisper.model import WhisperModel, WindowOutput
from app.families.whisper.recognizer import WhisperRecognizer
from app.families.whisper.settings import read_settings
from app.recognizer import Options, Window, Windowing
from app.settings import BUNDLED_MODEL
from app.voice_activity import VoiceDetector
from scripts.tools.second_tries import Tries
from tests.app.families.whisper.test_recognizer import DOUBTFUL, GOOD, LOOP, Scripted
from tests.whisper_checkpoints import make_whisper

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.parametrize(
    ("outputs", "failing", "mended"),
    [
        ([GOOD] * 2, 0, 0),  # once and as served
        ([LOOP, LOOP, GOOD, GOOD], 1, 0),  # as served in full too; then in full again
        ([LOOP, LOOP, LOOP, GOOD, LOOP, LOOP, GOOD], 1, 1),  # two temperatures as served; three then
        ([DOUBTFUL] * 3 + [DOUBTFUL] * 6, 1, 0),  # six temperatures
    ],
)
def test_windows_are_computed_in_three_ways(
    checkpoints: Path, outputs: list[WindowOutput], failing: int, mended: int
) -> None:
    model = Scripted(read_settings(open_artifact(make_whisper(checkpoints))), list(outputs))
    recognizer = WhisperRecognizer(cast(WhisperModel, model), Windowing(), cast(VoiceDetector, None))
    tries = Tries()
    tries.add(recognizer, Window(np.ones(64_000, dtype=np.float32)), Options(language="tr"))
    assert not model.outputs
    assert (tries.windows, tries.failing, tries.mended) == (1, failing, mended)
    assert tries.all_s >= tries.once_s > 0


def test_only_whisper_has_second_tries() -> None:
    command = [sys.executable, "scripts/tools/second_tries.py", "samples", "--model_dir", str(BUNDLED_MODEL)]
    done = subprocess.run([*command, "--language", "tr"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "is not a Whisper model" in done.stderr
