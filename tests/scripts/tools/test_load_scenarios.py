"""Small runs of the scenarios on the bundled model. They check the findings, not the speed."""

import json
from pathlib import Path
from typing import Any

import pytest

from scripts.common import SAMPLES
from scripts.load_testing.load_clips import Clip, short_clips
from scripts.load_testing.scenarios.common import start
from scripts.tools.check_targets import read_targets
from scripts.tools.load_scenarios import SCENARIOS, parse_arguments, run

SMALL = (
    "--clips_s 2,3 --duration_s 2 --rounds 1 --deadline_s 2 --short_runs 2 --long_file_s 15 --kills 40 "
    "--memory_clips 10"
)


def figures_of(scenario: str, folder: Path, *options: str) -> dict[str, Any]:
    report = run(scenario, parse_arguments([scenario, *SMALL.split(), "--out", str(folder), *options]))
    assert "## Key figures" in report.read_text(encoding="utf-8")
    figures: dict[str, Any] = json.loads(report.with_suffix(".json").read_text(encoding="utf-8"))
    assert {figure["key"] for figure in figures["key_figures"]} == read_targets()[f"load_{scenario}"].keys()
    return figures


def value(figures: dict[str, Any], key: str) -> float:
    (found,) = [figure["value"] for figure in figures["key_figures"] if figure["key"] == key]
    return float(found)


def test_no_accepted_request_is_lost_on_sigterm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scripts.load_testing.scenarios.sigterm.STOP_AFTER_S", 1.0)
    figures = figures_of("sigterm", tmp_path)
    assert value(figures, "lost") == value(figures, "wrong") == value(figures, "exit_code") == 0


def test_an_overload_is_refused(tmp_path: Path) -> None:
    figures = figures_of("overload", tmp_path, "--max_queue_s", "10")
    assert figures["refused"]
    assert value(figures, "other_failures") == 0


def test_killed_clients_leave_no_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scripts.load_testing.scenarios.killed_clients.KILL_ROUNDS", 2)
    monkeypatch.setattr("scripts.load_testing.scenarios.killed_clients.KILLED_AT_ONCE", 5)
    monkeypatch.setattr("scripts.load_testing.scenarios.killed_clients.KILLED_LONG_S", 20.0)
    figures = figures_of("killed_clients", tmp_path)
    assert value(figures, "temporary_files") == value(figures, "later_failures") == 0


def test_short_clips_are_answered_beside_a_long_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scripts.load_testing.scenarios.short_beside_long.SHORT_PAUSE_S", 0.01)
    figures = figures_of("short_beside_long", tmp_path, "--long_file_s", "100")
    assert value(figures, "failures") == 0
    assert len(figures["beside_s"]) >= 2


def test_memory_is_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scripts.load_testing.scenarios.memory_growth.RANDOM_LENGTHS_S", (0.5, 2.0))
    assert len(figures_of("memory", tmp_path)["marks"]) == 10


@pytest.mark.slow  # the time of the first test again, for another source of clips
def test_the_clips_may_be_those_of_a_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scripts.load_testing.scenarios.sigterm.STOP_AFTER_S", 1.0)
    asked = []

    def noted(mix: str, speech: str) -> list[Clip]:
        asked.append(speech)
        return short_clips(mix, speech)

    monkeypatch.setattr("scripts.load_testing.scenarios.sigterm.short_clips", noted)
    figures = figures_of("sigterm", tmp_path, "--speech", str(SAMPLES / "manifest.jsonl"))
    assert asked == [str(SAMPLES / "manifest.jsonl")]
    assert value(figures, "lost") == value(figures, "wrong") == 0
    assert figures["settings"]["clips"] == f"of {SAMPLES / 'manifest.jsonl'}"


def test_the_service_is_told_the_language(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[dict[str, str]] = []
    monkeypatch.setattr(
        "scripts.load_testing.scenarios.common.dikte_on", lambda backend, model, settings: started.append(settings)
    )
    start(parse_arguments(["--language", "en"]), deadline_s=2.0)
    start(parse_arguments([]))
    assert started == [{"ASR_LANGUAGE": "en", "ASR_DEADLINE_S": "2.0"}, {}]


def test_an_unknown_scenario_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse_arguments(["earthquake"])
    assert ", ".join(SCENARIOS) in capsys.readouterr().err
