"""A child process and its resident memory. Linux only (/proc)."""

import subprocess
from pathlib import Path


def resident_bytes(pid: int, field: str = "VmRSS") -> int:
    """Resident memory of a process, in bytes: current (`VmRSS`) or peak (`VmHWM`)."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith(field))


class ChildProcess:
    """Base class of processes that this one starts. Subclasses set `_process`."""

    _process: subprocess.Popen[bytes]

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    @property
    def resident_bytes(self) -> int:
        """Current resident memory."""
        return resident_bytes(self.pid)

    @property
    def peak_bytes(self) -> int:
        """Peak resident memory."""
        return resident_bytes(self.pid, "VmHWM")
