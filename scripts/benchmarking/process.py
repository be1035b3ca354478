"""An engine in a child process, so that its memory can be measured and its threads sleep while others run."""

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from multiprocessing.connection import Pipe
from pathlib import Path
from typing import Any, Self, cast

from app.recognizer import Samples
from scripts.benchmarking.engines import EngineSpec
from scripts.common.child_process import ChildProcess

WORKER = Path(__file__).with_name("worker.py")
ANSWER_TIMEOUT_S = 900.0
"""An engine that has not answered after this time is considered hung."""
END_TIMEOUT_S = 5.0
SLEEPING_THREADS = {"OMP_WAIT_POLICY": "PASSIVE", "KMP_BLOCKTIME": "0"}
"""OpenMP threads sleep while they wait. Spinning threads would take cores from the engine that is measured next."""


class EngineFailed(Exception):
    """The engine cannot be loaded, or fails in a call. The message says why."""


class EngineProcess(ChildProcess):
    """A new interpreter for one engine. `load` loads the engine, `close` ends the process.

    threads: number of threads of one call. callers: number of calls that `throughput` and `texts` make at once. Every
    method but `close` raises EngineFailed if the engine fails or its process dies.
    """

    def __init__(self, spec: EngineSpec, threads: int, callers: int) -> None:
        self.spec = spec
        self._threads, self._callers = threads, callers
        self._connection, theirs = Pipe()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, str(WORKER), str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                env=os.environ | SLEEPING_THREADS,
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def load(self) -> float:
        """Load the engine. Returns the seconds from a bare interpreter to a loaded engine, imports included."""
        return cast(float, self._ask("load", self.spec, self._threads, self._callers))

    def output(self, samples: Samples) -> Any:
        """The output of one clip, shape (samples,), float32: see `Engine.output`."""
        return self._ask("output", samples)

    def latency_s(self, samples: Samples) -> float:
        """Wall time of one call with one clip, in seconds, measured in the engine's process."""
        return cast(float, self._ask("latency_s", samples))

    def throughput(self, clips: Sequence[Samples], seconds: float) -> float:
        """Samples per second of all callers together. Each caller computes all clips repeatedly for `seconds`."""
        return cast(float, self._ask("throughput", clips, self._callers, seconds))

    def texts(self, clips: Sequence[Samples]) -> list[str]:
        """The hypothesis for each clip, as text."""
        return cast(list[str], self._ask("texts", clips, self._callers))

    def modules(self) -> set[str]:
        """Names of the modules that the process has imported. When this returns, the process has started."""
        return cast(set[str], self._ask("modules"))

    def close(self) -> None:
        """End the process, even during a call."""
        self._connection.close()
        self._process.kill()
        self._process.wait(END_TIMEOUT_S)

    def _ask(self, method: str, *arguments: Any) -> Any:
        try:
            self._connection.send((method, arguments))
            if not self._connection.poll(ANSWER_TIMEOUT_S):
                raise EngineFailed(f"no answer within {ANSWER_TIMEOUT_S:.0f} s")
            succeeded, answer = self._connection.recv()
        except (EOFError, OSError):
            code = self._process.wait(END_TIMEOUT_S)
            cause = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
            raise EngineFailed(f"its process died ({cause})") from None
        if not succeeded:
            raise EngineFailed(answer)
        return answer
