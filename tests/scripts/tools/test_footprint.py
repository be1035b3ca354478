import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]


def test_a_model_that_is_refused_ends_it_with_the_reason(tmp_path: Path) -> None:
    settings = os.environ | {"ASR_MODEL_DIR": str(tmp_path / "nothing")}
    command = [sys.executable, "scripts/tools/footprint.py", "samples/short.wav", "--starts", "1"]
    result = subprocess.run(command, cwd=ROOT, env=settings, capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert "the service is not ready: there is no model folder nothing" in result.stderr
    assert "Traceback" not in result.stderr


def test_it_starts_the_service_and_prints_what_it_measured() -> None:
    command = [sys.executable, "scripts/tools/footprint.py", "samples/short.wav", "--starts", "1", "--requests", "2"]
    settings = os.environ | {"ASR_BACKEND": "onnx_int8"}
    printed = subprocess.run(command, cwd=ROOT, env=settings, capture_output=True, text=True, check=True).stdout
    assert "tr-small on onnx_int8" in printed
    ready, peak = (int(figure) for figure in re.findall(r"(\d+) MiB", printed))
    assert 50 < ready <= peak
    assert float(re.search(r"start to ready: +([\d.]+) s", printed)[1]) > 0  # type: ignore[index]
