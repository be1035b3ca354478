"""Fuzz the audio decoder for any length of time.

    python -m tests.fuzz                        # an hour, on one core, starting at a random case
    python -m tests.fuzz --seconds 600 --first 1000000 --seeds recordings/
    python -m tests.fuzz --first 17 --count 1                 # one case
    python -m tests.fuzz --file artifacts/fuzz/1000017        # decode one file with the same checks

Failures are saved in `--out`, and the command that decodes each again is printed. The exit status is 1 if there is a
failure. Linux only (/proc).
"""

import argparse
import random
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from tests.fuzz.cases import Cases, write_seeds
from tests.fuzz.parent import DECODER, Finding, Report, decode_file, fuzz

CASES_PER_CHILD = 20_000
"""Memory growth is checked in each child: enough cases to find small leaks, few enough for several checks per hour."""
SAVED_PER_CAUSE = 3
"""Number of failures with the same cause that are saved."""


class Collector:
    """Prints and saves findings, up to `SAVED_PER_CAUSE` of each cause."""

    def __init__(self, folder: Path, cases: Cases) -> None:
        self._folder = folder
        self._cases = cases
        self.causes = Counter[str]()

    def add(self, finding: Finding) -> None:
        self.causes[finding.cause] += 1
        if self.causes[finding.cause] > SAVED_PER_CAUSE:
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._folder / str(finding.case)
        path.write_bytes(self._cases.case(finding.case))
        path.with_suffix(".txt").write_text(f"{finding.cause}\n{finding.details}\n", encoding="utf-8")
        print(f"case {finding.case}: {finding.cause}\n    python -m tests.fuzz --file {path}", flush=True)


def fuzz_for(seconds: float, cases: range, seeds: Path, out: Path, decoder: str) -> bool:
    """Run the cases for at most `seconds`. Returns whether all succeeded."""
    collector = Collector(out, Cases(seeds))
    total = Report()
    end_s = time.monotonic() + seconds
    for start in cases[::CASES_PER_CHILD]:
        if (left_s := end_s - time.monotonic()) <= 0:
            break
        report = fuzz(start, min(CASES_PER_CHILD, cases.stop - start), seeds, decoder, left_s, collector.add)
        total.cases += report.cases
        total.outcomes += report.outcomes
        total.slowest = max(total.slowest, report.slowest)
        mib = report.resident_bytes[-1] / 2**20 if report.resident_bytes else float("nan")
        print(f"{total.cases} cases, {dict(total.outcomes)}, {mib:.0f} MiB resident", flush=True)
    share, number = total.slowest
    print(f"slowest: case {number}, {share:.0%} of its time limit")
    for cause, times in collector.causes.most_common():
        print(f"{times} times: {cause}")
    print(f"Failures: {out}" if collector.causes else "No failure")
    return not collector.causes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=3600.0)
    parser.add_argument("--first", type=int, default=None, help="number of the first case (default: random)")
    parser.add_argument("--count", type=int, default=1 << 30, help="maximum number of cases")
    parser.add_argument("--seeds", type=Path, help="folder of files to mutate (default: generated, in every encoding)")
    parser.add_argument("--file", type=Path, help="only decode this file")
    parser.add_argument("--out", type=Path, default=Path("artifacts/fuzz"), help="folder for failures")
    parser.add_argument("--decoder", default=DECODER, help="module:function to test")
    arguments = parser.parse_args()
    if arguments.file:
        report = decode_file(arguments.file, arguments.decoder)
        for finding in report.findings:
            print(f"{finding.cause}\n{finding.details}")
        print(dict(report.outcomes))
        sys.exit(bool(report.findings))
    first = random.SystemRandom().randrange(1 << 40) if arguments.first is None else arguments.first
    print(f"starting at case {first}, for {arguments.seconds:g} s; failures go to {arguments.out}", flush=True)
    with tempfile.TemporaryDirectory(prefix="dikte-seeds-") as folder:
        if not arguments.seeds:
            write_seeds(Path(folder))
        cases = range(first, first + arguments.count)
        passed = fuzz_for(arguments.seconds, cases, arguments.seeds or Path(folder), arguments.out, arguments.decoder)
    sys.exit(not passed)


if __name__ == "__main__":
    main()
