import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import cast

import pytest

from app.recognizer import AnyRecognizer, Options, Samples, Window, never
from app.speed import BUDGET_S, LONG_S, MIN_ROUNDS, ROUNDS, SHORT_S, Measured, measure_speeds
from tests.fakes import BareRecognizer

RATE_HZ = 16_000
WORKERS = 3


class Clock(threading.local):
    """Seconds that pass for a thread only by what it computes."""

    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


@dataclass(eq=False)
class Timed(BareRecognizer):
    """Computes `speed` seconds of sound per second of its caller's clock; `first_s` more for a thread's first call."""

    clock: Clock
    speed: float
    failure: Exception | None = None
    first_s: float = 0.0
    calls: list[tuple[int, float]] = field(default_factory=list)
    """Thread and seconds of sound."""

    rate_hz = RATE_HZ

    def windows(self, samples: Samples, options: Options) -> list[Window]:
        return [Window(samples)]

    def compute(self, windows: Sequence[Window], options: Options, cancelled: Callable[[], bool] = never) -> list[None]:
        (window,) = windows
        if self.failure is not None and len(self.calls) >= 2 * WORKERS:
            raise self.failure
        audio_s = len(window.samples) / RATE_HZ
        thread = threading.get_ident()
        self.clock.now_s += audio_s / self.speed + (self.first_s if thread not in dict(self.calls) else 0.0)
        self.calls.append((thread, audio_s))
        return [None]


def measure(groups: Sequence[Sequence[str]], clock: Clock, **engines: Timed) -> Measured:
    return measure_speeds(lambda backend: cast(AnyRecognizer, engines[backend]), groups, WORKERS, clock)


def test_all_workers_count_together() -> None:
    clock = Clock()
    measured = measure([["a", "b"]], clock, a=Timed(clock, 20.0), b=Timed(clock, 30.0))
    assert measured.speeds == {"a": pytest.approx(20.0 * WORKERS), "b": pytest.approx(30.0 * WORKERS)}
    assert measured.failures == {}


def test_each_worker_computes_short_and_long_clips() -> None:
    clock = Clock()
    engine = Timed(clock, 200.0)
    measure([["a"]], clock, a=engine)
    threads = {thread for thread, _ in engine.calls}
    assert len(threads) == WORKERS
    for thread in threads:
        lengths = [audio_s for caller, audio_s in engine.calls if caller == thread]
        assert set(lengths) == {SHORT_S, LONG_S}
        assert lengths.count(SHORT_S) == lengths.count(LONG_S)


def test_the_first_calls_do_not_count() -> None:
    clock = Clock()
    measured = measure([["a"]], clock, a=Timed(clock, 200.0, first_s=0.1))
    assert measured.speeds == {"a": pytest.approx(200.0 * WORKERS)}


def test_a_slow_model_computes_short_clips_alone() -> None:
    clock = Clock()
    slow, slower = Timed(clock, 2.0), Timed(clock, 1.9)
    measured = measure([["slow", "slower"]], clock, slow=slow, slower=slower)
    assert {audio_s for _, audio_s in [*slow.calls, *slower.calls]} == {SHORT_S}
    assert measured.speeds["slow"] > measured.speeds["slower"]


def test_no_round_begins_when_the_time_is_over() -> None:
    clock = Clock()
    engine = Timed(clock, SHORT_S / BUDGET_S)  # for each call all the time
    other = Timed(clock, SHORT_S / BUDGET_S)
    measured = measure([["a"], ["b"]], clock, a=engine, b=other)
    assert measured.speeds.keys() == {"a", "b"}, "each has one round"
    assert len(engine.calls) == len(other.calls) == 2 * WORKERS, "to warm up, and a round"


def test_one_that_is_far_behind_is_soon_measured_no_further() -> None:
    clock = Clock()
    fast, near, far = Timed(clock, 500.0), Timed(clock, 450.0), Timed(clock, 100.0)
    measured = measure([["far", "fast", "near"]], clock, fast=fast, near=near, far=far)
    assert measured.speeds["far"] == pytest.approx(100.0 * WORKERS)
    assert len(far.calls) == 2 * (1 + MIN_ROUNDS) * WORKERS, "short and long clips to warm up, and in each round"
    assert len(near.calls) > len(far.calls)


def test_the_median_counts() -> None:
    clock = Clock()

    class Disturbed(Timed):
        def compute(
            self, windows: Sequence[Window], options: Options, cancelled: Callable[[], bool] = never
        ) -> list[None]:
            before = [thread for thread, _ in self.calls].count(threading.get_ident())
            self.speed = 1.0 if before == 2 else 90.0  # both clips were computed to warm up
            return super().compute(windows, options)

    assert ROUNDS >= 3
    measured = measure([["a"]], clock, a=Disturbed(clock, 90.0))
    assert measured.speeds["a"] == pytest.approx(90.0 * WORKERS)


def test_one_that_fails_is_left_out_with_its_reason() -> None:
    clock = Clock()
    broken = Timed(clock, 300.0, failure=RuntimeError("illegal instruction"))
    measured = measure([["broken", "sound"]], clock, broken=broken, sound=Timed(clock, 20.0))
    assert measured.speeds.keys() == {"sound"}
    assert str(measured.failures["broken"]) == "illegal instruction"


def test_one_that_cannot_be_loaded_is_left_out_with_its_reason() -> None:
    clock = Clock()
    measured = measure([["missing", "sound"]], clock, sound=Timed(clock, 20.0))
    assert measured.speeds.keys() == {"sound"}
    assert isinstance(measured.failures["missing"], KeyError)


def test_a_group_is_freed_before_the_next_is_loaded() -> None:
    clock = Clock()
    alive: set[str] = set()
    seen: list[set[str]] = []

    class Counted(Timed):
        name = ""

        def __del__(self) -> None:
            with suppress(KeyError):
                alive.remove(self.name)

    def load(backend: str) -> AnyRecognizer:
        engine = Counted(clock, 100.0)
        engine.name = backend
        alive.add(backend)
        seen.append(set(alive))
        return cast(AnyRecognizer, engine)

    measured = measure_speeds(load, [["a", "b"], ["c"], ["d"]], WORKERS, clock)
    assert measured.speeds.keys() == {"a", "b", "c", "d"}
    assert seen == [{"a"}, {"a", "b"}, {"c"}, {"d"}]
    assert alive == set()
