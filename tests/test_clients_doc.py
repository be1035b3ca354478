"""docs/clients.md shows what the service answers."""

import json
import re
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from app.api.openai_forms import TranscriptionForm
from tests.test_openai_clients import KEY, url

__all__ = ["url"]  # the fixture: one service for the commands that are shown

ROOT = Path(__file__).resolve().parents[1]
TEXT = (ROOT / "docs" / "clients.md").read_text(encoding="utf-8")
COMMANDS = dict(re.findall(r"```console\n\$ (.*?)\n(.*?)```", TEXT, re.DOTALL))
"""Command -> the output that is shown."""
CHANGING = {"timings", "inference_time"}


def without_changing(body: dict[str, Any]) -> dict[str, Any]:
    """An answer without what differs from run to run."""
    return {name: value for name, value in body.items() if name not in CHANGING}


def with_tolerance(value: Any) -> Any:
    """The value, for comparison with that of another CPU."""
    match value:
        case dict():
            return {name: with_tolerance(part) for name, part in value.items()}
        case list():
            return [with_tolerance(part) for part in value]
        case float():
            return pytest.approx(value, abs=0.02)
    return value


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
@pytest.mark.parametrize("command", COMMANDS)
def test_commands_print_what_is_shown(url: str, command: str) -> None:
    words = [word.replace("http://localhost:8000", url) for word in shlex.split(command)]
    run = [*words, "-H", f"Authorization: Bearer {KEY}"]
    printed = subprocess.run(run, cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip().splitlines()
    shown = COMMANDS[command].strip().splitlines()
    assert len(printed) == len(shown)
    for line, expected in zip(printed, shown, strict=True):
        name, brace, body = line.partition("{")
        shown_name, _, shown_body = expected.partition("{")
        assert name == shown_name
        if brace:
            answered, expected_body = (without_changing(json.loads(brace + text)) for text in (body, shown_body))
            assert answered == with_tolerance(expected_body)
        else:
            assert line == expected


def test_every_format_is_shown() -> None:
    shown = {match for command in COMMANDS for match in re.findall(r"response_format=(\w+)", command)} | {"json"}
    assert shown == {"json", "text", "srt", "vtt", "verbose_json", "diarized_json"}
    assert any("stream=true" in command and "/v1/" in command for command in COMMANDS)


def test_every_field_stands_in_the_table() -> None:
    lists = TranscriptionForm.lists() - {"chunking_strategy"}
    for name in (*TranscriptionForm.model_fields, *TranscriptionForm.discarded):
        assert f"`{name}[]`" in TEXT if name in lists or name in TranscriptionForm.discarded else f"`{name}`" in TEXT


def test_every_link_leads_somewhere() -> None:
    for link in re.findall(r"\]\(([^)#:]+)", TEXT):
        assert (ROOT / "docs" / link).is_file(), link
