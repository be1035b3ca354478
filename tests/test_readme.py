"""What the README says is true."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from app.errors import AsrError
from app.settings import Settings

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
CONSOLES = re.findall(r"```console\n(.*?)```", README, re.DOTALL)


def settings_table() -> str:
    """The table of settings as it has to stand in the README."""
    rows = ["| variable | default | |", "|---|---|---|"]
    for name, field in Settings.model_fields.items():
        default = "" if field.default_factory or not str(field.default) else f"`{field.default}`"
        if name == "model_dir":
            default = "`models/tr-small`"
        rows.append(f"| `ASR_{name.upper()}` | {default} | {field.description} |")
    return "\n".join(rows)


def errors(parent: type[AsrError] = AsrError) -> list[type[AsrError]]:
    return [child for direct in parent.__subclasses__() for child in (direct, *errors(direct))]


def output_of(command: str) -> str:
    """What the README shows below a command."""
    for console in CONSOLES:
        first, _, rest = str(console).partition("\n")
        if first == f"$ {command}":
            return rest
    raise AssertionError(f"the README does not show {command!r}")


@pytest.fixture(autouse=True)
def the_backend_that_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another one may be the fastest here, if more is installed than the README installs."""
    monkeypatch.setenv("ASR_BACKEND", "onnx_int8")


def test_it_opens_with_the_two_commands() -> None:
    opening = README.split("## ")[0]
    assert "make serve" in opening
    assert "make test" in opening


def test_every_setting_stands_in_the_table() -> None:
    assert settings_table() in README


@pytest.mark.parametrize("error", errors(), ids=lambda error: error.code)
def test_every_error_stands_in_the_table(error: type[AsrError]) -> None:
    assert re.search(rf"^\| {error.status} \|.*`{error.code}`", README, re.MULTILINE)


def test_the_command_line_prints_what_the_readme_shows() -> None:
    shown = output_of(".venv/bin/python scripts/transcribe.py samples/*.wav")
    samples = sorted(str(path.relative_to(ROOT)) for path in (ROOT / "samples").glob("*.wav"))
    command = [sys.executable, "scripts/transcribe.py", *samples]
    assert subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout == shown


def test_the_transcript_shown_is_that_of_the_sample() -> None:
    shown = json.loads(output_of("curl -F file=@samples/sample.wav http://localhost:8000/transcribe"))
    command = [sys.executable, "scripts/transcribe.py", "samples/sample.wav", "--format", "json"]
    made = json.loads(subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout)
    for name in ("text", "duration", "model", "backend"):
        assert shown[name] == made[name]
    assert made.keys() - shown.keys() == {"words"}
    assert shown["confidence"] == pytest.approx(made["confidence"], abs=0.01)


def test_every_file_that_is_linked_exists() -> None:
    for link in re.findall(r"\]\(([^)#:]+)\)", README):
        assert (ROOT / link).exists(), link


@pytest.mark.parametrize(
    "path", [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))], ids=lambda path: path.name
)
def test_every_script_that_is_named_exists(path: Path) -> None:
    for script in re.findall(r"scripts/[\w/]+\.py", path.read_text(encoding="utf-8")):
        assert (ROOT / script).is_file(), script
