"""The child side of `process.py`: loads one engine, runs it and measures it. Only `process.py` starts it.

    python scripts/benchmarking/worker.py FILE_DESCRIPTOR

It imports no more than its engine needs, and exits when the parent closes its end of the pipe.
"""

import signal
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any

from app.recognizer import Samples
from scripts.benchmarking.engines import EngineSpec, load


class Worker:
    """The methods that the parent can call, by name."""

    def load(self, spec: EngineSpec, threads: int, callers: int) -> float:
        """Load the engine. Returns the seconds it took, imports included."""
        begin = time.perf_counter()
        self._engine = load(spec, threads, callers)
        return time.perf_counter() - begin

    def output(self, samples: Samples) -> Any:
        """The output of one clip: see `Engine.output`."""
        return self._engine.output(samples)

    def latency_s(self, samples: Samples) -> float:
        """Wall time of one call with one clip, in seconds."""
        begin = time.perf_counter()
        self._engine.compute(samples)
        return time.perf_counter() - begin

    def throughput(self, clips: Sequence[Samples], callers: int, seconds: float) -> float:
        """Samples per second of all callers together.

        Each caller starts with another clip and stops only after a whole pass over the clips, so that all have the same
        mix of lengths. The sum is over the rates of the callers, each over its own time, so that waiting for the last
        caller does not count.
        """

        def call(first: int) -> float:
            first %= len(clips)
            done, taken_s, begin = 0, 0.0, time.perf_counter()
            while not done or taken_s < seconds:
                for samples in (*clips[first:], *clips[:first]):
                    self._engine.compute(samples)
                    done += len(samples)
                taken_s = time.perf_counter() - begin
            return done / taken_s

        with ThreadPoolExecutor(callers) as pool:
            return sum(pool.map(call, range(callers)))

    def texts(self, clips: Sequence[Samples], callers: int) -> list[str]:
        """The hypothesis for each clip, as text."""
        with ThreadPoolExecutor(callers) as pool:
            return list(pool.map(self._engine.text, clips))

    def modules(self) -> set[str]:
        """Names of the modules that are imported so far."""
        return set(sys.modules)


def serve(connection: "Connection[Any, Any]") -> None:
    """Answer each (method, arguments) with (True, result) or (False, error message), until the other end closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole process group; the parent ends its children
    worker = Worker()
    with suppress(EOFError, OSError):  # the parent has closed its end, or is dead
        while True:
            method, arguments = connection.recv()
            try:
                answer = True, getattr(worker, method)(*arguments)
            except Exception as error:  # each runtime raises its own kinds of errors
                answer = False, f"{type(error).__name__}: {error}"
            connection.send(answer)


if __name__ == "__main__":
    serve(Connection(int(sys.argv[1])))
