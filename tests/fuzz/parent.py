"""Runs cases in a child process, and starts another one behind a case that ended it."""

import json
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

ROOT = Path(__file__).resolve().parents[2]
DECODER = "app.audio:decode"
PLATEAU_BYTES, PLATEAU_SHARE = 8 << 20, 0.05
"""Resident memory may grow by as much from the second quarter of a child's cases to the last: the largest case so far
decides how fragmented the heap is, and may come late."""
LEAST_MEASUREMENTS = 16
"""Of resident memory, to judge whether it grows."""
STACK_LINES = 12


@dataclass(frozen=True)
class Finding:
    """A case in which the decoder did what it must not. cause: the same for cases with the same reason."""

    case: int
    cause: str
    details: str


@dataclass
class Report:
    """What came of many cases. outcomes: how many gave a waveform, or an error of that code.

    slowest: largest share of its bound that a case took, and its number. resident_bytes: of the last child.
    """

    cases: int = 0
    findings: list[Finding] = field(default_factory=list)
    outcomes: Counter[str] = field(default_factory=Counter)
    slowest: tuple[float, int] = (0.0, -1)
    resident_bytes: list[int] = field(default_factory=list)


def fuzz(
    first: int,
    count: int,
    seeds: Path,
    decoder: str = DECODER,
    seconds: float = float("inf"),
    found: Callable[[Finding], object] = lambda finding: None,
    hang_s: float = 30.0,
) -> Report:
    """Run the cases from number `first` on, `count` of them or as many as go into `seconds`.

    found: called with each finding at once. hang_s: CPU time after which a case is taken for one that never ends.
    """
    report, number, end_s = Report(), first, time.monotonic() + seconds
    while number < first + count and (left_s := end_s - time.monotonic()) > 0:
        options = ["--first", str(number), "--last", str(first + count), "--seconds", str(left_s)]
        number = 1 + _run_child(report, [*options, "--seeds", str(seeds), "--hang_s", str(hang_s)], decoder, found)
    return report


def decode_file(path: Path, decoder: str = DECODER) -> Report:
    """Run one file as it is."""
    report = Report()
    # As a case that is read from disk and decoded twice.
    _run_child(report, ["--first", "0", "--last", "1", "--file", str(path)], decoder, lambda finding: None)
    return report


def _run_child(report: Report, options: list[str], decoder: str, found: Callable[[Finding], object]) -> int:
    """Add what a child says to the report. The number of the last case that it began."""

    def add(finding: Finding) -> None:
        report.findings.append(finding)
        found(finding)

    command = [sys.executable, "-m", "tests.fuzz.child", "--decoder", decoder, *options]
    begun = ended = False
    case = -1
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as log:
        child = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=log, text=True)
        assert child.stdout is not None
        with child:
            for line in child.stdout:
                ((event, content),) = json.loads(line).items()
                if event == "begin":
                    begun, case = True, int(content)
                    report.cases += 1
                elif event == "finding":
                    add(Finding(**content))
                else:
                    ended = True
                    _add_summary(report, content)
                    if growth := memory_growth(report.resident_bytes):
                        add(Finding(case, "memory grows", f"{growth / 2**20:.1f} MiB: {report.resident_bytes}"))
        log.seek(0)
        said = log.read()
    if not begun:
        raise RuntimeError(f"the child process did not start:\n{said}")
    if not ended or child.returncode:
        add(Finding(case, _how_it_ended(child.returncode), "\n".join(said.splitlines()[:STACK_LINES])))
    return case


def _add_summary(report: Report, summary: dict[str, object]) -> None:
    outcomes, slowest, resident = (summary[name] for name in ("outcomes", "slowest", "resident_bytes"))
    assert isinstance(outcomes, dict)
    assert isinstance(slowest, list)
    assert isinstance(resident, list)
    report.outcomes.update(outcomes)
    report.slowest = max(report.slowest, (slowest[0], slowest[1]))
    report.resident_bytes = resident


def memory_growth(resident_bytes: list[int]) -> int:
    """By how many bytes memory grew where it should have reached its plateau; 0 if it did."""
    if len(resident_bytes) < LEAST_MEASUREMENTS:
        return 0
    quarter = len(resident_bytes) // 4
    early, late = median(resident_bytes[quarter : 2 * quarter]), median(resident_bytes[-quarter:])
    return round(late - early) if late - early > max(PLATEAU_BYTES, PLATEAU_SHARE * early) else 0


def _how_it_ended(code: int) -> str:
    """In words: what ended a child in the midst of a case."""
    if code >= 0:
        return f"the process ended with status {code}"
    hung = {signal.SIGPROF: "no end: too much CPU time", signal.SIGALRM: "no end: it waits"}
    return hung.get(signal.Signals(-code), f"the process was killed by {signal.Signals(-code).name}")
