import asyncio
import os
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import aclosing, contextmanager
from typing import Any, NamedTuple, cast

import numpy as np
import pytest

from app.cores import BULK_NICENESS
from app.errors import EngineFailure, NotReady
from app.models import Lanes
from app.recognizer import AnyRecognizer, Options, Window, never
from app.scheduler import Scheduler, Speed, StageTimes, covered
from tests.fakes import PATIENCE_S, BareRecognizer, all_lanes

RATE_HZ = 10


class Recording(BareRecognizer):
    """Outputs how loud a window is; calls `before` with that first, from the worker's thread."""

    def __init__(self, before: Callable[[float], object] = lambda level: None) -> None:
        self.before = before
        self.seen: list[float] = []
        self.niceness: list[int] = []

    def compute(
        self, windows: Sequence[Window], options: Options, cancelled: Callable[[], bool] = never
    ) -> list[float]:
        (level,) = levels_of(windows)
        self.before(level)
        self.seen.append(level)
        self.niceness.append(os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))
        return [level]


def levels_of(windows: Sequence[Window]) -> list[float]:
    return [float(window.samples[0]) for window in windows]


def lanes_of(express: BareRecognizer, bulk: BareRecognizer, wide: BareRecognizer) -> Lanes:
    return Lanes(cast(AnyRecognizer, express), cast(AnyRecognizer, bulk), cast(AnyRecognizer, wide))


def windows(*levels: float) -> list[Window]:
    """Of a second each."""
    return [Window(np.full(RATE_HZ, level, dtype=np.float32), index) for index, level in enumerate(levels)]


class Scheduling(NamedTuple):
    """A scheduler and the model that it runs."""

    scheduler: Scheduler
    lanes: Lanes

    async def run(
        self, windows: Sequence[Window], times: StageTimes | None = None, *, first: bool = False
    ) -> list[Any]:
        """The outputs of all windows of a clip."""
        async with aclosing(self.scheduler.compute(self.lanes, windows, Options(), times, first=first)) as outputs:
            return [output async for output in outputs]

    def wait_s(self, duration_s: float) -> float:
        return self.scheduler.wait_s(self.lanes, duration_s)

    @property
    def speed(self) -> float:
        return self.scheduler.speed(self.lanes)

    @property
    def computes(self) -> bool:
        return self.scheduler.longest_run_s > 0


@contextmanager
def scheduling(model: BareRecognizer | Lanes, workers: int = 1, **options: Any) -> Iterator[Scheduling]:
    lanes = model if isinstance(model, Lanes) else all_lanes(cast(AnyRecognizer, model))
    scheduler = Scheduler(workers=workers, **options)
    try:
        yield Scheduling(scheduler, lanes)
    finally:
        scheduler.close()


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    event = threading.Event()
    yield event
    event.set()  # whatever happened, no worker may wait for ever


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not condition():
            await asyncio.sleep(0.001)


def test_outputs_come_back_in_the_order_of_the_windows() -> None:
    with scheduling(Recording(), workers=2) as scheduler:
        times = StageTimes()
        assert asyncio.run(scheduler.run(windows(1, 2, 3, 4, 5), times)) == [1, 2, 3, 4, 5]
    assert times.inference_s > 0 <= times.queue_s


def test_no_windows_is_no_work() -> None:
    with scheduling(Recording()) as scheduler:
        assert asyncio.run(scheduler.run([])) == []


def test_a_short_clip_does_not_wait_for_a_long_one(gate: threading.Event) -> None:
    """While the bulk lane is held up altogether, the express lane goes on."""
    bulk = Recording(lambda level: gate.wait(PATIENCE_S))
    express = Recording()

    async def scenario() -> None:
        long = asyncio.create_task(scheduler.run(windows(1, *[9.0] * 20)))
        await until(lambda: express.seen == [1])
        for level in (2, 3):
            assert len(await scheduler.run(windows(level))) == 1
        assert bulk.seen == []
        gate.set()
        assert len(await long) == 21

    with scheduling(lanes_of(express, bulk, bulk)) as scheduler:
        asyncio.run(scenario())
    assert express.seen == [1, 2, 3]


