"""The benchmark of CTC models."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from app.families import Family
from app.runtimes.registry import ONNX, ONNX_INT8, OPENVINO, PYTORCH, REFERENCE
from scripts.benchmarking.bench import Base, Bench
from scripts.benchmarking.ctc_baselines import CTC_BASELINES
from scripts.benchmarking.engine_figures import EngineFigures, fastest_own, ratio, reference_length_s
from scripts.benchmarking.engines import CTC
from scripts.common.report import KeyFigure

MIN_WER_CLIPS = 500
"""With fewer held-out clips, a WER difference of half a point is within the noise."""
# Plain `quantize_dynamic` of the matrix products, with signed or unsigned weights, whichever is faster here.
PLAIN_INT8 = Base("plain_int8", "plain MatMul-only INT8", ("matmul_quint8", "matmul_qint8"))


def best_tokens(family: Family) -> Callable[[Sequence[int]], Sequence[int]]:
    """The identity: the output of a CTC engine is the best token of each frame."""
    return lambda tokens: tokens


def equal_frames(tokens: Sequence[int], others: Sequence[int]) -> tuple[int, int]:
    """Number of frames with the same token, and number of frames. Both have the same length."""
    return int(np.equal(tokens, others).sum()), len(tokens)


def key_figures(engines: Mapping[str, EngineFigures], lengths_s: Sequence[float]) -> list[KeyFigure]:
    """INT8 against PyTorch, plain INT8 and FP32; OpenVINO against its stock form."""
    length_s = reference_length_s(lengths_s)
    pytorch, fp32, int8, openvino = (engines.get(key) for key in (PYTORCH, ONNX, ONNX_INT8, OPENVINO))
    plain = PLAIN_INT8.of(engines, length_s)
    clip = f"{length_s:g} s clip"
    found = []

    def add(key: str, what: str, value: float | None, unit: str = "") -> None:
        if value is not None:
            found.append(KeyFigure(key, what, value, unit))

    add("int8_latency_to_pytorch", f"INT8 latency / PyTorch FP32, {clip}", ratio(int8, pytorch, length_s))
    plain_title = f"{PLAIN_INT8.title} ({plain.key if plain else ''})"
    add("int8_latency_to_plain_int8", f"INT8 latency / {plain_title}, {clip}", ratio(int8, plain, length_s))
    if int8 and (unquantized := fp32 or pytorch):
        add("int8_size_to_fp32", "INT8 size / FP32", int8.size_bytes / unquantized.size_bytes)
    if int8 and pytorch:
        if int8.service_peak_bytes and pytorch.service_peak_bytes:
            share = int8.service_peak_bytes / pytorch.service_peak_bytes
            add("int8_service_memory_to_pytorch", "peak memory of the service, INT8 / PyTorch", share)
        elif int8.peak_bytes and pytorch.peak_bytes:
            share = int8.peak_bytes / pytorch.peak_bytes
            add("int8_engine_memory_to_pytorch", "peak memory of the engine alone, INT8 / PyTorch", share)
    exact = next((engine for engine in (fp32, pytorch) if engine and engine.wer), None)
    if int8 and int8.wer and exact and exact.wer and int8.clips >= MIN_WER_CLIPS:
        rise = 100 * (int8.wer.rate - exact.wer.rate)
        add("int8_wer_rise", f"INT8 WER above that of {exact.title}, {int8.clips} clips", rise, "points")
    stock = ratio(openvino, engines.get("openvino_nncf"), length_s)
    add("openvino_latency_to_stock", f"OpenVINO latency / stock OpenVINO INT8, {clip}", stock)
    return found + fastest_own(engines, length_s)


CTC_BENCH = Bench(
    CTC,
    CTC_BASELINES,
    steps="frames",
    bases=(Base(REFERENCE, "PyTorch FP32", (PYTORCH,)), PLAIN_INT8),
    key_figures=key_figures,
    steps_of=best_tokens,
    agreement=equal_frames,
)
