"""The project is installed by its path (`pip install -e .`), and commands find it from any folder."""

import json
import os
import subprocess
import sys
from importlib.metadata import distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
CODE = [path for folder in ("app", "locust", "scripts") for path in sorted((ROOT / folder).rglob("*.py"))]


def installed() -> set[str]:
    """The checkouts that the environment of these tests has installed, as URLs."""
    origins = [found.read_text("direct_url.json") for found in distributions(name="dikte")]  # a build's folder has none
    return {json.loads(origin)["url"] for origin in origins if origin}


@pytest.mark.skipif(ROOT.as_uri() not in installed(), reason="another checkout is installed, or none")
@pytest.mark.parametrize("command", ["scripts/transcribe.py", "scripts/tools/as_cpu.py", "-m app"])
def test_commands_run_from_any_folder(command: str, tmp_path: Path) -> None:
    words = command.split() if command.startswith("-m") else [str(ROOT / command), "--help"]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment |= {"ASR_PORT": "none"}  # the service says that this is no port, and ends
    result = subprocess.run(
        [sys.executable, *words], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert "usage:" in result.stdout or "ASR_PORT" in result.stderr, result.stderr
    assert "ModuleNotFoundError" not in result.stderr


@pytest.mark.parametrize("path", CODE, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_code_mends_the_path_of_python(path: Path) -> None:
    assert "sys.path" not in path.read_text(encoding="utf-8")
