"""Windows -> emissions on worker threads, so that a long file holds up nobody.

There are two lanes, each with a thread per worker. The first window of every request takes the express lane, in the
order of arrival; the later windows of long clips take the bulk lane, where requests take turns window by window. Bulk
threads have a lower priority with the operating system: they use the cores fully when nothing else does, and leave
three quarters of them to the express lane when it has work, in the middle of a window as well. So a short clip waits
for short clips only, and a long one always goes on.

A window that is alone is computed on all cores ("wide"), all others on one core each ("narrow"): several narrow runs
side by side get more done than one wide run after the other, and one wide run is done sooner. Clips of a second or less
that wait are computed several at once, if the engine computes them as if they were alone.
"""

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from app.asr import Engine, Engines
from app.cores import BULK_NICENESS, lower_priority
from app.decoding import Emissions
from app.errors import STOPPING, AsrError, EngineFailure, NotReady
from app.windows import Samples, Window

BATCH_WINDOWS = 8
BATCH_WINDOW_S = 1.0
"""Windows computed at once, at most, and how long each may be: longer ones are hardly computed faster together
(`scripts/batch_gain.py`)."""
BULK_SHARE = 0.25
"""Of a core, for a bulk thread while the express lane has work (`app.cores.BULK_NICENESS`)."""
SPEED_MEMORY_S = 20.0
"""Seconds of computing over which the measured speed is averaged, with exponential weights."""


Computing = Callable[[int, float, float], None]
"""Told of a call of an engine: windows, their seconds of sound, and the seconds it took."""


class Computed(NamedTuple):
    """Emissions of every window, and how long (seconds) the clip waited and was computed.

    inference_s counts the time in which at least one window ran, queue_s the rest.
    """

    emissions: list[Emissions]
    queue_s: float
    inference_s: float


@dataclass(eq=False)
class _Job:
    """The windows of one clip. `finished` is called, in a worker's thread, when all are done or one has failed."""

    windows: Sequence[Window]
    rate_hz: int
    finished: Callable[[BaseException | None], object]
    emissions: list[Emissions | None] = field(init=False)
    spans: list[tuple[float, float]] = field(default_factory=list)
    next: int = 1  # of the windows in the bulk lane
    dropped: bool = False  # nobody waits for it any more

    def __post_init__(self) -> None:
        self.emissions = [None] * len(self.windows)

    @property
    def first_s(self) -> float:
        """Sound in the first window."""
        return len(self.windows[0].samples) / self.rate_hz

    def seconds(self, first: int = 0) -> float:
        """Sound in the windows from the one with index `first` on."""
        return sum(len(window.samples) for window in self.windows[first:]) / self.rate_hz


@dataclass(frozen=True)
class _Turn:
    """The windows that a worker computes at once, each by its job and its index there, and with which engine."""

    parts: list[tuple[_Job, int]]
    engine: Engine

    @property
    def express(self) -> bool:
        """Whether it is of the express lane: then all are the first windows of their clips."""
        return self.parts[0][1] == 0

    @property
    def samples(self) -> list[Samples]:
        """The sound of each window."""
        return [job.windows[index].samples for job, index in self.parts]

    @property
    def seconds(self) -> float:
        """Sound in all of them."""
        return sum(map(len, self.samples)) / self.parts[0][0].rate_hz

    @property
    def audible_s(self) -> float:
        """Sound in those that are not digital silence, which no engine computes."""
        return sum(len(samples) for samples in self.samples if samples.any()) / self.parts[0][0].rate_hz


