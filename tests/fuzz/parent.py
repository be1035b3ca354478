"""Run cases in a child process, and start a new one after a case that ended it."""

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
"""Allowed growth of resident memory from the second quarter of a child's cases to the last. Fragmentation of the heap
depends on the largest case so far, which may come late."""
MIN_MEASUREMENTS = 16
"""Minimum number of memory measurements for checking growth."""
STACK_LINES = 12


@dataclass(frozen=True)
class Finding:
    """A case in which the decoder misbehaved. cause: the same for cases with the same reason."""

    case: int
    cause: str
    details: str


@dataclass
class Report:
    """The results of a run.

    outcomes: "waveform" or an error code -> number of cases. slowest: largest ratio of CPU time to its limit, and the
    number of that case. resident_bytes: measurements of the last child.
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
    """Run `count` cases from number `first` on, for at most `seconds`.

    found: called with each finding. hang_s: CPU time after which a case is considered hung.
    """
    report, number, end_s = Report(), first, time.monotonic() + seconds
    while number < first + count and (left_s := end_s - time.monotonic()) > 0:
        options = ["--first", str(number), "--last", str(first + count), "--seconds", str(left_s)]
        number = 1 + _run_child(report, [*options, "--seeds", str(seeds), "--hang_s", str(hang_s)], decoder, found)
    return report


def decode_file(path: Path, decoder: str = DECODER) -> Report:
    """Decode one file without mutations."""
    report = Report()
    # Case 0 is read from disk and decoded twice.
    _run_child(report, ["--first", "0", "--last", "1", "--file", str(path)], decoder, lambda finding: None)
    return report


def _run_child(report: Report, options: list[str], decoder: str, found: Callable[[Finding], object]) -> int:
    """Run a child and add its events to the report. Returns the number of the last case that it started."""

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
        output = log.read()
    if not begun:
        raise RuntimeError(f"the child process did not start:\n{output}")
    if not ended or child.returncode:
        add(Finding(case, _exit_cause(child.returncode), "\n".join(output.splitlines()[:STACK_LINES])))
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
    """Growth of memory in bytes after it should have reached its plateau. 0 if it did."""
    if len(resident_bytes) < MIN_MEASUREMENTS:
        return 0
    quarter = len(resident_bytes) // 4
    early, late = median(resident_bytes[quarter : 2 * quarter]), median(resident_bytes[-quarter:])
    return round(late - early) if late - early > max(PLATEAU_BYTES, PLATEAU_SHARE * early) else 0


def _exit_cause(code: int) -> str:
    """Why a child ended during a case. code: its exit code."""
    if code >= 0:
        return f"the process exited with status {code}"
    hung = {signal.SIGPROF: "hang: too much CPU time", signal.SIGALRM: "hang: it waits"}
    return hung.get(signal.Signals(-code), f"the process was killed by {signal.Signals(-code).name}")
