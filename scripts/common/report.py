"""What measurements write: a report in Markdown to read, and the same figures as JSON."""

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
"""Of the JSON. 2: command, date and settings stand at the top of every report."""


@dataclass(frozen=True)
class KeyFigure:
    """A figure that sums a report up. key: its name for programs, the same in every report. what: the same in words.

    unit: of the value, "" for a ratio or a count.
    """

    key: str
    what: str
    value: float
    unit: str = ""

    def row(self) -> list[str]:
        """Cells below `KEY_FIGURES_HEAD`."""
        value = str(self.value) if isinstance(self.value, int) else number(self.value, ".3g")
        return [self.what, value if value == UNKNOWN else f"{value} {self.unit}".strip()]


KEY_FIGURES_HEAD = ["figure", "measured"]


def key_figures_table(figures: Sequence[KeyFigure]) -> str:
    """A row for each."""
    return table(KEY_FIGURES_HEAD, [figure.row() for figure in figures])


@dataclass(frozen=True)
class Report:
    """title: the first line. settings: name -> value, as understood. sections: Markdown. figures: for JSON."""

    title: str
    machine: Machine
    settings: Mapping[str, str]
    sections: Sequence[str]
    figures: Mapping[str, Any]
    key_figures: Sequence[KeyFigure] = ()

    def write(self, folder: Path, stem: str) -> Path:
        """Write `stem.md` and `stem.json` into `folder`. Returns the path of the first."""
        folder.mkdir(parents=True, exist_ok=True)
        date = now()
        text = json.dumps(self.content(date), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
        (folder / f"{stem}.json").write_text(text, encoding="utf-8")
        (folder / f"{stem}.md").write_text(self.markdown(date), encoding="utf-8")
        return folder / f"{stem}.md"

    def content(self, date: str) -> dict[str, Any]:
        """The JSON. NaN and infinity, which it does not have, are null."""
        head = {"format": FORMAT, "command": command_line(), "date": date, "machine": asdict(self.machine)}
        head |= {"settings": dict(self.settings), "key_figures": [asdict(figure) for figure in self.key_figures]}
        content: dict[str, Any] = finite(head | dict(self.figures))
        return content

    def markdown(self, date: str) -> str:
        """The report; `docs/performance.md` says what its columns mean."""
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
    """The command that this process was started with; one of this repository by its path within it."""
    program = Path(sys.argv[0]).absolute()
    name = program.relative_to(ROOT) if program.is_relative_to(ROOT) else sys.argv[0]
    return shlex.join(["python", str(name), *sys.argv[1:]])


def now() -> str:
    """ISO 8601, UTC."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def finite(value: Any) -> Any:
    """The same without NaN and infinity: null."""
    if isinstance(value, Mapping):
        return {name: finite(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table; what would break its lines or cells is made harmless."""
    lines = [[" ".join(cell.replace("|", "\\|").split()) for cell in line] for line in (head, *rows)]
    lines.insert(1, ["---"] * len(head))
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def number(value: float | None, form: str = ".0f") -> str:
    """Formatted; "-" for NaN, and for what was not measured."""
    return UNKNOWN if value is None or math.isnan(value) else format(value, form)


def milliseconds(seconds: float) -> str:
    """Without decimals; "-" for NaN."""
    return number(1000 * seconds)
