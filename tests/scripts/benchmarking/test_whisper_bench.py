from pathlib import Path
from typing import Any

import pytest

from app.models import open_model
from scripts.benchmarking.engine_figures import EngineFigures, Latency
from scripts.benchmarking.whisper_bench import equal_tokens, key_figures, tokens_of
from tests.scripts.benchmarking.engine_figures import engine, engines, rate
from tests.whisper_checkpoints import make_whisper

MIB = 1 << 20
LENGTHS_S = (3.0, 10.0, 30.0)


def timed(key: str, *p50_s: float, own: bool = True, **more: Any) -> EngineFigures:
    """Made-up figures with a median latency for each length."""
    latencies = [Latency.of(length_s, [p50]) for length_s, p50 in zip(LENGTHS_S, p50_s, strict=True)]
    return engine(key, own=own, latencies=latencies, **more)


def values(*all_: EngineFigures) -> dict[str, float]:
    return {figure.key: figure.value for figure in key_figures(engines(*all_), LENGTHS_S)}


def test_short_clips_and_full_windows_are_compared_apart() -> None:
    found = values(
        timed("onnx_int8", 0.1, 0.3, 1.0),
        timed("transformers", 1.0, 2.0, 4.0, own=False),
        timed("faster_whisper_int8", 1.0, 1.0, 2.0, own=False),
    )
    assert found["int8_latency_to_transformers_short"] == pytest.approx(0.15), "the worst of the short ones"
    assert found["int8_latency_to_transformers_full"] == 0.25
    assert found["int8_latency_to_faster_whisper_int8_short"] == pytest.approx(0.3)
    assert found["int8_latency_to_faster_whisper_int8_full"] == 0.5


def test_memory_of_the_service_is_compared_with_the_pipelines_process() -> None:
    int8 = timed("onnx_int8", 1, 1, 1, peak_bytes=100 * MIB, service_peak_bytes=250 * MIB)
    assert values(int8, timed("transformers", 1, 1, 1, own=False, peak_bytes=1000 * MIB))[
        "int8_service_memory_to_transformers"
    ] == pytest.approx(0.25)


def test_size_and_errors() -> None:
    found = values(
        timed("onnx_int8", 1, 1, 1, size_bytes=200, wer=rate(0.15), clips=300),
        timed("onnx", 1, 1, 1, wer=rate(0.14), clips=300),
        timed("transformers", 1, 1, 1, own=False, wer=rate(0.145), clips=300),
        timed("optimum_fp32", 1, 1, 1, own=False, size_bytes=800),
    )
    assert found["int8_size_to_optimum"] == 0.25
    assert found["int8_wer_rise"] == pytest.approx(1.0)
    assert found["fp32_wer_rise"] == pytest.approx(-0.5)


def test_unmeasured_values_give_no_key_figure() -> None:
    assert values() == {}
    assert "int8_wer_rise" not in values(timed("onnx_int8", 1, 1, 1), timed("onnx", 1, 1, 1))


def test_texts_are_compared_by_tokens(checkpoints: Path) -> None:
    tokens = tokens_of(open_model(make_whisper(checkpoints)).family)
    one, two = tokens(" the and you"), tokens(" the you")
    assert len(one) == 3
    assert equal_tokens(one, two) == (2, 3)
    assert equal_tokens(one, one) == (3, 3)
    assert equal_tokens([], []) == (0, 0)
