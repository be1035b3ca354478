"""A service in another process: an address for it, when it is ready, what it answers, and the memory it holds."""

import json
import socket
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from app.errors import LOADING

START_TIMEOUT_S = 60.0


def free_port() -> int:
    """A TCP port that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def resident_bytes(pid: int, field: str = "VmRSS") -> int:
    """Resident memory of a process now (VmRSS) or at most so far (VmHWM)."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith(field))


class ChildProcess:
    """A process that this one has started."""

    _process: subprocess.Popen[bytes]

    @property
    def pid(self) -> int:
        """Its number."""
        return self._process.pid

    @property
    def resident_bytes(self) -> int:
        """Resident memory now."""
        return resident_bytes(self.pid)

    @property
    def peak_bytes(self) -> int:
        """Resident memory at most so far."""
        return resident_bytes(self.pid, "VmHWM")


def wait_until_ready(url: str, timeout_s: float = START_TIMEOUT_S) -> None:
    """Return when `/readyz` answers 200. Raises TimeoutError, or RuntimeError if the model will never be ready."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(f"{url}/readyz", timeout=1):  # noqa: S310  # our own address
                return
        except urllib.error.HTTPError as answer:
            reason = json.load(answer)["error"]["message"]
            if reason != LOADING:  # any other stays
                raise RuntimeError(f"the service is not ready: {reason}") from None
            time.sleep(0.02)
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            time.sleep(0.02)
    raise TimeoutError("the service did not become ready")


def transcribe(url: str, path: Path) -> dict[str, Any]:
    """Upload a file as curl would."""
    boundary = "a-line-that-is-in-no-file"
    head = f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="{path.name}"\r\n\r\n'
    request = urllib.request.Request(  # noqa: S310  # our own address
        f"{url}/transcribe",
        data=head.encode() + path.read_bytes() + f"\r\n--{boundary}--\r\n".encode(),
        headers={"Content-Type": f"multipart/form-data; boundary={boundary}"},
    )
    with urllib.request.urlopen(request, timeout=600) as response:  # noqa: S310
        body: dict[str, Any] = json.load(response)
    return body
