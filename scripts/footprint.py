"""Start the service as users do and print how long that takes and how much memory it holds.

    .venv/bin/python scripts/footprint.py samples/sample.wav

Runs with the Python that it is started with; the settings of the service (`ASR_*`) apply. Linux only (/proc).
"""

import argparse
import json
import os
import platform
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
START_TIMEOUT_S = 60.0
LOADING = "the model is being loaded"
"""What `/readyz` answers until it knows; any other reason stays."""
MIB = 1 << 20


def free_port() -> int:
    """A TCP port that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def resident_bytes(pid: int, field: str = "VmRSS") -> int:
    """Resident memory of a process now (VmRSS) or at most so far (VmHWM)."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith(field))


def wait_until_ready(url: str, timeout_s: float = START_TIMEOUT_S) -> None:
    """Return when `/readyz` answers 200. Raises TimeoutError, or RuntimeError if the model will never be ready."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(f"{url}/readyz", timeout=1):  # noqa: S310  # our own address
                return
        except urllib.error.HTTPError as answer:
            reason = json.load(answer)["error"]["message"]
            if reason != LOADING:
                raise RuntimeError(f"the service is not ready: {reason}") from None
            time.sleep(0.02)
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            time.sleep(0.02)
    raise TimeoutError("the service did not become ready")


def transcribe(url: str, path: Path) -> dict[str, Any]:
    """Upload a file as curl would."""
    boundary = "footprint"
    head = f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="{path.name}"\r\n\r\n'
    request = urllib.request.Request(  # noqa: S310  # our own address
        f"{url}/transcribe",
        data=head.encode() + path.read_bytes() + f"\r\n--{boundary}--\r\n".encode(),
        headers={"Content-Type": f"multipart/form-data; boundary={boundary}"},
    )
    with urllib.request.urlopen(request, timeout=600) as response:  # noqa: S310
        body: dict[str, Any] = json.load(response)
    return body


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
