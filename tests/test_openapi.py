"""schemathesis holds the running service to its OpenAPI document: every operation, every phase and every check."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from scripts.common.service_process import wait_until_ready
from tests.app.test_server import serving

ROOT = Path(__file__).resolve().parents[1]
EXAMPLES = 40
"""Requests that are made up for each operation, beside those that cover each part of the document once."""
TIMEOUT_S = 300
KEY = "alpha"


def examine(url: str, folder: Path, *options: str, **environment: str) -> subprocess.CompletedProcess[str]:
    config = ["--config-file", str(ROOT / "tests" / "schemathesis.toml")]
    command = [sys.executable, "-m", "schemathesis.cli", *config, "run", f"{url}/openapi.json"]
    command += ["--checks", "all", "--max-examples", str(EXAMPLES), "--seed", "1", "--continue-on-failure"]
    return subprocess.run(
        [*command, "--no-color", *options],
        cwd=folder,  # where it leaves what it has found
        env=os.environ | {"PYTHONPATH": str(ROOT), "SCHEMATHESIS_HOOKS": "tests.schemathesis_hooks", **environment},
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )


def assert_nothing_found(result: subprocess.CompletedProcess[str], operations: int) -> None:
    assert result.returncode == 0, result.stdout + result.stderr
    assert f"Tested: {operations}" in result.stdout, result.stdout
    assert "Warnings:" not in result.stdout, result.stdout


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """For temporary files of the service, and for schemathesis."""
    for name in ("service", "examiner"):
        (tmp_path / name).mkdir()
    return tmp_path / "service", tmp_path / "examiner"


def test_sound_is_answered_as_the_document_says(folders: tuple[Path, Path]) -> None:
    with serving(folders[0], ASR_API_KEYS=KEY) as (url, _):
        wait_until_ready(url)
        assert_nothing_found(examine(url, folders[1], "--header", f"Authorization: Bearer {KEY}"), 12)
    assert list(folders[0].iterdir()) == []


def test_any_bytes_are_answered_as_the_document_says(folders: tuple[Path, Path]) -> None:
    """But that they are accepted: no schema tells what is sound. Other operations take files in the same way."""
    with serving(folders[0]) as (url, _):
        wait_until_ready(url)
        options = ("--include-path", "/transcribe", "--exclude-checks", "positive_data_acceptance", "--warnings", "off")
        assert_nothing_found(examine(url, folders[1], *options, DIKTE_FILES="bytes"), 1)
    assert list(folders[0].iterdir()) == []
