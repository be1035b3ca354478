"""Runs windows on worker threads, so that a long file delays nobody else.

There are two lanes, each with one thread per worker. The first window of every request goes to the express lane, in
order of arrival. The later windows of long clips go to the bulk lane, where requests take turns by cost. So do drafts,
before them: clips that may wait or be dropped, such as the running utterances of live streams. Bulk threads have a
lower priority in the operating system: they use the cores fully when the express lane is idle, and leave it three
quarters of each core when it has work, even in the middle of a window. So a short clip waits only for other short
clips, and a long clip always makes progress.

A window that is alone runs on all cores ("wide"); all others run on one core each ("narrow"). Several narrow runs side
by side get more done than wide runs one after the other, but one wide run finishes sooner. Waiting clips of a second or
less share an engine call if the model computes each of them as if it were alone.

Every job carries its recognizers, so several models can share the workers. The recognizers estimate costs; the
scheduler measures how many seconds a cost takes on this machine, for each model.
"""

import asyncio
import math
import threading
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from app.cores import BULK_NICENESS, lower_priority
from app.errors import STOPPING, AsrError, EngineFailure, NotReady
from app.jobs import Batch, Job, can_share_batch, is_very_short
from app.models import Lanes
from app.recognizer import Cancelled, Options, Window

BATCH_WINDOWS = 8
"""Most windows in one engine call."""
BULK_SHARE = 0.25
"""Share of a core that a bulk thread gets while the express lane has work (`app.cores.BULK_NICENESS`)."""
SPEED_MEMORY_S = 20.0
"""Half-life of the measured speed, in seconds with all workers busy: older calls count exponentially less."""


OnComputed = Callable[[int, float, float], None]
"""Called after each engine call with the number of windows, their audio duration and the compute time, in seconds."""


@dataclass
class StageTimes:
    """How long a clip waited and was computed, in seconds; filled in once the last window is done.

    inference_s is the time in which at least one window ran, queue_s the rest.
    """

    queue_s: float = 0.0
    inference_s: float = 0.0


