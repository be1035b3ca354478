"""Measure start time, memory and latency of the service, started as users start it.

    .venv/bin/python scripts/tools/footprint.py samples/sample.wav

The service runs with the same Python as this command, and with the `ASR_*` settings of the environment. With
`ASR_BACKEND=auto`, the first start may measure the backends, which hardly affects the medians. Linux only (/proc).
"""

import argparse
import os
import platform
import time
from pathlib import Path
from statistics import median
from typing import Any

from scripts.common import MIB
from scripts.common.command import ending_cleanly
from scripts.common.service_process import ServiceError, dikte, transcribe


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clip", type=Path, help="audio file to transcribe")
    parser.add_argument("--starts", type=int, default=5, help="number of times to start the service")
    parser.add_argument("--requests", type=int, default=20, help="number of requests after each start")
    arguments = parser.parse_args()

    starts_s: list[float] = []
    idle: list[int] = []
    peak: list[int] = []
    answers_s: list[float] = []
    answer: dict[str, Any] = {}
    with ending_cleanly("measurement", ServiceError, OSError):
        for _ in range(arguments.starts):
            begin = time.monotonic()
            with dikte() as service:
                starts_s.append(time.monotonic() - begin)
                idle.append(service.resident_bytes)
                for _ in range(arguments.requests):
                    begin = time.monotonic()
                    answer = transcribe(service.url, arguments.clip)
                    answers_s.append(time.monotonic() - begin)
                peak.append(service.peak_bytes)

    print(f"{platform.machine()}, {len(os.sched_getaffinity(0))} cores, Python {platform.python_version()}")
    print(f"{answer['model']} on {answer['backend']}; medians of {arguments.starts} starts")
    print(f"start to ready:                {median(starts_s):.2f} s")
    print(f"resident when ready:           {median(idle) / MIB:.0f} MiB")
    print(f"peak resident, {arguments.requests} requests:    {median(peak) / MIB:.0f} MiB")
    print(f"answer, {answer['duration']:.1f} s clip:           {median(answers_s):.3f} s")


if __name__ == "__main__":
    main()
