import asyncio
import threading
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import pytest

from app.decoding import Emissions
from app.errors import EngineFailure, Overloaded
from app.scheduler import Scheduler, covered
from app.windows import Samples, Window


class RecordingEngine:
    """Says how loud a window is; calls `before` with that first, from the worker's thread."""

    def __init__(self, before: Callable[[float], object] = lambda level: None) -> None:
        self.before = before
        self.seen: list[float] = []

    def emissions(self, windows: Sequence[Samples]) -> list[Emissions]:
        (samples,) = windows
        self.before(float(samples[0]))
        self.seen.append(float(samples[0]))
        return [np.full((1, 1), samples[0], dtype=np.float32)]


def windows(*levels: float) -> list[Window]:
    return [Window(np.full(10, level, dtype=np.float32), index) for index, level in enumerate(levels)]


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    event = threading.Event()
    yield event
    event.set()  # whatever happened, no worker may wait for ever


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.001)


def test_emissions_come_back_in_the_order_of_the_windows() -> None:
    scheduler = Scheduler(RecordingEngine(), workers=2, max_queue_s=10)
    computed = asyncio.run(scheduler.run(windows(1, 2, 3, 4, 5), 1.0))
    scheduler.close()
    assert [emissions[0, 0] for emissions in computed.emissions] == [1, 2, 3, 4, 5]
    assert computed.inference_s > 0 <= computed.queue_s


def test_no_windows_is_no_work() -> None:
    scheduler = Scheduler(RecordingEngine(), workers=1, max_queue_s=10)
    assert asyncio.run(scheduler.run([], 0.0)).emissions == []
    scheduler.close()


def test_a_short_clip_does_not_wait_for_a_long_one(gate: threading.Event) -> None:
    async def scenario() -> list[float]:
        engine = RecordingEngine(lambda level: gate.wait(10))
        scheduler = Scheduler(engine, workers=1, max_queue_s=100)
        long = asyncio.create_task(scheduler.run(windows(*[1.0] * 20), 20))
        await until(lambda: scheduler.queued_s == 20)
        short = asyncio.create_task(scheduler.run(windows(2.0), 1))
        await until(lambda: scheduler.queued_s == 21)
        await asyncio.sleep(0.01)
        gate.set()
        await asyncio.gather(long, short)
        scheduler.close()
        return engine.seen

    assert asyncio.run(scenario()).index(2.0) <= 2


def test_what_does_not_fit_is_refused_at_once_and_the_place_is_freed(gate: threading.Event) -> None:
    async def scenario() -> None:
        scheduler = Scheduler(RecordingEngine(lambda level: gate.wait(10)), workers=1, max_queue_s=10)
        first = asyncio.create_task(scheduler.run(windows(1), 6))
        await until(lambda: scheduler.queued_s == 6)
        with pytest.raises(Overloaded):
            await scheduler.run(windows(2), 6)
        assert scheduler.queued_s == 6
        gate.set()
        await first
        assert scheduler.queued_s == 0
        scheduler.close()

    asyncio.run(scenario())


def test_a_clip_longer_than_the_queue_is_taken_when_nothing_waits() -> None:
    scheduler = Scheduler(RecordingEngine(), workers=1, max_queue_s=10)
    assert len(asyncio.run(scheduler.run(windows(1), 3600)).emissions) == 1
    scheduler.close()


def test_an_engine_that_fails_fails_one_request_only() -> None:
    def fail_on_two(level: float) -> None:
        if level == 2:
            raise RuntimeError("boom")

    async def scenario() -> None:
        scheduler = Scheduler(RecordingEngine(fail_on_two), workers=2, max_queue_s=100)
        failing, fine = scheduler.run(windows(1, 2, 3, 4), 4), scheduler.run(windows(5, 6), 2)
        outcomes = await asyncio.gather(failing, fine, return_exceptions=True)
        assert isinstance(outcomes[0], EngineFailure)
        assert isinstance(outcomes[0].__cause__, RuntimeError)
        assert not isinstance(outcomes[1], BaseException)
        assert scheduler.queued_s == 0
        assert len((await scheduler.run(windows(7), 1)).emissions) == 1
        scheduler.close()

    asyncio.run(scenario())


def test_windows_of_a_client_that_left_are_not_computed(gate: threading.Event) -> None:
    async def scenario() -> None:
        engine = RecordingEngine(lambda level: gate.wait(10))
        scheduler = Scheduler(engine, workers=1, max_queue_s=100)
        leaving = asyncio.create_task(scheduler.run(windows(*[1.0] * 50), 50))
        await until(lambda: scheduler.queued_s == 50)
        await asyncio.sleep(0.01)
        leaving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await leaving
        assert scheduler.queued_s == 0
        gate.set()
        await scheduler.run(windows(2.0), 1)
        scheduler.close()
        assert engine.seen.count(1.0) <= 1  # at most the one that was running

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("spans", "expected"),
    [([], 0), ([(1, 2)], 1), ([(1, 3), (2, 4)], 3), ([(5, 6), (1, 2)], 2), ([(1, 10), (2, 3), (9, 12)], 11)],
)
def test_covered(spans: list[tuple[float, float]], expected: float) -> None:
    assert covered(spans) == expected