def test_long_clips_take_turns_window_by_window(gate: threading.Event) -> None:
    engine = Recording(lambda level: gate.wait(PATIENCE_S) if level > 10 else None)

    async def scenario() -> None:
        first = asyncio.create_task(scheduler.run(windows(1, *[11.0] * 4)))
        await until(lambda: scheduler.wait_s(0.0) >= 0 and engine.seen == [1])
        second = asyncio.create_task(scheduler.run(windows(2, *[22.0] * 4)))
        await until(lambda: engine.seen == [1, 2])
        gate.set()
        await asyncio.gather(first, second)

    with scheduling(engine) as scheduler:
        asyncio.run(scenario())
    assert engine.seen[2:] in ([11, 11, 22, 11, 22, 11, 22, 22], [11, 22, 11, 22, 11, 22, 11, 22])


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no niceness of a single thread")
def test_later_windows_of_long_clips_are_computed_at_a_lower_priority() -> None:
    engine = Recording()
    with scheduling(engine) as scheduler:
        asyncio.run(scheduler.run(windows(1, 2, 3)))
    usual = os.getpriority(os.PRIO_PROCESS, 0)
    lowest = min(usual + BULK_NICENESS, 19)
    assert dict(zip(engine.seen, engine.niceness, strict=True)) == {1: usual, 2: lowest, 3: lowest}


def test_a_window_that_is_alone_is_computed_wide_and_others_narrow(gate: threading.Event) -> None:
    narrow, wide = Recording(), Recording(lambda level: gate.wait(PATIENCE_S))

    async def scenario() -> None:
        alone = asyncio.create_task(scheduler.run(windows(1)))
        await until(lambda: scheduler.computes)
        await scheduler.run(windows(2))
        gate.set()
        await alone
        await scheduler.run(windows(3))

    with scheduling(lanes_of(narrow, narrow, wide), workers=2) as scheduler:
        asyncio.run(scenario())
    assert (narrow.seen, wide.seen) == ([2], [1, 3])


def test_a_clip_that_goes_first_waits_only_for_running_windows(gate: threading.Event) -> None:
    engine = Recording(lambda level: gate.wait(PATIENCE_S))

    async def scenario() -> None:
        running = asyncio.create_task(scheduler.run(windows(1)))
        await until(lambda: scheduler.computes)
        waiting = asyncio.create_task(scheduler.run(windows(2)))
        await asyncio.sleep(0)
        urgent = asyncio.create_task(scheduler.run(windows(3), first=True))
        await asyncio.sleep(0)
        gate.set()
        await asyncio.gather(running, waiting, urgent)

    with scheduling(engine) as scheduler:
        asyncio.run(scenario())
    assert engine.seen == [1, 3, 2]


class Batching(BareRecognizer):
    """Notes what is computed at once; waits at `gate`; fails if there is a window of level 13."""

    batches = True

    def __init__(self, gate: threading.Event) -> None:
        self.gate = gate
        self.calls: list[list[float]] = []

    def compute(
        self, windows: Sequence[Window], options: Options, cancelled: Callable[[], bool] = never
    ) -> list[float]:
        assert self.gate.wait(PATIENCE_S)
        levels = levels_of(windows)
        self.calls.append(levels)
        if 13 in levels:
            raise RuntimeError("boom")
        return levels


def clip(level: float, seconds: float) -> list[Window]:
    return [Window(np.full(int(seconds * RATE_HZ), level, dtype=np.float32), 0)]


