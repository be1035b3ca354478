"""A process that this one has started, and the memory that it holds. Linux only (/proc)."""

import subprocess
from pathlib import Path


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
