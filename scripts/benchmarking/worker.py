"""The child's side of `process.py`: loads one engine, runs it and takes its time. Run by its parent only.

    python scripts/benchmarking/worker.py FILE_DESCRIPTOR

A fresh interpreter that imports no more than its engine needs. It ends when the parent's end of the pipe closes.
"""

import signal
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any

from app.families.ctc.decoding import Emissions
from app.recognizer import Samples
from scripts.benchmarking.engines import EngineSpec, load
from scripts.speech.recognition import text_of


class Worker:
    """What a parent may ask for, by the name of the method."""

    def load(self, spec: EngineSpec, threads: int, callers: int) -> float:
        """Load the engine; seconds it took, with its imports."""
        begin = time.perf_counter()
        self._engine = load(spec, threads, callers)
        return time.perf_counter() - begin

    def emissions(self, samples: Samples) -> Emissions:
        """Shape (samples,) -> (frames, vocabulary), float32."""
        return self._engine.emissions([samples])[0]

    def latency_s(self, samples: Samples) -> float:
        """Seconds of one call with one clip."""
        begin = time.perf_counter()
        self._engine.emissions([samples])
        return time.perf_counter() - begin

    def throughput(self, clips: Sequence[Samples], callers: int, seconds: float) -> float:
        """Samples per second of all callers together.

        Each caller begins with another clip and stops after a whole pass over the clips: the mix is the same for all.
        The rates of the callers are added, each over its own time, so that waiting for the last one does not count.
        """

        def call(first: int) -> float:
            first %= len(clips)
            done, taken_s, begin = 0, 0.0, time.perf_counter()
            while not done or taken_s < seconds:
                for samples in (*clips[first:], *clips[:first]):
                    self._engine.emissions([samples])
                    done += len(samples)
                taken_s = time.perf_counter() - begin
            return done / taken_s

        with ThreadPoolExecutor(callers) as pool:
            return sum(pool.map(call, range(callers)))

    def texts(self, clips: Sequence[Samples], callers: int) -> list[str]:
        """What the engine hears in each clip."""
        with ThreadPoolExecutor(callers) as pool:
            return list(pool.map(lambda samples: text_of(self._engine, samples), clips))

    def modules(self) -> set[str]:
        """Names of the modules imported so far."""
        return set(sys.modules)


def serve(connection: "Connection[Any, Any]") -> None:
    """Answer (method, arguments) with (True, answer) or (False, what went wrong), until the other end closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent ends its children
    worker = Worker()
    with suppress(EOFError, OSError):  # the parent has closed its end, or is dead
        while True:
            method, arguments = connection.recv()
            try:
                answer = True, getattr(worker, method)(*arguments)
            except Exception as error:  # each runtime has errors of its own
                answer = False, f"{type(error).__name__}: {error}"
            connection.send(answer)


if __name__ == "__main__":
    serve(Connection(int(sys.argv[1])))