def run_behind_one(
    engine: Batching, clips: Sequence[list[Window]], batches: bool = True, workers: int = 1
) -> list[object]:
    """Outcomes of clips that wait while as many others as there are workers are computed."""

    async def scenario() -> list[object]:
        first = []
        for worker in range(workers):
            first.append(asyncio.create_task(scheduler.run(clip(-1.0, 0.5))))
            await until(lambda running=worker: len(scheduler.scheduler._running) > running)  # type: ignore[misc]
        waiting = [asyncio.create_task(scheduler.run(windows)) for windows in clips]
        await asyncio.sleep(0.01)
        engine.gate.set()
        await asyncio.gather(*first)
        outcomes = await asyncio.gather(*waiting, return_exceptions=True)
        return [outcome if isinstance(outcome, BaseException) else outcome[0] for outcome in outcomes]

    engine.batches = batches
    with scheduling(engine, workers=workers) as scheduler:
        return asyncio.run(scenario())


def test_very_short_clips_that_wait_are_computed_at_once(gate: threading.Event) -> None:
    engine = Batching(gate)
    assert run_behind_one(engine, [clip(level, 0.5) for level in range(10)]) == list(range(10))
    assert engine.calls == [[-1], [*range(8)], [8, 9]]


def test_longer_clips_are_computed_one_by_one(gate: threading.Event) -> None:
    engine = Batching(gate)
    run_behind_one(engine, [clip(1, 0.5), clip(2, 1.5), clip(3, 0.5), clip(4, 1.0), clip(5, 3.0)])
    assert engine.calls[1:] == [[1], [2], [3, 4], [5]]


def test_an_engine_that_does_not_batch_gets_one_at_a_time(gate: threading.Event) -> None:
    engine = Batching(gate)
    run_behind_one(engine, [clip(1, 0.5), clip(2, 0.5)], batches=False)
    assert engine.calls[1:] == [[1], [2]]


def test_every_worker_gets_its_share_of_short_clips(gate: threading.Event) -> None:
    engine = Batching(gate)
    run_behind_one(engine, [clip(level, 0.5) for level in range(4)], workers=2)
    assert max(len(call) for call in engine.calls) <= 2


def test_every_clip_of_a_failed_batch_gets_the_error(gate: threading.Event) -> None:
    engine = Batching(gate)
    outcomes = run_behind_one(engine, [clip(1, 0.5), clip(13, 0.5), clip(2, 0.5), clip(7, 2.0)])
    assert [isinstance(outcome, EngineFailure) for outcome in outcomes] == [True, True, True, False]
    assert outcomes[3] == 7


def test_a_costlier_clip_gets_fewer_turns(gate: threading.Event) -> None:
    """Windows of the second model cost three times as much."""

    class Costly(Recording):
        def cost_s(self, duration_s: float) -> float:
            return 3 * duration_s

    cheap, costly = Recording(), Costly(lambda level: gate.wait(PATIENCE_S) if level > 1 else None)
    order: list[float] = []
    cheap.seen = costly.seen = order

    async def scenario() -> None:
        first = asyncio.create_task(scheduler.run(windows(1, *[22.0] * 3)))
        await until(lambda: 1 in order and scheduler.computes)
        other = Scheduling(scheduler.scheduler, all_lanes(cast(AnyRecognizer, cheap)))
        second = asyncio.create_task(other.run(windows(2, *[11.0] * 6)))
        await until(lambda: 2 in order)
        gate.set()
        await asyncio.gather(first, second)

    with scheduling(costly) as scheduler:
        asyncio.run(scenario())
    assert order.index(22) < order.index(11)
    assert order[order.index(11) :] == [11, 11, 11, 22, 11, 11, 11]


def test_outputs_are_kept_until_they_are_taken_and_no_longer() -> None:
    class Part:
        """The output of a window."""

    parts: list[weakref.ref[Part]] = []

    class Keeping(BareRecognizer):
        def compute(
            self, windows: Sequence[Window], options: Options, cancelled: Callable[[], bool] = never
        ) -> list[Part]:
            output = Part()
            parts.append(weakref.ref(output))
            return [output]

    async def scenario() -> None:
        taken = 0
        async with aclosing(scheduler.scheduler.compute(scheduler.lanes, windows(*range(20)))) as outputs:
            async for part in outputs:
                taken += 1
                del part
                while sum(part() is None for part in parts) < taken:
                    await asyncio.sleep(0.001)

    with scheduling(Keeping()) as scheduler:
        asyncio.run(scenario())


