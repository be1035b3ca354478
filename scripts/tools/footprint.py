"""Start the service as users do and print how long that takes and how much memory it holds.

    .venv/bin/python scripts/tools/footprint.py samples/sample.wav

Runs with the Python that it is started with; the settings of the service (`ASR_*`) apply. With `ASR_BACKEND=auto` the
first start may measure backends, which the medians leave out. Linux only (/proc).
"""

import argparse
import os
import platform
import subprocess
import sys
import time
from pathlib import Path
from statistics import median
from typing import Any

from scripts.common import MIB, ROOT
from scripts.common.service import free_port, resident_bytes, transcribe, wait_until_ready


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clip", type=Path, help="sound file to transcribe")
    parser.add_argument("--starts", type=int, default=5, help="how many times to start the service")
    parser.add_argument("--requests", type=int, default=20, help="requests after each start")
    arguments = parser.parse_args()

    starts_s: list[float] = []
    idle: list[int] = []
    peak: list[int] = []
    answers_s: list[float] = []
    answer: dict[str, Any] = {}
    for _ in range(arguments.starts):
        port = free_port()
        url = f"http://127.0.0.1:{port}"
        begin = time.monotonic()
        settings = {"ASR_HOST": "127.0.0.1", "ASR_PORT": str(port), "ASR_LOG_LEVEL": "warning"}
        service = subprocess.Popen([sys.executable, "-m", "app"], cwd=ROOT, env=os.environ | settings)
        try:
            try:
                wait_until_ready(url)
            except (RuntimeError, TimeoutError) as error:
                sys.exit(str(error))
            starts_s.append(time.monotonic() - begin)
            idle.append(resident_bytes(service.pid))
            for _ in range(arguments.requests):
                begin = time.monotonic()
                answer = transcribe(url, arguments.clip)
                answers_s.append(time.monotonic() - begin)
            peak.append(resident_bytes(service.pid, "VmHWM"))
        finally:
            service.terminate()
            service.wait(timeout=30)

    print(f"{platform.machine()}, {len(os.sched_getaffinity(0))} cores, Python {platform.python_version()}")
    print(f"{answer['model']} on {answer['backend']}; medians of {arguments.starts} starts")
    print(f"start to ready:                {median(starts_s):.2f} s")
    print(f"resident when ready:           {median(idle) / MIB:.0f} MiB")
    print(f"resident at most, {arguments.requests} requests: {median(peak) / MIB:.0f} MiB")
    print(f"answer, {answer['duration']:.1f} s clip:           {median(answers_s):.3f} s")


if __name__ == "__main__":
    main()
