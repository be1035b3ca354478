"""Windows -> what is heard in them, on worker threads, so that a long file holds up nobody.

There are two lanes, each with a thread per worker. The first window of every request takes the express lane, in the
order of arrival; the later windows of long clips take the bulk lane, where requests take turns by what they cost. Bulk
threads have a lower priority with the operating system: they use the cores fully when nothing else does, and leave
three quarters of them to the express lane when it has work, in the middle of a window as well. So a short clip waits
for short clips only, and a long one always goes on.

A window that is alone is computed on all cores ("wide"), all others on one core each ("narrow"): several narrow runs
side by side get more done than one wide run after the other, and one wide run is done sooner. Clips of a second or less
that wait are computed several at once, if the model computes them as if they were alone.

Every job carries its recognizers, so models share the workers. Costs are as the recognizers tell them; how many seconds
they take here is measured, for each model.
"""

import asyncio
import threading
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from app.cores import BULK_NICENESS, lower_priority
from app.errors import STOPPING, AsrError, EngineFailure, NotReady
from app.models import Lanes
from app.recognizer import Options, Window
from app.turns import Job, Turn, goes_with, is_very_short

BATCH_WINDOWS = 8
"""Computed at once, at most."""
BULK_SHARE = 0.25
"""Of a core, for a bulk thread while the express lane has work (`app.cores.BULK_NICENESS`)."""
SPEED_MEMORY_S = 20.0
"""Seconds of computing over which the measured speed is averaged, with exponential weights."""


Computing = Callable[[int, float, float], None]
"""Called after each call of a recognizer with the windows it had, their seconds of audio, and the seconds it took."""


@dataclass
class Waiting:
    """How long a clip waited and was computed, seconds, once all of it is.

    inference_s counts the time in which at least one window ran, queue_s the rest.
    """

    queue_s: float = 0.0
    inference_s: float = 0.0


