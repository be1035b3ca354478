import math

import numpy as np
import pytest

from scripts.benchmarking.engine_figures import Latency, fastest, ratio, reference_length_s
from tests.scripts.benchmarking.engine_figures import engine, engines


def test_the_statistics_of_calls() -> None:
    runs_s = [0.5, 0.1, 0.2, 0.4, 0.3]
    latency = Latency.of(2.0, runs_s)
    assert latency.mean_s == pytest.approx(0.3)
    assert latency.std_s == pytest.approx(math.sqrt(0.1 / 4))
    assert latency.p50_s == pytest.approx(0.3)
    assert latency.p95_s == pytest.approx(np.percentile(runs_s, 95)) == pytest.approx(0.48)
    assert latency.rtfx == pytest.approx(2.0 / 0.3)
    assert latency.runs_s == tuple(runs_s)


def test_a_single_call_has_no_deviation() -> None:
    assert Latency.of(2.0, [0.5]).std_s == 0.0


@pytest.mark.parametrize(("lengths_s", "expected"), [([2.0, 10.0, 20.0], 10.0), ([2.0, 5.0], 5.0), ([20.0], 20.0)])
def test_engines_are_compared_at_ten_seconds_or_the_longest_clip(lengths_s: list[float], expected: float) -> None:
    assert reference_length_s(lengths_s) == expected


def test_a_ratio_needs_both() -> None:
    assert ratio(engine("a", 0.5), engine("b", 2.0), 10.0) == 0.25
    assert ratio(engine("a"), None, 10.0) is None
    assert ratio(engine("a"), engine("b", length_s=5.0), 10.0) is None


def test_seconds_per_second_are_those_of_the_clips() -> None:
    assert Latency.of(10.0, [0.5], audio_s=9.0).rtfx == 18.0


def test_the_fastest_of_several_engines() -> None:
    slow, fast = engine("a", 0.6), engine("b", 0.4)
    assert fastest(engines(slow, fast, engine("c", 0.1)), ["a", "b"], 10.0) is fast
    assert fastest(engines(slow), ["a", "b"], 10.0) is slow
    assert fastest(engines(slow), ["a"], 5.0) is None
