import time
from collections.abc import Sequence

import numpy as np

from app.families.ctc.decoding import Emissions
from app.recognizer import Samples
from scripts.common.machine import processor
from scripts.exporting.timing import RUNS, measure_latency
from tests.fakes import FakeCtc


class Sleeping(FakeCtc):
    """A recognizer with a delay, which is longer in the first call."""

    def __init__(self, name: str, duration_s: float, calls: list[str]) -> None:
        super().__init__()
        self.name, self.duration_s, self.calls = name, duration_s, calls

    def emissions(self, clips: Sequence[Samples]) -> list[Emissions]:
        time.sleep(self.duration_s if self.name in self.calls else 20 * self.duration_s)
        self.calls.append(self.name)
        return [np.zeros((0, 2), np.float32) for _ in clips]


def test_backends_take_turns_and_the_first_call_does_not_count() -> None:
    calls: list[str] = []
    recognizers = {"slow": Sleeping("slow", 0.02, calls), "fast": Sleeping("fast", 0.005, calls)}
    latency = measure_latency(recognizers, np.zeros(32_000, np.float32), threads=1)
    assert calls == ["slow", "fast"] * (1 + RUNS)
    assert (latency.clip_s, latency.threads, latency.cpu) == (2.0, 1, processor())
    assert 0.02 <= latency.median_s["slow"] < 0.4
    assert 0.005 <= latency.median_s["fast"] < 0.1
