"""A service in a process of its own, to be loaded: started, watched from outside, and stopped."""

import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

from scripts.common import ROOT
from scripts.common.service import ChildProcess, free_port, wait_until_ready
from scripts.load_testing.answers import LoadError
from scripts.load_testing.figures import Labels, parse_metrics

START_TIMEOUT_S = 300.0
STOP_TIMEOUT_S = 120.0
LOG_TAIL_BYTES = 2_000


class RunningService(ChildProcess):
    """A service that listens on 127.0.0.1, from `with` to its end.

    command: starts it; `{port}` in it is replaced. Its temporary files go into a folder of its own, and what it logs
    into a file; `with` raises LoadError, with the end of that log, when the service does not become ready.
    """

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], port: int | None = None) -> None:
        self._port = port or free_port()
        self.url = f"http://127.0.0.1:{self._port}"
        self._command = [word.replace("{port}", str(self._port)) for word in command]
        self._environment = dict(environment)
        self._folder = tempfile.TemporaryDirectory(prefix="dikte-load-")
        self.temporary = Path(self._folder.name) / "tmp"
        self._log = Path(self._folder.name) / "log"

    def __enter__(self) -> Self:
        self.temporary.mkdir()
        environment = os.environ | self._environment | {"TMPDIR": str(self.temporary), "ASR_PORT": str(self._port)}
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                self._command, cwd=ROOT, env=environment, stdout=log, stderr=subprocess.STDOUT
            )
        try:
            self._wait_until_ready()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        self._folder.cleanup()

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + START_TIMEOUT_S
        while True:
            try:
                return wait_until_ready(self.url, timeout_s=1.0)
            except RuntimeError as error:
                raise LoadError(str(error)) from error
            except TimeoutError:
                if self._process.poll() is not None or time.monotonic() > deadline:
                    raise LoadError(f"the service did not start:\n{self.log_tail}") from None

    @property
    def log_tail(self) -> str:
        """The end of what it logged."""
        return self._log.read_bytes()[-LOG_TAIL_BYTES:].decode(errors="replace")

    @property
    def threads(self) -> int:
        """Threads of the process now."""
        return len(list(Path(f"/proc/{self.pid}/task").iterdir()))

    @property
    def temporary_files(self) -> int:
        """Files in its folder for temporary files, and those that are open without a name."""
        named = sum(path.is_file() for path in self.temporary.rglob("*"))
        return named + sum(str(self.temporary) in target for target in self._open_files())

    @property
    def sockets(self) -> int:
        """Open sockets, the listening one included."""
        return sum(target.startswith("socket:") for target in self._open_files())

    def _open_files(self) -> list[str]:
        targets = []
        for link in Path(f"/proc/{self.pid}/fd").iterdir():
            try:
                targets.append(str(link.readlink()))
            except FileNotFoundError:
                continue  # closed in between
        return targets

    def terminate(self) -> None:
        """Send SIGTERM, and return at once."""
        self._process.send_signal(signal.SIGTERM)

    def exit_code(self, timeout_s: float = STOP_TIMEOUT_S) -> int:
        """Wait for the end of the process. Raises LoadError if it goes on."""
        try:
            return self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise LoadError(f"the service did not end within {timeout_s:g} s after SIGTERM") from None


def dikte(
    backend: str, model: str, settings: Mapping[str, str] | None = None, port: int | None = None
) -> RunningService:
    """This service. backend, model: as `ASR_BACKEND` and `ASR_MODEL_DIR` have them. settings: more of them."""
    environment = {
        "ASR_BACKEND": backend,
        "ASR_MODEL_DIR": model,
        "ASR_HOST": "127.0.0.1",
        "ASR_LOG_LEVEL": "warning",
        "ASR_ALLOW_UNPROVEN": "true",  # random weights load as well
        "ASR_API_KEYS": "",
    }
    return RunningService([sys.executable, "-m", "app"], environment | dict(settings or {}), port)


def scrape(url: str) -> dict[tuple[str, Labels], float]:
    """What `/metrics` says now; nothing where there is no such page."""
    try:
        with urllib.request.urlopen(f"{url}/metrics", timeout=10) as page:  # noqa: S310  # the service under test
            return parse_metrics(page.read().decode())
    except OSError:
        return {}
