"""Fuzz the decoder of sound for as long as you like.

    python -m tests.fuzz                        # an hour, on one core, from a random case on
    python -m tests.fuzz --seconds 600 --first 1000000 --seeds recordings/
    python -m tests.fuzz --first 17 --count 1                 # one case
    python -m tests.fuzz --file artifacts/fuzz/1000017        # decode one file under the same watch

What fails is saved in `--out`, with a line that says how to decode it again. Exit code 1 if anything failed. Linux only
(/proc).
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
"""Memory is judged within a child: enough cases for small leaks, and few enough to judge it several times an hour."""
SAVED_PER_CAUSE = 3


class Collector:
    """Prints and saves findings, a few of each cause."""

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
    """Run the cases until the time is over. Whether nothing was found."""
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
    print(f"slowest: case {number}, {share:.0%} of the time that it may take")
    for cause, times in collector.causes.most_common():
        print(f"{times} times: {cause}")
    print(f"Failures: {out}" if collector.causes else "No failure")
    return not collector.causes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=3600.0)
    parser.add_argument("--first", type=int, default=None, help="number of the first case (default: random)")
    parser.add_argument("--count", type=int, default=1 << 30, help="how many cases at most")
    parser.add_argument("--seeds", type=Path, help="folder of files to mutate (default: made, of every encoding)")
    parser.add_argument("--file", type=Path, help="only decode this file")
    parser.add_argument("--out", type=Path, default=Path("artifacts/fuzz"), help="folder for what fails")
    parser.add_argument("--decoder", default=DECODER, help="module:function to test")
    arguments = parser.parse_args()
    if arguments.file:
        report = decode_file(arguments.file, arguments.decoder)
        for finding in report.findings:
            print(f"{finding.cause}\n{finding.details}")
        print(dict(report.outcomes))
        sys.exit(bool(report.findings))
    first = random.SystemRandom().randrange(1 << 40) if arguments.first is None else arguments.first
    print(f"cases from {first} on, for {arguments.seconds:g} s; failures go to {arguments.out}", flush=True)
    with tempfile.TemporaryDirectory(prefix="dikte-seeds-") as folder:
        if not arguments.seeds:
            write_seeds(Path(folder))
        cases = range(first, first + arguments.count)
        good = fuzz_for(arguments.seconds, cases, arguments.seeds or Path(folder), arguments.out, arguments.decoder)
    sys.exit(not good)


if __name__ == "__main__":
    main()