class Scheduler:
    """Runs recognizers on its own threads; `close()` ends them.

    workers: threads in each lane. on_computed: see `OnComputed`; it is called in a worker's thread.
    """

    def __init__(self, *, workers: int, on_computed: OnComputed = lambda windows, audio_s, busy_s: None) -> None:
        self._workers = workers
        self._on_computed = on_computed
        self._lock = threading.Lock()
        self._express: deque[Job] = deque()
        self._bulk: deque[Job] = deque()
        self._express_ready = threading.Condition(self._lock)
        self._bulk_ready = threading.Condition(self._lock)
        self._running: dict[int, tuple[float, Batch]] = {}
        self._speeds: dict[Lanes, Speed] = {}
        self._closed = False
        # Daemon threads: a stuck runtime must not keep the process from ending.
        self._threads = [
            threading.Thread(target=self._work, args=(bulk,), name=f"{'bulk' if bulk else 'express'}-{n}", daemon=True)
            for bulk in (False, True)
            for n in range(workers)
        ]
        for thread in self._threads:
            thread.start()

    def speed(self, lanes: Lanes) -> float:
        """Seconds of cost computed per second when all workers are busy with this model, averaged over recent calls.

        1 before the first call.
        """
        return self._speeds[lanes].value if lanes in self._speeds else 1.0

    @property
    def longest_run_s(self) -> float:
        """Seconds that the oldest running engine call has been computing.

        For a bulk call it counts only the share of a core that the express lane leaves to it, so this is a lower bound.
        """
        now = time.monotonic()
        with self._lock:
            return max(
                ((now - begin) * (1 if batch.express else BULK_SHARE) for begin, batch in self._running.values()),
                default=0.0,
            )

    def wait_s(self, lanes: Lanes, duration_s: float) -> float:
        """Expected seconds until a clip of `duration_s` seconds, submitted now, is done.

        A clip of one window waits for the express lane. A longer clip also waits for the bulk lane, where each of the
        other clips gets as many turns as it needs itself.
        """
        own_s = lanes.express.cost_s(duration_s) / self.speed(lanes)
        with self._lock:
            running = [batch for _, batch in self._running.values() if batch.express]
            ahead_s = sum(job.costs_s[0] / self.speed(job.lanes) for job in self._express)
            ahead_s += sum(batch.cost_s / self.speed(batch.lanes) for batch in running)
            if duration_s > lanes.express.window_s:
                ahead_s += sum(min(later_s, own_s) for later_s in self._bulk_backlogs_s())
        return ahead_s + own_s

    def bulk_wait_s(self) -> float:
        """Expected seconds until the first of the long clips, which take turns, is done; 0 if there are none."""
        with self._lock:
            backlogs_s = self._bulk_backlogs_s()
        return min(backlogs_s, default=0.0) * len(backlogs_s)

    def _bulk_backlogs_s(self) -> list[float]:
        """For each long clip, the seconds that its windows take which the bulk lane has not started."""
        long = [*(job for job in self._bulk if not job.draft), *(job for job in self._express if len(job.windows) > 1)]
        return [job.remaining_cost_s / self.speed(job.lanes) for job in long]

    async def compute(
        self,
        lanes: Lanes,
        windows: Sequence[Window],
        options: Options = Options(),
        times: StageTimes | None = None,
        *,
        first: bool = False,
        draft: bool = False,
    ) -> AsyncGenerator[Any, None]:
        """Yield the output of each window of one clip, in order, as soon as it is ready.

        times: filled in before the last output is yielded. first: compute this clip before all others that wait, except
        those that came first too. draft: compute it in the bulk lane, at its priority, before the windows of long
        clips. Outputs that were taken are not kept.

        Raises EngineFailure if the runtime fails, NotReady if the scheduler is closed first. When the caller is
        cancelled or closes this generator, windows that have not started are dropped.
        """
        if not windows:
            return
        submitted = time.monotonic()
        loop = asyncio.get_running_loop()
        progress = asyncio.Event()
        job = Job(lanes, windows, options, lambda: loop.call_soon_threadsafe(progress.set), urgent=first, draft=draft)
        self._submit(job)
        try:
            for index in range(len(windows)):
                while index not in job.outputs:
                    if job.failure is not None:
                        raise job.failure
                    progress.clear()
                    if index not in job.outputs and job.failure is None:
                        await progress.wait()
                if times is not None and index == len(windows) - 1:
                    times.inference_s = covered(job.spans)
                    times.queue_s = max(0.0, time.monotonic() - submitted - times.inference_s)
                yield job.outputs.pop(index)
        finally:
            self._drop(job)

    def close(self, timeout_s: float = 10.0) -> None:
        """Fail all waiting jobs, let running windows finish (for at most `timeout_s` seconds), and end the threads."""
        with self._lock:
            self._closed = True
            waiting = list(dict.fromkeys((*self._express, *self._bulk)))
            self._express.clear()
            self._bulk.clear()
            self._express_ready.notify_all()
            self._bulk_ready.notify_all()
        for job in waiting:
            job.dropped = True
            job.fail(NotReady(STOPPING))
        until = time.monotonic() + timeout_s
        for thread in self._threads:
            thread.join(max(0.0, until - time.monotonic()))

    def _submit(self, job: Job) -> None:
        with self._lock:
            if self._closed:
                raise NotReady(STOPPING)
            if job.draft:
                job.next = 0
                job.spent_s = -math.inf  # before long clips, which have received some compute
                self._bulk.append(job)
                self._bulk_ready.notify(len(job.windows))
                return
            if job.urgent:
                self._express.insert(sum(other.urgent for other in self._express), job)
            else:
                self._express.append(job)
            self._express_ready.notify()

    def _drop(self, job: Job) -> None:
        with self._lock:
            job.dropped = True
            for lane in (self._express, self._bulk):
                if job in lane:
                    lane.remove(job)

    def _work(self, bulk: bool) -> None:
        if bulk:
            lower_priority(BULK_NICENESS)
        while (batch := self._next(bulk)) is not None:
            self._run_batch(batch)
            del batch  # otherwise the clip stays in memory until the next one arrives

    def _next(self, bulk: bool) -> Batch | None:
        """The next batch of a lane, waiting until there is one; None once the scheduler is closed."""
        lane, ready = (self._bulk, self._bulk_ready) if bulk else (self._express, self._express_ready)
        with self._lock:
            while not lane:
                if self._closed:
                    return None
                ready.wait()
            parts = [self._next_of_bulk()] if bulk else [(job, 0) for job in self._next_of_express()]
            for job, index in parts:
                if index == 0 and len(job.windows) > 1 and not job.draft:
                    self._join_bulk(job)
            alone = len(parts) == 1 and not (self._running or self._express or self._bulk)
            lanes = parts[0][0].lanes
            if alone:
                recognizer = lanes.wide
            elif bulk:
                recognizer = lanes.bulk
            else:
                recognizer = lanes.express
            batch = Batch(parts, recognizer)
            self._running[threading.get_ident()] = time.monotonic(), batch
            return batch

    def _join_bulk(self, job: Job) -> None:
        """Add a job to the bulk lane, once its first window has started.

        Not earlier: otherwise all outputs of the clip might have to be kept until its first window is computed.
        """
        # A newcomer starts level.
        job.spent_s = min((other.spent_s for other in self._bulk if not other.draft), default=0.0)
        self._bulk.append(job)
        self._bulk_ready.notify(len(job.windows) - 1)

    def _next_of_bulk(self) -> tuple[Job, int]:
        """The next window of the clip that has received the least compute so far."""
        job = min(self._bulk, key=lambda job: job.spent_s)
        self._bulk.remove(job)
        index = job.next
        job.next += 1
        job.spent_s += job.costs_s[index]
        if job.next < len(job.windows):
            self._bulk.append(job)
        return job, index

    def _next_of_express(self) -> list[Job]:
        """The next clip; if it is very short, also a worker's share of the very short clips that wait behind it."""
        jobs = [self._express.popleft()]
        if jobs[0].lanes.express.batches and is_very_short(jobs[0]):
            share = min(BATCH_WINDOWS, -(-(1 + len(self._express)) // self._workers))
            while len(jobs) < share and is_very_short(self._express[0]) and can_share_batch(self._express[0], jobs[0]):
                jobs.append(self._express.popleft())
        return jobs

    def _run_batch(self, batch: Batch) -> None:
        failure: BaseException | None = None
        outputs: list[tuple[tuple[Job, int], Any]] = []
        try:
            outputs = list(
                zip(batch.parts, batch.recognizer.compute(batch.windows, batch.options, batch.is_dropped), strict=True)
            )
        except AsrError as error:
            failure = error
        except Cancelled:
            pass  # nobody waits for the outputs
        except BaseException as error:  # the callers must be answered, and the thread must live on
            failure = EngineFailure("the engine failed on this clip")
            failure.__cause__ = error
        end = time.monotonic()
        audible_cost_s = batch.audible_cost_s
        with self._lock:
            calls = len(self._running)
            begin, _ = self._running.pop(threading.get_ident())
            if failure is None and audible_cost_s:
                on_all_cores = batch.lanes.spreads and batch.recognizer is batch.lanes.wide
                speed = self._speeds.setdefault(batch.lanes, Speed())
                speed.add(audible_cost_s, end - begin, calls if on_all_cores else max(calls, self._workers))
            for job, _ in batch.parts:
                job.spans.append((begin, end))
        self._on_computed(len(batch.parts), batch.audio_s, end - begin)
        for (job, index), output in outputs:
            if not job.dropped:
                job.outputs[index] = output
                job.on_progress()
        if failure is not None:
            for job, _ in batch.parts:
                self._drop(job)
                job.fail(failure)


class Speed:
    """Seconds of cost computed per second with all workers busy, averaged over recent calls."""

    def __init__(self) -> None:
        self._cost_s = 0.0
        self._busy_s = 0.0

    @property
    def value(self) -> float:
        """The speed; 1 before the first measurement."""
        return self._cost_s / self._busy_s if self._busy_s else 1.0

    def add(self, cost_s: float, call_s: float, calls: int) -> None:
        """Record a call that computed a cost of `cost_s` in `call_s` seconds, one of `calls` that shared the cores."""
        busy_s = call_s / calls
        memory = 0.5 ** (busy_s / SPEED_MEMORY_S)
        self._cost_s = self._cost_s * memory + cost_s
        self._busy_s = self._busy_s * memory + busy_s


def covered(spans: list[tuple[float, float]]) -> float:
    """Length of the union of (start, end) spans."""
    total, reached = 0.0, float("-inf")
    for begin, end in sorted(spans):
        total += max(0.0, end - max(begin, reached))
        reached = max(reached, end)
    return total
