"""Windows -> emissions on worker threads, with a bound on what waits.

Every request keeps at most `workers` windows in the pool's first-come-first-served queue and adds one when one is
done. So requests take turns window by window, and a long file does not hold up a short clip.
"""

import asyncio
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import NamedTuple

from app.asr import Engine
from app.decoding import Emissions
from app.errors import AsrError, EngineFailure, Overloaded
from app.windows import Window


class Computed(NamedTuple):
    """Emissions of every window, and how long (seconds) the clip waited and was computed.

    inference_s counts the time in which at least one window ran, queue_s the rest.
    """

    emissions: list[Emissions]
    queue_s: float
    inference_s: float


class Scheduler:
    """Runs an engine on `workers` threads; `close()` ends them."""

    def __init__(self, engine: Engine, workers: int, max_queue_s: float) -> None:
        self._engine = engine
        self._workers = workers
        self._max_queue_s = max_queue_s
        self._queued_s = 0.0
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="engine")

    @property
    def queued_s(self) -> float:
        """Seconds of sound that were admitted and are not answered."""
        return self._queued_s

    async def run(self, windows: Sequence[Window], duration_s: float) -> Computed:
        """Emissions of all windows of one clip of `duration_s` seconds.

        Raises Overloaded at once if that is more than the queue takes, EngineFailure if the engine fails. When the
        caller is cancelled, windows that have not begun are dropped.
        """
        submitted = time.perf_counter()
        with self._place_for(duration_s):
            spans: list[tuple[float, float]] = []
            turns = asyncio.Semaphore(self._workers)

            async def compute(window: Window) -> Emissions:
                async with turns:
                    loop = asyncio.get_running_loop()
                    emissions, begin, end = await loop.run_in_executor(self._pool, self._compute, window)
                    spans.append((begin, end))
                    return emissions

            try:
                async with asyncio.TaskGroup() as group:
                    tasks = [group.create_task(compute(window)) for window in windows]
            except ExceptionGroup as failures:
                failure = failures.exceptions[0]
                raise failure from failure.__cause__
        inference_s = covered(spans)
        waited_s = time.perf_counter() - submitted - inference_s
        return Computed([task.result() for task in tasks], max(0.0, waited_s), inference_s)

    def close(self) -> None:
        """Finish the windows that run, drop those that wait, and end the threads."""
        self._pool.shutdown(cancel_futures=True)

    def _compute(self, window: Window) -> tuple[Emissions, float, float]:
        begin = time.perf_counter()
        try:
            (emissions,) = self._engine.emissions([window.samples])
        except AsrError:
            raise
        except Exception as error:
            raise EngineFailure("the engine failed on this clip") from error
        return emissions, begin, time.perf_counter()

    @contextmanager
    def _place_for(self, duration_s: float) -> Iterator[None]:
        if self._queued_s and self._queued_s + duration_s > self._max_queue_s:
            raise Overloaded("too much sound is waiting already; try again later", queued_s=round(self._queued_s, 1))
        self._queued_s += duration_s
        try:
            yield
        finally:
            self._queued_s -= duration_s


def covered(spans: list[tuple[float, float]]) -> float:
    """Length of the union of (begin, end) spans."""
    total, reached = 0.0, float("-inf")
    for begin, end in sorted(spans):
        total += max(0.0, end - max(begin, reached))
        reached = max(reached, end)
    return total