def test_later_windows_wait_until_the_first_is_computed(gate: threading.Event) -> None:
    """Otherwise all their outputs would have to be kept until then."""
    engine = Recording(lambda level: gate.wait(PATIENCE_S))

    async def scenario() -> None:
        ahead = asyncio.create_task(scheduler.run(windows(5)))
        await until(lambda: scheduler.computes)
        long = asyncio.create_task(scheduler.run(windows(1, 2, 3)))
        await asyncio.sleep(0.01)
        assert not scheduler.scheduler._bulk
        gate.set()
        await asyncio.gather(ahead, long)

    with scheduling(engine) as scheduler:
        asyncio.run(scenario())
    assert sorted(engine.seen) == [1, 2, 3, 5]


def test_an_engine_that_fails_fails_one_request_only() -> None:
    def fail_on_two(level: float) -> None:
        if level == 2:
            raise RuntimeError("boom")

    async def scenario() -> None:
        failing, fine = scheduler.run(windows(1, 2, 3, 4)), scheduler.run(windows(5, 6))
        outcomes = await asyncio.gather(failing, fine, return_exceptions=True)
        assert isinstance(outcomes[0], EngineFailure)
        assert isinstance(outcomes[0].__cause__, RuntimeError)
        assert not isinstance(outcomes[1], BaseException)
        assert len(await scheduler.run(windows(7))) == 1

    with scheduling(Recording(fail_on_two), workers=2) as scheduler:
        asyncio.run(scenario())


@pytest.mark.parametrize("said", [[], [1.0, 2.0]], ids=["nothing", "too much"])
def test_an_engine_that_answers_with_another_number_of_windows_fails(said: list[float]) -> None:
    class Wrong(BareRecognizer):
        def compute(
            self, windows: Sequence[Window], options: Options, cancelled: Callable[[], bool] = never
        ) -> list[float]:
            return said

    with scheduling(Wrong()) as scheduler, pytest.raises(EngineFailure):
        asyncio.run(scheduler.run(windows(1)))


def test_windows_of_a_client_that_left_are_not_computed(gate: threading.Event) -> None:
    engine = Recording(lambda level: gate.wait(PATIENCE_S))

    async def scenario() -> None:
        leaving = asyncio.create_task(scheduler.run(windows(*[1.0] * 50)))
        await until(lambda: scheduler.computes)
        leaving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await leaving
        assert scheduler.wait_s(100) * scheduler.speed <= 101  # what runs, and nothing that waits
        gate.set()
        await scheduler.run(windows(2.0))

    with scheduling(engine) as scheduler:
        asyncio.run(scenario())
    assert engine.seen.count(1.0) <= 2  # at most those that were running, one in each lane


def test_closing_fails_what_waits_and_finishes_what_runs(gate: threading.Event) -> None:
    engine = Recording(lambda level: gate.wait(PATIENCE_S))

    async def scenario() -> None:
        running = asyncio.create_task(scheduler.run(windows(1)))
        await until(lambda: scheduler.computes)
        waiting = asyncio.create_task(scheduler.run(windows(2)))
        await asyncio.sleep(0)
        closing = asyncio.create_task(asyncio.to_thread(scheduler.scheduler.close))
        with pytest.raises(NotReady):
            await waiting
        gate.set()
        await closing
        assert len(await running) == 1
        with pytest.raises(NotReady):
            await scheduler.run(windows(3))

    with scheduling(engine) as scheduler:
        asyncio.run(scenario())
    assert engine.seen == [1]


def test_its_threads_end_with_it() -> None:
    before = threading.active_count()
    with scheduling(Recording(), workers=3):
        assert threading.active_count() == before + 6
    assert threading.active_count() == before


