from collections import Counter
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest

from app.recognizer import Samples
from scripts.benchmarking.ctc_bench import CTC_BENCH
from scripts.benchmarking.engine_figures import EngineFigures
from scripts.benchmarking.engines import CTC, EngineSpec
from scripts.benchmarking.measurements import (
    Engines,
    agreement,
    compute_steps,
    measure_latencies,
    measure_throughput,
)
from scripts.benchmarking.process import EngineFailed
from tests.checkpoints import RATE_HZ

MIB = 1 << 20


class FakeEngine:
    """A fake engine process. `log` gets (key, number of samples) of every timed call."""

    def __init__(self, spec: EngineSpec, log: list[tuple[str, int]], fails_at: int | None = None) -> None:
        self.key, self.log, self.fails_at, self.closed = spec.key, log, fails_at, False
        self.resident_bytes = self.peak_bytes = MIB

    def __enter__(self) -> "FakeEngine":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.closed = True

    def modules(self) -> set[str]:
        return set()

    def load(self) -> float:
        return 0.5

    def latency_s(self, samples: Samples) -> float:
        assert not self.closed
        self.log.append((self.key, len(samples)))
        if len([key for key, _ in self.log if key == self.key]) == self.fails_at:
            raise EngineFailed("out of breath")
        return len(self.log) / 1000

    def throughput(self, clips: list[Samples], seconds: float) -> float:
        return 32_000.0

    def output(self, samples: Samples) -> list[int]:
        return [0, 1, 0, 1] if self.key == "b" else [0, 1, 2, 3]


class Group:
    """Fake engines a, b and c behind `Engines`. fails_at: key -> the call at which the engine fails."""

    def __init__(self, fails_at: dict[str, int] | None = None) -> None:
        self.log: list[tuple[str, int]] = []
        self.processes: dict[str, FakeEngine] = {}
        self.figures = {key: EngineFigures(key, key, True, 1) for key in "abc"}

        def start(spec: EngineSpec, threads: int, callers: int) -> Any:
            self.processes[spec.key] = FakeEngine(spec, self.log, (fails_at or {}).get(spec.key))
            return self.processes[spec.key]

        self.engines = Engines(self.figures, 2, 1, start)
        for key in "abc":
            self.engines.load(EngineSpec(key, key, CTC, "backend", Path(), ()))


CLIPS = {1.0: [np.zeros(10, np.float32)], 2.0: [np.zeros(20, np.float32)]}


def test_engines_take_turns_in_a_new_random_order() -> None:
    group = Group()
    found = measure_latencies(group.engines, CLIPS, runs=20, warm_up=3, random=Random(0), rate_hz=10)
    turns = [group.log[start : start + 3] for start in range(0, len(group.log), 3)]
    assert len(turns) == (20 + 3) * len(CLIPS)
    for number, turn in enumerate(turns):
        assert {key for key, _ in turn} == set("abc"), "each has one call before any has another"
        assert {length for _, length in turn} == {(10, 20)[number % 2]}
    orders = Counter("".join(key for key, _ in turn) for turn in turns)
    assert len(orders) == 6
    assert max(orders.values()) < len(turns) / 2
    assert [latency.length_s for latency in found["a"]] == [1.0, 2.0]
    calls = [position / 1000 for position, call in enumerate(group.log, start=1) if call == ("b", 10)]
    assert list(found["b"][0].runs_s) == calls[3:], "the warm-up does not count"


def test_the_order_is_that_of_the_seed() -> None:
    logs = []
    for seed in (1, 1, 2):
        group = Group()
        measure_latencies(group.engines, CLIPS, runs=5, warm_up=1, random=Random(seed), rate_hz=10)
        logs.append(group.log)
    assert logs[0] == logs[1] != logs[2]


def test_an_engine_that_fails_is_left_out_and_the_others_continue() -> None:
    group = Group(fails_at={"b": 4})
    with group.engines:
        found = measure_latencies(group.engines, CLIPS, runs=4, warm_up=1, random=Random(0), rate_hz=10)
        assert group.figures["b"].errors == ["out of breath"]
        assert group.processes["b"].closed
        assert group.engines.running == ["a", "c"]
        assert Counter(key for key, _ in group.log) == {"a": 10, "b": 4, "c": 10}
        assert len(found["a"][0].runs_s) == len(found["c"][1].runs_s) == 4
        assert measure_throughput(group.engines, [], 1.0, RATE_HZ) == {"a": 2.0, "c": 2.0}
    assert all(process.closed for process in group.processes.values())


def test_each_round_takes_the_next_clip_of_a_length() -> None:
    group = Group()
    clips = {1.0: [np.zeros(9, np.float32), np.zeros(10, np.float32), np.zeros(8, np.float32)]}
    found = measure_latencies(group.engines, clips, runs=5, warm_up=1, random=Random(0), rate_hz=10)
    assert [length for key, length in group.log if key == "a"] == [9, 10, 8, 9, 10, 8]
    (latency,) = found["a"]
    assert latency.rtfx == pytest.approx(0.9 / latency.p50_s), "of the clips, whatever length they stand for"


def test_steps_are_compared_with_those_of_the_first_engine() -> None:
    steps = compute_steps(Group().engines, [np.zeros(1, np.float32)], lambda output: output)
    assert steps == {"a": [[0, 1, 2, 3]], "b": [[0, 1, 0, 1]], "c": [[0, 1, 2, 3]]}
    assert agreement(CTC_BENCH, steps["a"], steps["b"]) == 0.5
    assert agreement(CTC_BENCH, [*steps["a"], [1, 2]], [*steps["c"], [1, 1]]) == 5 / 6
    assert agreement(CTC_BENCH, [], []) == 0.0
