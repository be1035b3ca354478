import json
import sys
from pathlib import Path

import pytest

from scripts.common import ROOT
from scripts.common.machine import Machine
from scripts.common.report import KeyFigure, Report, command_line, finite, milliseconds, number, table

MACHINE = Machine("Some CPU", 2, ("avx2",), 8 << 30, "Linux", "3.11.7", {"numpy": "2.4.6"}, "abc123", changed=True)


def test_a_report_is_written_as_markdown_and_json(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", [str(ROOT / "scripts" / "load.py"), "--out", "a b"])
    key_figures = [KeyFigure("ratio", "ours / theirs", 0.12345), KeyFigure("lost", "lost requests", 1736)]
    key_figures += [KeyFigure("p95", "p95 of refusals", float("nan"), "s")]
    report = Report("Load", MACHINE, {"users": "10"}, ["## Figures", "text"], {"p95_s": float("nan")}, key_figures)
    path = report.write(tmp_path / "new", "load_report")
    text, content = path.read_text(encoding="utf-8"), json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    assert text.startswith("# Load\n\n    python scripts/load.py --out 'a b'\n\n")
    for row in ("| commit | abc123 with changes |", "| processor | Some CPU, 2 cores (avx2) |", "| memory | 8.0 GiB |"):
        assert row in text
    assert "| users | 10 |" in text
    assert f"| date | {content['date']} |" in text
    assert text.endswith("## Figures\n\ntext\n")
    assert content["command"] == "python scripts/load.py --out 'a b'"
    assert content["machine"]["versions"] == {"numpy": "2.4.6"}
    assert content["settings"] == {"users": "10"}
    assert content["p95_s"] is None
    assert "\n\n## Key figures\n\n| figure | measured |" in text
    for row in ("| ours / theirs | 0.123 |", "| lost requests | 1736 |", "| p95 of refusals | - |"):
        assert row in text
    assert [figure["value"] for figure in content["key_figures"]] == [0.12345, 1736, None]


def test_a_command_elsewhere_keeps_its_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["/opt/other.py", "-v"])
    assert command_line() == "python /opt/other.py -v"


def test_json_has_neither_nan_nor_infinity() -> None:
    assert finite({"a": [1.0, float("inf")], "b": (float("nan"), "x")}) == {"a": [1.0, None], "b": [None, "x"]}


def test_cells_do_not_break_a_table() -> None:
    assert table(["a", "b"], [["1|2", "two\nlines"]]) == "| a | b |\n| --- | --- |\n| 1\\|2 | two lines |"


@pytest.mark.parametrize(
    ("value", "form", "text"),
    [(1.25, ".1f", "1.2"), (None, ".1f", "-"), (float("nan"), ".0f", "-"), (0.5, ".0%", "50%")],
)
def test_unmeasured_values_are_a_dash(value: float | None, form: str, text: str) -> None:
    assert number(value, form) == text


def test_milliseconds_have_no_decimals() -> None:
    assert (milliseconds(0.0125), milliseconds(float("nan"))) == ("12", "-")
