"""How fast backends are on this machine, by a measurement of a few seconds with all workers busy."""

import gc
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from statistics import median
from typing import NamedTuple

import numpy as np

from app.memory import return_freed_memory
from app.recognizer import AnyRecognizer, Samples, hear_clip

SHORT_S, LONG_S = 2.0, 10.0
"""Lengths of the clips that are computed: a command, and a sentence or two."""
LONGEST_CALL_S = 1.0
"""The long clip is left out where a core would need more than that for it, so that large models do not hold up the
start. Backends hardly differ in how their speed depends on the length."""
ROUND_S = 0.1
"""In a round each worker computes the clips over and over for so long, and at least once."""
ROUNDS = 9
BUDGET_S = 4.0
"""No further round begins after so long; each backend gets at least one."""
HOPELESS, FAIR_ROUNDS = 1.5, 3
"""A backend that takes so many times as long as the fastest, after so many rounds, is measured no further."""

Clock = Callable[[], float]


class Measured(NamedTuple):
    """speeds: backend -> seconds of sound computed per second. failures: backend -> what it raised."""

    speeds: dict[str, float]
    failures: dict[str, Exception]


def measure_speeds(
    load: Callable[[str], AnyRecognizer],
    groups: Sequence[Sequence[str]],
    workers: int,
    clock: Clock = time.monotonic,
) -> Measured:
    """Measure backends as the service runs them under load: `workers` calls side by side.

    load: makes the recognizer of a backend's express lane. groups: backends of one group are loaded together and
    measured in turn, so that a disturbance meets all of them; each group is freed before the next is loaded. clock:
    seconds; every thread asks it for its own time.

    A backend that raises, in loading or in computing, is a failure and not an error.
    """
    measured = Measured({}, {})
    with ThreadPoolExecutor(workers, thread_name_prefix="speed") as pool:
        bench = _Bench(pool, workers, clock)
        for group in groups:
            _compare(load, group, bench, measured)
            gc.collect()
            return_freed_memory()
    return measured


def _compare(load: Callable[[str], AnyRecognizer], group: Sequence[str], bench: "_Bench", measured: Measured) -> None:
    """Measure the backends of one group, which are freed when this returns."""
    recognizers: dict[str, AnyRecognizer] = {}
    for backend in group:
        with _noting(measured.failures, backend):
            recognizer = load(backend)
            bench.warm_up(recognizer)
            recognizers[backend] = recognizer
    rounds: dict[str, list[float]] = {backend: [] for backend in recognizers}
    for number in range(ROUNDS):
        if number and bench.spent_s > BUDGET_S:
            break
        for backend, recognizer in recognizers.items():
            with _noting(measured.failures, backend):
                rounds[backend].append(bench.speed(recognizer))
        going = {backend: median(rounds[backend]) for backend in recognizers if backend not in measured.failures}
        measured.speeds.update(going)
        least = max(going.values(), default=0.0) / HOPELESS if number + 1 >= FAIR_ROUNDS else 0.0
        recognizers = {backend: recognizers[backend] for backend, speed in going.items() if speed > least}
    for backend in measured.failures:
        measured.speeds.pop(backend, None)


@contextmanager
def _noting(failures: dict[str, Exception], backend: str) -> Iterator[None]:
    """Note why a backend fails instead of raising it."""
    try:
        yield
    except Exception as error:  # each runtime has errors of its own
        failures[backend] = error


class _Bench:
    """Runs recognizers on the threads of a pool, and sums up how long that takes (`spent_s`)."""

    def __init__(self, pool: ThreadPoolExecutor, workers: int, clock: Clock) -> None:
        self._pool = pool
        self._workers = workers
        self._clock = clock
        self._clips: list[Samples] = []
        self.spent_s = 0.0

    def warm_up(self, recognizer: AnyRecognizer) -> None:
        """Compute each clip once on each thread. The first recognizer decides whether the long clip is among them."""
        noise = np.random.default_rng(0).normal(0, 0.1, int(LONG_S * recognizer.rate_hz)).astype(np.float32)
        short = noise[: int(SHORT_S * recognizer.rate_hz)]
        short_s = max(took_s for _, took_s in self._run(recognizer, [short], 0.0))
        if not self._clips:
            self._clips = [short, noise] if short_s * LONG_S / SHORT_S <= LONGEST_CALL_S else [short]
        self._run(recognizer, self._clips[1:], 0.0)

    def speed(self, recognizer: AnyRecognizer) -> float:
        """Seconds of sound per second of one round."""
        return sum(sound_s / took_s for sound_s, took_s in self._run(recognizer, self._clips, ROUND_S))

    def _run(self, recognizer: AnyRecognizer, clips: Sequence[Samples], least_s: float) -> list[tuple[float, float]]:
        """Compute the clips on each thread until `least_s` are over: seconds of sound, and that it took, by thread."""
        together = threading.Barrier(self._workers)

        def work() -> tuple[float, float]:
            together.wait()
            begin, sound_s = self._clock(), 0.0
            while True:
                for clip in clips:
                    hear_clip(recognizer, clip)
                    sound_s += len(clip) / recognizer.rate_hz
                took_s = self._clock() - begin
                if took_s >= least_s:
                    return sound_s, took_s

        computed = [future.result() for future in [self._pool.submit(work) for _ in range(self._workers)]]
        self.spent_s += max(took_s for _, took_s in computed)
        return computed