class Scheduler:
    """Runs recognizers on threads of its own; `close()` ends them.

    workers: threads of each lane. computed: see `Computing`; called in a worker's thread.
    """

    def __init__(self, *, workers: int, computed: Computing = lambda windows, sound_s, busy_s: None) -> None:
        self._workers = workers
        self._computed = computed
        self._lock = threading.Lock()
        self._express: deque[Job] = deque()
        self._bulk: deque[Job] = deque()
        self._work_for = {False: threading.Condition(self._lock), True: threading.Condition(self._lock)}
        self._running: dict[int, tuple[float, Turn]] = {}
        self._speeds: dict[Lanes, Speed] = {}
        self._closed = False
        # Daemons: a wedged runtime must not keep the process from ending.
        self._threads = [
            threading.Thread(target=self._work, args=(bulk,), name=f"{'bulk' if bulk else 'express'}-{n}", daemon=True)
            for bulk in (False, True)
            for n in range(workers)
        ]
        for thread in self._threads:
            thread.start()

    def speed(self, lanes: Lanes) -> float:
        """Seconds of cost computed per second when all workers are busy with this model, as measured of late.

        1 before any run.
        """
        return self._speeds[lanes].value if lanes in self._speeds else 1.0

    @property
    def longest_run_s(self) -> float:
        """How long the oldest of the calls that run now has been computing at least, seconds.

        Of the time of a bulk call, the share of a core counts that the express lane leaves it.
        """
        now = time.monotonic()
        with self._lock:
            return max(
                ((now - begin) * (1 if turn.express else BULK_SHARE) for begin, turn in self._running.values()),
                default=0.0,
            )

    def wait_s(self, lanes: Lanes, duration_s: float) -> float:
        """Seconds after which a clip of `duration_s` seconds, handed over now, can be expected to be done.

        A clip of one window waits for the express lane; of a longer one the others get as many turns as it has itself.
        """
        own_s = lanes.express.cost_s(duration_s) / self.speed(lanes)
        with self._lock:
            running = [turn for _, turn in self._running.values() if turn.express]
            ahead_s = sum(job.costs_s[0] / self.speed(job.lanes) for job in self._express)
            ahead_s += sum(turn.cost_s / self.speed(turn.lanes) for turn in running)
            if duration_s > lanes.express.window_s:
                ahead_s += sum(min(later_s, own_s) for later_s in self._later_s())
        return ahead_s + own_s

    def bulk_wait_s(self) -> float:
        """Seconds after which the first of the long clips, which take turns, can be expected to be done; 0 without."""
        with self._lock:
            remaining_s = self._later_s()
        return min(remaining_s, default=0.0) * len(remaining_s)

    def _later_s(self) -> list[float]:
        """Of each long clip, the seconds that its later windows take which have not begun."""
        long = [*self._bulk, *(job for job in self._express if len(job.windows) > 1)]
        return [job.later_s / self.speed(job.lanes) for job in long]

    async def hear(
        self,
        lanes: Lanes,
        windows: Sequence[Window],
        options: Options = Options(),
        waiting: Waiting | None = None,
        *,
        first: bool = False,
    ) -> AsyncGenerator[Any, None]:
        """What is heard in the windows of one clip, in their order, as soon as it is.

        Nothing is kept that was taken. waiting: is filled in before the last. first: before all others that wait.

        Raises EngineFailure if the runtime fails, NotReady if the scheduler is closed before it is done. When the
        caller is cancelled or closes this generator, windows that have not begun are dropped.
        """
        if not windows:
            return
        submitted = time.monotonic()
        loop = asyncio.get_running_loop()
        progress = asyncio.Event()
        job = Job(lanes, windows, options, lambda: loop.call_soon_threadsafe(progress.set))
        self._submit(job, first)
        try:
            for index in range(len(windows)):
                while index not in job.heard:
                    if job.failure is not None:
                        raise job.failure
                    progress.clear()
                    if index not in job.heard and job.failure is None:
                        await progress.wait()
                if waiting is not None and index == len(windows) - 1:
                    waiting.inference_s = covered(job.spans)
                    waiting.queue_s = max(0.0, time.monotonic() - submitted - waiting.inference_s)
                yield job.heard.pop(index)
        finally:
            self._drop(job)

    def close(self, timeout_s: float = 10.0) -> None:
        """Fail what waits, let the windows that run finish (for `timeout_s` at most), and end the threads."""
        with self._lock:
            self._closed = True
            waiting = list(dict.fromkeys((*self._express, *self._bulk)))
            self._express.clear()
            self._bulk.clear()
            for condition in self._work_for.values():
                condition.notify_all()
        for job in waiting:
            job.dropped = True
            job.fail(NotReady(STOPPING))
        until = time.monotonic() + timeout_s
        for thread in self._threads:
            thread.join(max(0.0, until - time.monotonic()))

    def _submit(self, job: Job, first: bool) -> None:
        with self._lock:
            if self._closed:
                raise NotReady(STOPPING)
            (self._express.appendleft if first else self._express.append)(job)
            self._work_for[False].notify()

    def _drop(self, job: Job) -> None:
        with self._lock:
            job.dropped = True
            for lane in (self._express, self._bulk):
                if job in lane:
                    lane.remove(job)

    def _work(self, bulk: bool) -> None:
        if bulk:
            lower_priority(BULK_NICENESS)
        while (turn := self._next(bulk)) is not None:
            self._compute(turn)
            del turn  # or the clip would stay in memory until the next one comes

    def _next(self, bulk: bool) -> Turn | None:
        """The next turn of a lane, when there is one; None once the scheduler is closed."""
        lane = self._bulk if bulk else self._express
        with self._lock:
            while not lane:
                if self._closed:
                    return None
                self._work_for[bulk].wait()
            parts = [self._next_of_bulk()] if bulk else [(job, 0) for job in self._next_of_express()]
            for job, index in parts:
                if index == 0 and len(job.windows) > 1:
                    self._join_bulk(job)
            alone = len(parts) == 1 and not (self._running or self._express or self._bulk)
            lanes = parts[0][0].lanes
            turn = Turn(parts, lanes.wide if alone else lanes.bulk if bulk else lanes.express)
            self._running[threading.get_ident()] = time.monotonic(), turn
            return turn

    def _join_bulk(self, job: Job) -> None:
        """Not before its first window is computed, or all that is heard of a clip might have to be kept until then."""
        job.spent_s = min((other.spent_s for other in self._bulk), default=0.0)  # neither behind the others nor ahead
        self._bulk.append(job)
        self._work_for[True].notify(len(job.windows) - 1)

    def _next_of_bulk(self) -> tuple[Job, int]:
        """The next window of the clip whose turn it is: the one that has been given least."""
        job = min(self._bulk, key=lambda job: job.spent_s)
        self._bulk.remove(job)
        index = job.next
        job.next += 1
        job.spent_s += job.costs_s[index]
        if job.next < len(job.windows):
            self._bulk.append(job)
        return job, index

    def _next_of_express(self) -> list[Job]:
        """The next clip, and if very short ones wait a worker's share of them."""
        jobs = [self._express.popleft()]
        if jobs[0].lanes.express.batches and is_very_short(jobs[0]):
            share = min(BATCH_WINDOWS, -(-(1 + len(self._express)) // self._workers))
            while len(jobs) < share and is_very_short(self._express[0]) and goes_with(self._express[0], jobs[0]):
                jobs.append(self._express.popleft())
        return jobs

    def _compute(self, turn: Turn) -> None:
        failure: BaseException | None = None
        heard: list[tuple[tuple[Job, int], Any]] = []
        try:
            heard = list(zip(turn.parts, turn.recognizer.hear(turn.windows, turn.options), strict=True))
        except AsrError as error:
            failure = error
        except BaseException as error:  # whoever waits must hear of it, and the thread go on
            failure = EngineFailure("the engine failed on this clip")
            failure.__cause__ = error
        end = time.monotonic()
        audible_cost_s = turn.audible_cost_s
        with self._lock:
            calls = len(self._running)
            begin, _ = self._running.pop(threading.get_ident())
            if failure is None and audible_cost_s:
                on_all_cores = turn.lanes.spreads and turn.recognizer is turn.lanes.wide
                speed = self._speeds.setdefault(turn.lanes, Speed())
                speed.add(audible_cost_s, end - begin, calls if on_all_cores else max(calls, self._workers))
            for job, _ in turn.parts:
                job.spans.append((begin, end))
        self._computed(len(turn.parts), turn.seconds, end - begin)
        for (job, index), part in heard:
            if not job.dropped:
                job.heard[index] = part
                job.progressed()
        if failure is not None:
            for job, _ in turn.parts:
                self._drop(job)
                job.fail(failure)


class Speed:
    """Seconds of cost computed per second with all workers busy, averaged over the last calls."""

    def __init__(self) -> None:
        self._cost_s = 0.0
        self._busy_s = 0.0

    @property
    def value(self) -> float:
        """The speed; 1 before anything was measured."""
        return self._cost_s / self._busy_s if self._busy_s else 1.0

    def add(self, cost_s: float, call_s: float, calls: int) -> None:
        """A call that computed a cost of `cost_s` seconds in `call_s`, as one of `calls` that share the cores."""
        busy_s = call_s / calls
        memory = 0.5 ** (busy_s / SPEED_MEMORY_S)
        self._cost_s = self._cost_s * memory + cost_s
        self._busy_s = self._busy_s * memory + busy_s


def covered(spans: list[tuple[float, float]]) -> float:
    """Length of the union of (begin, end) spans."""
    total, reached = 0.0, float("-inf")
    for begin, end in sorted(spans):
        total += max(0.0, end - max(begin, reached))
        reached = max(reached, end)
    return total
