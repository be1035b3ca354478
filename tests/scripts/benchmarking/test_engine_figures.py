import math

import numpy as np
import pytest

from scripts.benchmarking.engine_figures import (
    EngineFigures,
    Latency,
    find_aims,
    find_goals,
    plain_int8,
    ratio,
    reference_length_s,
)
from scripts.common.goals import Goal
from scripts.speech.scoring import ErrorRate

MIB = 1 << 20


def engine(key: str, p50_s: float = 1.0, own: bool = True, length_s: float = 10.0, **more: object) -> EngineFigures:
    figures = EngineFigures(key, key.upper(), own, size_bytes=1000, latencies=[Latency.of(length_s, [p50_s] * 3)])
    for name, value in more.items():
        setattr(figures, name, value)
    return figures


def engines(*all_: EngineFigures) -> dict[str, EngineFigures]:
    return {figures.key: figures for figures in all_}


def goal(claim: str, *all_: EngineFigures) -> Goal | None:
    """The goal whose claim begins so, if it was measured."""
    return next((goal for goal in find_goals(engines(*all_), 10.0) if goal.claim.startswith(claim)), None)


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


def test_plain_int8_is_the_faster_of_its_kinds() -> None:
    slow, fast = engine("matmul_quint8", 0.6, own=False), engine("matmul_qint8", 0.4, own=False)
    assert plain_int8(engines(slow, fast), 10.0) is fast
    assert plain_int8(engines(slow), 10.0) is slow
    assert plain_int8(engines(engine("onnx")), 10.0) is None


@pytest.mark.parametrize(("p50_s", "reached"), [(0.35, True), (0.36, True), (0.37, False)])
def test_int8_against_pytorch(p50_s: float, reached: bool) -> None:
    found = goal("INT8 latency / PyTorch", engine("pytorch", 1.0), engine("onnx_int8", p50_s))
    assert found is not None
    assert found.value == p50_s
    assert found.reached == reached


@pytest.mark.parametrize(("p50_s", "reached"), [(0.21, True), (0.23, False)])
def test_int8_against_the_faster_plain_int8(p50_s: float, reached: bool) -> None:
    plain = engine("matmul_qint8", 0.4, own=False), engine("matmul_quint8", 0.6, own=False)
    found = goal("INT8 latency / plain", engine("onnx_int8", p50_s), *plain)
    assert found is not None
    assert "matmul_qint8" in found.claim
    assert found.value == pytest.approx(p50_s / 0.4)
    assert found.reached == reached


@pytest.mark.parametrize(("size_bytes", "reached"), [(290, True), (291, False)])
@pytest.mark.parametrize("unquantized", ["onnx", "pytorch"])
def test_the_size(unquantized: str, size_bytes: int, reached: bool) -> None:
    found = goal("INT8 size", engine("onnx_int8", size_bytes=size_bytes), engine(unquantized))
    assert found is not None
    assert found.reached == reached


def test_memory_is_that_of_the_service_or_else_of_the_engine_alone() -> None:
    int8 = engine("onnx_int8", peak_bytes=300 * MIB, service_peak_bytes=410 * MIB)
    pytorch = engine("pytorch", peak_bytes=1000 * MIB, service_peak_bytes=1000 * MIB)
    service = goal("peak memory of the service", int8, pytorch)
    assert service is not None
    assert (service.value, service.reached) == (0.41, False)
    pytorch.service_peak_bytes = None
    assert goal("peak memory of the service", int8, pytorch) is None
    alone = goal("peak memory of the engine alone", int8, pytorch)
    assert alone is not None
    assert (alone.value, alone.reached) == (0.3, True)


def rate(rate: float) -> ErrorRate:
    return ErrorRate(rate, rate - 0.01, rate + 0.01)


@pytest.mark.parametrize(("wer", "reached"), [(0.2049, True), (0.19, True), (0.2051, False)])
def test_the_errors_of_int8(wer: float, reached: bool) -> None:
    int8 = engine("onnx_int8", wer=rate(wer), clips=500)
    found = goal("INT8 WER", int8, engine("onnx", wer=rate(0.20), clips=500), engine("pytorch", wer=rate(0.5)))
    assert found is not None
    assert found.value == pytest.approx(100 * (wer - 0.20))
    assert found.reached == reached


def test_errors_on_few_clips_show_nothing() -> None:
    assert goal("INT8 WER", engine("onnx_int8", wer=rate(0.2), clips=499), engine("onnx", wer=rate(0.2))) is None


@pytest.mark.parametrize(("p50_s", "reached"), [(0.17, True), (0.18, False)])
def test_openvino_against_the_stock_form(p50_s: float, reached: bool) -> None:
    found = goal("OpenVINO", engine("openvino", p50_s), engine("openvino_nncf", 0.2, own=False))
    assert found is not None
    assert found.reached == reached


def test_what_was_not_measured_is_no_goal() -> None:
    assert find_goals(engines(engine("pytorch"), engine("dynamic_all", own=False)), 10.0) == []
    assert find_aims({}, 10.0) == []


def test_where_the_project_is_going() -> None:
    own = engine("openvino", 0.08, wide=90.0, narrow=121.0)
    other = engine("openvino_nncf", 0.01, own=False, wide=500.0)
    latency, throughput = find_aims(engines(engine("onnx_int8", 0.2, narrow=50.0), own, other), 10.0)
    assert (latency.value, latency.reached) == (0.08, True)
    assert (throughput.value, throughput.reached) == (121.0, True)
    assert "OPENVINO" in latency.claim