def test_every_engine_call_is_reported() -> None:
    reported: list[tuple[int, float]] = []

    def note(windows: int, audio_s: float, busy_s: float) -> None:
        reported.append((windows, audio_s))

    with scheduling(Recording(), on_computed=note) as scheduler:
        asyncio.run(scheduler.run(windows(1, 2, 3)))
    assert reported == [(1, 1.0)] * 3


def test_the_wait_grows_with_what_is_ahead(gate: threading.Event) -> None:
    """With a speed of 1 (nothing measured yet), in seconds of sound."""
    engine = Recording(lambda level: gate.wait(PATIENCE_S))

    async def scenario() -> None:
        assert scheduler.wait_s(1) == 1
        tasks = [asyncio.create_task(scheduler.run(windows(*[level] * 10))) for level in (1.0, 2.0)]
        await until(lambda: scheduler.computes)
        await asyncio.sleep(0.01)
        # Ahead of a clip of one window are the first windows of both clips.
        assert scheduler.wait_s(1) == 3
        # A longer one takes turns with the rest of both. One window of that may have begun.
        assert scheduler.wait_s(5) in (16, 17)
        assert scheduler.wait_s(100) in (118, 119, 120)
        gate.set()
        await asyncio.gather(*tasks)
        assert scheduler.wait_s(1) * scheduler.speed == pytest.approx(1)

    with scheduling(engine) as scheduler:
        asyncio.run(scenario())


def test_the_bulk_wait_lasts_until_the_first_of_the_long_clips_is_done(gate: threading.Event) -> None:
    async def main() -> None:
        with scheduling(Recording(lambda level: gate.wait(PATIENCE_S) and None)) as scheduler:
            assert scheduler.scheduler.bulk_wait_s() == 0
            clips = [asyncio.create_task(scheduler.run(windows(*range(length)))) for length in (1, 4, 6)]
            await until(lambda: len(scheduler.scheduler._express) == 2)
            assert scheduler.scheduler.bulk_wait_s() == pytest.approx(2 * 3)
            gate.set()
            await asyncio.gather(*clips)

    asyncio.run(main())


@pytest.mark.parametrize(("spreads", "sharing"), [(True, 1), (False, 4)])
def test_speed_of_a_call_that_is_alone(spreads: bool, sharing: int) -> None:
    """A wide call has all cores; on one thread it has a worker's share of them."""
    engine = Recording(lambda level: time.sleep(0.05))
    lanes = all_lanes(cast(AnyRecognizer, engine), spreads=spreads)
    took_s: list[float] = []
    with scheduling(lanes, workers=4, on_computed=lambda count, audio_s, busy_s: took_s.append(busy_s)) as scheduler:
        asyncio.run(scheduler.run(windows(1)))
        assert scheduler.speed == pytest.approx(sharing / took_s[0])


def test_digital_silence_says_nothing_of_the_speed() -> None:
    with scheduling(Recording()) as scheduler:
        asyncio.run(scheduler.run(windows(0, 0, 0)))
        assert scheduler.speed == 1


def test_speed_is_that_of_all_workers() -> None:
    speed = Speed()
    assert speed.value == 1
    speed.add(10, 0.5, 2)  # 20 s of sound per second by one of two
    assert speed.value == pytest.approx(40)


def test_speed_forgets() -> None:
    speed = Speed()
    for _ in range(50):
        speed.add(10, 1, 1)
    for _ in range(200):
        speed.add(30, 1, 1)
    assert speed.value == pytest.approx(30, rel=0.01)


@pytest.mark.parametrize(
    ("spans", "expected"),
    [([], 0), ([(1, 2)], 1), ([(1, 3), (2, 4)], 3), ([(5, 6), (1, 2)], 2), ([(1, 10), (2, 3), (9, 12)], 11)],
)
def test_covered(spans: list[tuple[float, float]], expected: float) -> None:
    assert covered(spans) == expected
