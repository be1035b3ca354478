"""Reports of measurements: Markdown for people, and the same figures as JSON for programs."""

import json
import math
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from scripts.common import ROOT
from scripts.common.machine import Machine

UNKNOWN = "-"
FORMAT = 2
"""Version of the JSON layout. In version 2, every report has command, date and settings at the top level."""


@dataclass(frozen=True)
class KeyFigure:
    """A figure of a report's summary.

    key: stable name, for programs. what: description, for people. unit: of the value; empty for a ratio or a count.
    """

    key: str
    what: str
    value: float
    unit: str = ""

    def row(self) -> list[str]:
        """The cells of this figure, in the order of `KEY_FIGURES_HEAD`."""
        value = str(self.value) if isinstance(self.value, int) else number(self.value, ".3g")
        return [self.what, value if value == UNKNOWN else f"{value} {self.unit}".strip()]


KEY_FIGURES_HEAD = ["figure", "measured"]


def key_figures_table(figures: Sequence[KeyFigure]) -> str:
    """A Markdown table with a row for each figure."""
    return table(KEY_FIGURES_HEAD, [figure.row() for figure in figures])


@dataclass(frozen=True)
class Report:
    """A report of one measurement.

    title: the heading. settings: name -> value, of the options that were used. sections: Markdown. figures: the content
    of the JSON file besides its head. key_figures: the summary.
    """

    title: str
    machine: Machine
    settings: Mapping[str, str]
    sections: Sequence[str]
    figures: Mapping[str, Any]
    key_figures: Sequence[KeyFigure] = ()

    def write(self, folder: Path, stem: str) -> Path:
        """Write `stem.md` and `stem.json` into `folder`. Returns the path of the Markdown file."""
        folder.mkdir(parents=True, exist_ok=True)
        date = now()
        text = json.dumps(self.content(date), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
        (folder / f"{stem}.json").write_text(text, encoding="utf-8")
        (folder / f"{stem}.md").write_text(self.markdown(date), encoding="utf-8")
        return folder / f"{stem}.md"

    def content(self, date: str) -> dict[str, Any]:
        """The content of the JSON file. NaN and infinity become null, because JSON has neither."""
        head = {"format": FORMAT, "command": command_line(), "date": date, "machine": asdict(self.machine)}
        head |= {"settings": dict(self.settings), "key_figures": [asdict(figure) for figure in self.key_figures]}
        content: dict[str, Any] = finite(head | dict(self.figures))
        return content

    def markdown(self, date: str) -> str:
        """The Markdown file. `docs/performance.md` explains its columns."""
        machine = self.machine
        rows = [
            ["date", date],
            ["commit", machine.commit + (" with changes" if machine.changed else "")],
            ["processor", f"{machine.processor}, {machine.cores} cores ({', '.join(machine.features)})"],
            ["memory", f"{machine.memory_bytes / 2**30:.1f} GiB"],
            ["system", f"{machine.system}, Python {machine.python}"],
            ["versions", ", ".join(f"{name} {version}" for name, version in machine.versions.items())],
            *([name, value] for name, value in self.settings.items()),
        ]
        parts = [f"# {self.title}", f"    {command_line()}", table(["", ""], rows)]
        parts += ["## Key figures", key_figures_table(self.key_figures)] if self.key_figures else []
        return "\n\n".join([*parts, *self.sections]) + "\n"


def command_line() -> str:
    """The command line of this process. A program in this repository gets its path relative to the root."""
    program = Path(sys.argv[0]).absolute()
    name = program.relative_to(ROOT) if program.is_relative_to(ROOT) else sys.argv[0]
    return shlex.join(["python", str(name), *sys.argv[1:]])


def now() -> str:
    """The current time in UTC, as ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def finite(value: Any) -> Any:
    """Replace NaN and infinity by None, in nested mappings and lists too."""
    if isinstance(value, Mapping):
        return {name: finite(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table. Line breaks and pipes in cells are escaped."""
    lines = [[" ".join(cell.replace("|", "\\|").split()) for cell in line] for line in (head, *rows)]
    lines.insert(1, ["---"] * len(head))
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def number(value: float | None, form: str = ".0f") -> str:
    """Format a number; "-" for NaN and None."""
    return UNKNOWN if value is None or math.isnan(value) else format(value, form)


def milliseconds(seconds: float) -> str:
    """Format seconds as whole milliseconds; "-" for NaN."""
    return number(1000 * seconds)
