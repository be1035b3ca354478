"""The service in a child process: start it, wait until it is ready, send requests, watch its resources, stop it."""

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from app.errors import LOADING
from scripts.common import ROOT
from scripts.common.child_process import ChildProcess

START_TIMEOUT_S = 300.0
"""Long enough for PyTorch and a large checkpoint on a busy machine."""
STOP_TIMEOUT_S = 120.0
READY_PAUSE_S = 0.02
LOG_TAIL_BYTES = 2_000


class ServiceError(Exception):
    """The service does not start, become ready or exit. The message says why."""


def free_port() -> int:
    """A free TCP port of 127.0.0.1."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def wait_until_ready(
    url: str, timeout_s: float = START_TIMEOUT_S, is_running: Callable[[], bool] = lambda: True
) -> None:
    """Return when `/readyz` answers 200.

    is_running: whether the service still runs. Raises ServiceError if the model will never be ready, and TimeoutError
    if the service does not answer within `timeout_s` or before it exits.
    """
    deadline = time.monotonic() + timeout_s
    while is_running() and time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(f"{url}/readyz", timeout=1):  # noqa: S310  # our own address
                return
        except urllib.error.HTTPError as answer:
            reason = json.load(answer)["error"]["message"]
            if reason != LOADING:  # any other reason is permanent
                raise ServiceError(f"the service is not ready: {reason}") from None
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            pass  # the service does not listen yet
        time.sleep(READY_PAUSE_S)
    raise TimeoutError("the service did not become ready")


def transcribe(url: str, path: Path) -> dict[str, Any]:
    """Upload a file to `/transcribe` and return the JSON body. Raises URLError (an OSError) if that fails."""
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


class ServiceProcess(ChildProcess):
    """A service that listens on 127.0.0.1. It runs for the length of a `with` block.

    command: starts the service, in the root folder of the repository; `{port}` is replaced. settings: environment
    variables besides those of this process. The service has its own folder for temporary files, and logs to a file.
    Entering the `with` block raises ServiceError, with the reason or the end of the log, if the service does not become
    ready.
    """

    def __init__(self, command: Sequence[str], settings: Mapping[str, str], port: int | None = None) -> None:
        self._port = port or free_port()
        self.url = f"http://127.0.0.1:{self._port}"
        self._command = [word.replace("{port}", str(self._port)) for word in command]
        self._settings = dict(settings)
        self._folder = tempfile.TemporaryDirectory(prefix="dikte-service-")
        self.temporary = Path(self._folder.name) / "tmp"
        self._log = Path(self._folder.name) / "log"

    def __enter__(self) -> Self:
        self.temporary.mkdir()
        environment = os.environ | self._settings | {"TMPDIR": str(self.temporary), "ASR_PORT": str(self._port)}
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                self._command, cwd=ROOT, env=environment, stdout=log, stderr=subprocess.STDOUT
            )
        try:
            wait_until_ready(self.url, is_running=lambda: self._process.poll() is None)
        except TimeoutError:
            reason = f"the service did not start:\n{self.log_tail}"
            self.__exit__()
            raise ServiceError(reason) from None
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        self._folder.cleanup()

    @property
    def log_tail(self) -> str:
        """The end of the log."""
        return self._log.read_bytes()[-LOG_TAIL_BYTES:].decode(errors="replace")

    @property
    def threads(self) -> int:
        """Current number of threads."""
        return len(list(Path(f"/proc/{self.pid}/task").iterdir()))

    @property
    def temporary_files(self) -> int:
        """Number of temporary files: those in its folder, and open ones without a name."""
        named = sum(path.is_file() for path in self.temporary.rglob("*"))
        return named + sum(str(self.temporary) in target for target in self._open_files())

    @property
    def sockets(self) -> int:
        """Number of open sockets, the listening one included."""
        return sum(target.startswith("socket:") for target in self._open_files())

    def _open_files(self) -> list[str]:
        targets = []
        for link in Path(f"/proc/{self.pid}/fd").iterdir():
            try:
                targets.append(str(link.readlink()))
            except FileNotFoundError:
                continue  # closed since the folder was listed
        return targets

    def terminate(self) -> None:
        """Send SIGTERM, without waiting for the process to exit."""
        self._process.send_signal(signal.SIGTERM)

    def exit_code(self, timeout_s: float = STOP_TIMEOUT_S) -> int:
        """Wait for the process to exit and return its exit code. Raises ServiceError if it does not exit in time."""
        try:
            return self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise ServiceError(f"the service did not exit within {timeout_s:g} s after SIGTERM") from None


def dikte(settings: Mapping[str, str] | None = None, port: int | None = None) -> ServiceProcess:
    """Dikte itself, without API keys. settings: `ASR_*` variables besides those of the environment."""
    own = {"ASR_HOST": "127.0.0.1", "ASR_LOG_LEVEL": "warning", "ASR_API_KEYS": ""}
    return ServiceProcess([sys.executable, "-m", "app"], own | dict(settings or {}), port)


def dikte_on(
    backend: str, model: str | Path, settings: Mapping[str, str] | None = None, port: int | None = None
) -> ServiceProcess:
    """Dikte on this backend and model (`ASR_BACKEND`, `ASR_MODEL_DIR`). The model may be unproven."""
    chosen = {"ASR_BACKEND": backend, "ASR_MODEL_DIR": str(model), "ASR_ALLOW_UNPROVEN": "true"}
    return dikte(chosen | dict(settings or {}), port)
