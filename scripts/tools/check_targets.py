"""Compare the reports of this project's measurements with its targets.

    python scripts/tools/check_targets.py artifacts/benchmark_report.json artifacts/load_*.json

Reads the key figures that `scripts/benchmark.py`, `scripts/load.py --against_plain` and `load_scenarios.py` write. The
targets are in `targets.toml` in this folder. The exit status is 1 if a target is missed.
"""

import argparse
import json
import sys
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scripts.common.report import KeyFigure, table

TARGETS = Path(__file__).with_name("targets.toml")


@dataclass(frozen=True)
class Target:
    """A bound of a figure, in the figure's unit. at_least: whether it is a lower bound, not an upper one."""

    bound: float
    at_least: bool

    def __str__(self) -> str:
        return f"{'at least' if self.at_least else 'at most'} {self.bound:g}"

    def reached_by(self, value: float | None) -> bool:
        """Whether the value is within the bound. None, which was not measured, is not."""
        if value is None:
            return False
        return value >= self.bound if self.at_least else value <= self.bound


def read_targets(path: Path = TARGETS) -> dict[str, dict[str, Target]]:
    """Stem of a report -> key of a figure -> target. Raises ValueError for an unknown kind of bound."""
    content = tomllib.loads(path.read_text(encoding="utf-8"))
    return {report: {key: _target(entry) for key, entry in bounds.items()} for report, bounds in content.items()}


def _target(entry: Mapping[str, float]) -> Target:
    ((kind, bound),) = entry.items()
    if kind not in ("at_least", "at_most"):
        raise ValueError(f"a bound is at_least or at_most, not {kind}")
    return Target(bound, kind == "at_least")


def check(path: Path, targets: Mapping[str, Target]) -> tuple[list[list[str]], int]:
    """Compare the key figures of a report with their targets.

    Returns rows of (figure, measured, target, result) for the figures that have a target, and the number of misses.
    """
    report: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    rows, missed = [], 0
    for entry in report["key_figures"]:
        if target := targets.get(entry["key"]):
            figure, reached = KeyFigure(**entry), target.reached_by(entry["value"])
            rows.append([*figure.row(), f"{target} {figure.unit}".strip(), "reached" if reached else "missed"])
            missed += not reached
    return rows, missed


def main(words: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("reports", type=Path, nargs="+", help="JSON files of reports")
    arguments = parser.parse_args(words)
    targets = read_targets()
    rows, missed = [], 0
    for path in arguments.reports:
        if path.stem in targets:
            found, of_report = check(path, targets[path.stem])
            rows += [[path.stem, *row] for row in found]
            missed += of_report
        else:
            print(f"{path} has no targets", file=sys.stderr)
    print(table(["report", "figure", "measured", "target", ""], rows))
    sys.exit(1 if missed else 0)


if __name__ == "__main__":
    main()