class Scheduler:
    """Runs engines on threads of its own; `close()` ends them.

    workers: threads of each lane. rate_hz: of the samples.
    window_s: what the longest window holds, seconds. computed: told of every call of an engine, in a worker's thread.
    """

    def __init__(
        self,
        engines: Engines,
        *,
        workers: int,
        rate_hz: int,
        window_s: float,
        computed: Computing = lambda windows, sound_s, busy_s: None,
    ) -> None:
        self._engines = engines
        self._workers = workers
        self._rate_hz = rate_hz
        self._window_s = window_s
        self._computed = computed
        self._lock = threading.Lock()
        self._express: deque[_Job] = deque()
        self._bulk: deque[_Job] = deque()
        self._work_for = {False: threading.Condition(self._lock), True: threading.Condition(self._lock)}
        self._running: dict[int, tuple[float, _Turn]] = {}
        self._speed = Speed(workers)
        self._closed = False
        # Daemons: a wedged engine must not keep the process from ending.
        self._threads = [
            threading.Thread(target=self._work, args=(bulk,), name=f"{'bulk' if bulk else 'express'}-{n}", daemon=True)
            for bulk in (False, True)
            for n in range(workers)
        ]
        for thread in self._threads:
            thread.start()

    @property
    def speed(self) -> float:
        """Seconds of sound computed per second when all workers are busy, as measured of late; 1 before any run."""
        return self._speed.value

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

    def wait_s(self, duration_s: float) -> float:
        """Seconds after which a clip of `duration_s` seconds, handed over now, can be expected to be done.

        A clip of one window waits for the express lane; of a longer one the others get as many turns as it has itself.
        """
        with self._lock:
            running = [turn for _, turn in self._running.values()]
            ahead_s = sum(job.first_s for job in self._express)
            ahead_s += sum(turn.seconds for turn in running if turn.express)
            if duration_s > self._window_s:
                ahead_s += sum(min(job.seconds(job.next), duration_s) for job in self._bulk)
        return (ahead_s + duration_s) / self.speed

    def room_s(self) -> float:
        """Seconds after which the first of the long clips, which take turns, can be expected to be done; 0 without."""
        with self._lock:
            remaining_s = [job.seconds(job.next) for job in self._bulk]
        return min(remaining_s, default=0.0) * len(remaining_s) / self.speed

    async def run(self, windows: Sequence[Window], *, first: bool = False) -> Computed:
        """Emissions of all windows of one clip. first: before all others that wait.

        Raises EngineFailure if the engine fails, NotReady if the scheduler is closed before it is done. When the caller
        is cancelled, windows that have not begun are dropped.
        """
        if not windows:
            return Computed([], 0.0, 0.0)
        submitted = time.monotonic()
        loop = asyncio.get_running_loop()
        done: asyncio.Future[None] = loop.create_future()

        def settle(failure: BaseException | None) -> None:
            if done.done():
                return
            if failure is None:
                done.set_result(None)
            else:
                done.set_exception(failure)

        job = _Job(windows, self._rate_hz, lambda failure: loop.call_soon_threadsafe(settle, failure))
        self._submit(job, first)
        try:
            await done
        except asyncio.CancelledError:
            self._drop(job)
            raise
        inference_s = covered(job.spans)
        waited_s = time.monotonic() - submitted - inference_s
        return Computed([part for part in job.emissions if part is not None], max(0.0, waited_s), inference_s)

    def close(self, timeout_s: float = 10.0) -> None:
        """Fail what waits, let the windows that run finish (for `timeout_s` at most), and end the threads."""
        with self._lock:
            self._closed = True
            waiting = [*self._express, *(job for job in self._bulk if job not in self._express)]
            self._express.clear()
            self._bulk.clear()
            for condition in self._work_for.values():
                condition.notify_all()
        for job in waiting:
            job.dropped = True
            job.finished(NotReady(STOPPING))
        until = time.monotonic() + timeout_s
        for thread in self._threads:
            thread.join(max(0.0, until - time.monotonic()))

    def _submit(self, job: _Job, first: bool) -> None:
        with self._lock:
            if self._closed:
                raise NotReady(STOPPING)
            (self._express.appendleft if first else self._express.append)(job)
            self._work_for[False].notify()
            if len(job.windows) > 1:
                self._bulk.append(job)
                self._work_for[True].notify(len(job.windows) - 1)

    def _drop(self, job: _Job) -> None:
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

    def _next(self, bulk: bool) -> _Turn | None:
        """The next turn of a lane, when there is one; None once the scheduler is closed."""
        lane = self._bulk if bulk else self._express
        with self._lock:
            while not lane:
                if self._closed:
                    return None
                self._work_for[bulk].wait()
            parts = [self._next_of_bulk()] if bulk else [(job, 0) for job in self._next_of_express()]
            alone = len(parts) == 1 and not (self._running or self._express or self._bulk)
            engines = self._engines
            turn = _Turn(parts, engines.wide if alone else engines.bulk if bulk else engines.express)
            self._running[threading.get_ident()] = time.monotonic(), turn
            return turn

    def _next_of_bulk(self) -> tuple[_Job, int]:
        """The next window of the clip whose turn it is, which goes to the end of the lane."""
        job = self._bulk.popleft()
        index = job.next
        job.next += 1
        if job.next < len(job.windows):
            self._bulk.append(job)
        return job, index

    def _next_of_express(self) -> list[_Job]:
        """The next clip, and if very short ones wait a worker's share of them."""
        jobs = [self._express.popleft()]
        if self._engines.batches:
            share = min(BATCH_WINDOWS, -(-(1 + len(self._express)) // self._workers))
            while len(jobs) < share and max(jobs[0].first_s, self._express[0].first_s) <= BATCH_WINDOW_S:
                jobs.append(self._express.popleft())
        return jobs

    def _compute(self, turn: _Turn) -> None:
        failure: BaseException | None = None
        try:
            emissions = turn.engine.emissions(turn.samples)
            for (job, index), part in zip(turn.parts, emissions, strict=True):
                job.emissions[index] = part
        except AsrError as error:
            failure = error
        except BaseException as error:  # whoever waits must hear of it, and the thread go on
            failure = EngineFailure("the engine failed on this clip")
            failure.__cause__ = error
        end = time.monotonic()
        audible_s = turn.audible_s
        with self._lock:
            calls = len(self._running)
            begin, _ = self._running.pop(threading.get_ident())
            if failure is None and audible_s:
                on_all_cores = self._engines.spreads and turn.engine is self._engines.wide
                self._speed.add(audible_s, end - begin, calls if on_all_cores else max(calls, self._workers))
            settled = []
            for job, _ in turn.parts:
                job.spans.append((begin, end))
                if not job.dropped and (failure is not None or len(job.spans) == len(job.windows)):
                    settled.append(job)
        self._computed(len(turn.parts), turn.seconds, end - begin)
        for job in settled:
            self._drop(job)
            job.finished(failure)


class Speed:
    """Seconds of sound computed per second with all workers busy, averaged over the last calls."""

    def __init__(self, workers: int) -> None:
        self._workers = workers
        self._sound_s = 0.0
        self._busy_s = 0.0

    @property
    def value(self) -> float:
        """The speed; 1 before anything was measured."""
        return self._sound_s / self._busy_s if self._busy_s else 1.0

    def add(self, sound_s: float, call_s: float, calls: int) -> None:
        """A call that computed `sound_s` seconds in `call_s`, as one of `calls` that share the cores."""
        busy_s = call_s / calls
        memory = 0.5 ** (busy_s / SPEED_MEMORY_S)
        self._sound_s = self._sound_s * memory + sound_s
        self._busy_s = self._busy_s * memory + busy_s


def covered(spans: list[tuple[float, float]]) -> float:
    """Length of the union of (begin, end) spans."""
    total, reached = 0.0, float("-inf")
    for begin, end in sorted(spans):
        total += max(0.0, end - max(begin, reached))
        reached = max(reached, end)
    return total
