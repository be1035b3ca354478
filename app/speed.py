"""Measures how fast backends are on this machine, in a few seconds, with all workers busy."""

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
from app.recognizer import UNCHECKED, AnyRecognizer, Samples, Window

SHORT_S, LONG_S = 2.0, 10.0
"""Durations of the measured clips: a command, and a sentence or two."""
MAX_CALL_S = 1.0
"""The long clip is skipped if one call on it would take longer than this, so that large models do not delay the start.
The ranking of backends hardly depends on the clip length."""
ROUND_S = 0.1
"""Shortest round: each worker computes the clips repeatedly, at least once, until this time has passed."""
ROUNDS = 9
BUDGET_S = 4.0
"""No further round starts after this time; each backend gets at least one."""
DROP_RATIO, MIN_ROUNDS = 1.5, 3
"""A backend this many times slower than the fastest after `MIN_ROUNDS` rounds is not measured further."""

Clock = Callable[[], float]


class Measured(NamedTuple):
    """speeds: backend -> seconds of audio computed per second. failures: backend -> the exception it raised."""

    speeds: dict[str, float]
    failures: dict[str, Exception]


def measure_speeds(
    load: Callable[[str], AnyRecognizer],
    groups: Sequence[Sequence[str]],
    workers: int,
    clock: Clock = time.monotonic,
) -> Measured:
    """Measure backends under the load of the service: `workers` calls side by side.

    load: makes the recognizer of a backend's express lane. groups: backends of one group are loaded together and
    measured in turn, so that disturbances affect all of them alike; each group is freed before the next is loaded.
    clock: gives seconds; each thread reads it for itself.

    A backend that raises, while loading or computing, is recorded as a failure.
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
    """Measure the backends of one group; they are freed on return."""
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
        medians = {backend: median(rounds[backend]) for backend in recognizers if backend not in measured.failures}
        measured.speeds.update(medians)
        slowest = max(medians.values(), default=0.0) / DROP_RATIO if number + 1 >= MIN_ROUNDS else 0.0
        recognizers = {backend: recognizers[backend] for backend, speed in medians.items() if speed > slowest}
    for backend in measured.failures:
        measured.speeds.pop(backend, None)


@contextmanager
def _noting(failures: dict[str, Exception], backend: str) -> Iterator[None]:
    """Record an exception of a backend instead of raising it."""
    try:
        yield
    except Exception as error:  # each runtime has errors of its own
        failures[backend] = error


class _Bench:
    """Runs recognizers on the threads of a pool and adds up the time spent (`spent_s`)."""

    def __init__(self, pool: ThreadPoolExecutor, workers: int, clock: Clock) -> None:
        self._pool = pool
        self._workers = workers
        self._clock = clock
        self._clips: list[Samples] = []
        self.spent_s = 0.0

    def warm_up(self, recognizer: AnyRecognizer) -> None:
        """Compute each clip once on each thread. The first recognizer decides whether the long clip is used."""
        noise = np.random.default_rng(0).normal(0, 0.1, int(LONG_S * recognizer.rate_hz)).astype(np.float32)
        short = noise[: int(SHORT_S * recognizer.rate_hz)]
        short_s = max(took_s for _, took_s in self._run(recognizer, [short], 0.0))
        if not self._clips:
            self._clips = [short, noise] if short_s * LONG_S / SHORT_S <= MAX_CALL_S else [short]
        self._run(recognizer, self._clips[1:], 0.0)

    def speed(self, recognizer: AnyRecognizer) -> float:
        """Seconds of audio per second in one round."""
        return sum(audio_s / took_s for audio_s, took_s in self._run(recognizer, self._clips, ROUND_S))

    def _run(self, recognizer: AnyRecognizer, clips: Sequence[Samples], min_s: float) -> list[tuple[float, float]]:
        """Compute the clips on each thread until `min_s` seconds have passed.

        Returns the audio duration and the time taken, in seconds, for each thread.
        """
        together = threading.Barrier(self._workers)

        def work() -> tuple[float, float]:
            together.wait()
            begin, audio_s = self._clock(), 0.0
            while True:
                for clip in clips:
                    recognizer.compute([Window(clip)], UNCHECKED)
                    audio_s += len(clip) / recognizer.rate_hz
                took_s = self._clock() - begin
                if took_s >= min_s:
                    return audio_s, took_s

        computed = [future.result() for future in [self._pool.submit(work) for _ in range(self._workers)]]
        self.spent_s += max(took_s for _, took_s in computed)
        return computed
