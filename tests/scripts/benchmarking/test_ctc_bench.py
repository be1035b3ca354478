import pytest

from scripts.benchmarking.ctc_bench import PLAIN_INT8, key_figures
from scripts.benchmarking.engine_figures import EngineFigures
from scripts.common.report import KeyFigure
from tests.scripts.benchmarking.engine_figures import engine, engines, rate

MIB = 1 << 20
LENGTHS_S = (10.0,)


def figure(key: str, *all_: EngineFigures) -> KeyFigure | None:
    """The key figure, if it was measured."""
    return next((figure for figure in key_figures(engines(*all_), LENGTHS_S) if figure.key == key), None)


def test_plain_int8_is_the_faster_of_its_kinds() -> None:
    slow, fast = engine("matmul_quint8", 0.6, own=False), engine("matmul_qint8", 0.4, own=False)
    assert PLAIN_INT8.of(engines(slow, fast), 10.0) is fast
    assert PLAIN_INT8.of(engines(slow), 10.0) is slow
    assert PLAIN_INT8.of(engines(engine("onnx")), 10.0) is None


def test_int8_against_pytorch() -> None:
    found = figure("int8_latency_to_pytorch", engine("pytorch", 1.0), engine("onnx_int8", 0.35))
    assert found == KeyFigure("int8_latency_to_pytorch", "INT8 latency / PyTorch FP32, 10 s clip", 0.35)


def test_int8_against_the_faster_plain_int8() -> None:
    plain = engine("matmul_qint8", 0.4, own=False), engine("matmul_quint8", 0.6, own=False)
    found = figure("int8_latency_to_plain_int8", engine("onnx_int8", 0.2), *plain)
    assert found is not None
    assert "matmul_qint8" in found.what
    assert found.value == pytest.approx(0.5)


@pytest.mark.parametrize("unquantized", ["onnx", "pytorch"])
def test_the_size(unquantized: str) -> None:
    found = figure("int8_size_to_fp32", engine("onnx_int8", size_bytes=290), engine(unquantized))
    assert found is not None
    assert found.value == 0.29


def test_memory_is_that_of_the_service_or_else_of_the_engine_alone() -> None:
    int8 = engine("onnx_int8", peak_bytes=300 * MIB, service_peak_bytes=410 * MIB)
    pytorch = engine("pytorch", peak_bytes=1000 * MIB, service_peak_bytes=1000 * MIB)
    service = figure("int8_service_memory_to_pytorch", int8, pytorch)
    assert service is not None
    assert service.value == 0.41
    pytorch.service_peak_bytes = None
    assert figure("int8_service_memory_to_pytorch", int8, pytorch) is None
    alone = figure("int8_engine_memory_to_pytorch", int8, pytorch)
    assert alone is not None
    assert alone.value == 0.3


@pytest.mark.parametrize("wer", [0.2049, 0.19])
def test_the_errors_of_int8(wer: float) -> None:
    int8 = engine("onnx_int8", wer=rate(wer), clips=500)
    others = engine("onnx", wer=rate(0.20), clips=500), engine("pytorch", wer=rate(0.5))
    found = figure("int8_wer_rise", int8, *others)
    assert found is not None
    assert found.value == pytest.approx(100 * (wer - 0.20))
    assert found.unit == "points"


def test_errors_on_few_clips_give_no_key_figure() -> None:
    few = engine("onnx_int8", wer=rate(0.2), clips=499)
    assert figure("int8_wer_rise", few, engine("onnx", wer=rate(0.2))) is None


def test_openvino_against_the_stock_form() -> None:
    found = figure("openvino_latency_to_stock", engine("openvino", 0.17), engine("openvino_nncf", 0.2, own=False))
    assert found is not None
    assert found.value == pytest.approx(0.85)


def test_unmeasured_values_give_no_key_figure() -> None:
    assert key_figures(engines(engine("dynamic_all", own=False)), LENGTHS_S) == []
    assert key_figures({}, LENGTHS_S) == []


def test_the_fastest_engine_of_dikte() -> None:
    own = engine("openvino", 0.08, wide=90.0, narrow=121.0)
    other = engine("openvino_nncf", 0.01, own=False, wide=500.0)
    all_ = engine("onnx_int8", 0.2, narrow=50.0), own, other
    latency, throughput = figure("latency_at_10_s", *all_), figure("throughput", *all_)
    assert latency is not None
    assert throughput is not None
    assert (latency.value, throughput.value) == (0.08, 121.0)
    assert "OPENVINO" in latency.what
