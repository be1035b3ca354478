"""The figures of a benchmark: the measurements of each engine, and comparisons between engines."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Self

import numpy as np

from app.runtimes.registry import ONNX, ONNX_INT8, OPENVINO, PYTORCH
from scripts.common.report import KeyFigure
from scripts.speech.scoring import ErrorRate

REFERENCE_S = 10.0
"""The clip length at which engines are compared, if it was measured; else the longest is used."""
MIN_WER_CLIPS = 500
"""With fewer held-out clips, a WER difference of half a point is within the noise."""


@dataclass(frozen=True)
class Latency:
    """Latency of one call with a clip of `length_s` seconds: mean, standard deviation, median, 95th percentile.

    rtfx: seconds of audio per second, at the median latency. runs_s: each measured call, in order.
    """

    length_s: float
    mean_s: float
    std_s: float
    p50_s: float
    p95_s: float
    rtfx: float
    runs_s: tuple[float, ...]

    @classmethod
    def of(cls, length_s: float, runs_s: Sequence[float]) -> Self:
        """Statistics of one or more calls. The standard deviation is that of a sample (0 for a single call)."""
        p50_s, p95_s = (float(value) for value in np.percentile(runs_s, [50, 95]))
        std_s = float(np.std(runs_s, ddof=1)) if len(runs_s) > 1 else 0.0
        return cls(length_s, float(np.mean(runs_s)), std_s, p50_s, p95_s, length_s / p50_s, tuple(runs_s))


@dataclass
class EngineFigures:
    """The measurements of one engine. Missing ones are None, or not in the list; `errors` says why.

    load_s: time to load, from a bare interpreter, imports included. start_bytes, loaded_bytes, peak_bytes: resident
    memory of the engine's process before loading, after loading, and at its peak. service_peak_bytes: peak memory of
    the whole service on this engine. latencies: one for each clip length. wide: seconds of audio per second, with one
    call at a time on all threads. narrow: the same with several single-thread calls at once. agreement: share of frames
    with the same most likely token as the reference engine.
    """

    key: str
    title: str
    own: bool
    size_bytes: int
    load_s: float | None = None
    start_bytes: int | None = None
    loaded_bytes: int | None = None
    peak_bytes: int | None = None
    service_peak_bytes: int | None = None
    latencies: list[Latency] = field(default_factory=list)
    wide: float | None = None
    narrow: float | None = None
    agreement: float | None = None
    wer: ErrorRate | None = None
    cer: ErrorRate | None = None
    clips: int = 0
    errors: list[str] = field(default_factory=list)

    def at(self, length_s: float) -> Latency | None:
        """The latency for clips of this length."""
        return next((latency for latency in self.latencies if latency.length_s == length_s), None)


def reference_length_s(lengths_s: Sequence[float]) -> float:
    """The clip length at which engines are compared."""
    return REFERENCE_S if REFERENCE_S in lengths_s else max(lengths_s)


def ratio(engine: EngineFigures | None, base: EngineFigures | None, length_s: float) -> float | None:
    """Median latency of an engine divided by that of another; None if one of them was not measured."""
    ours, theirs = (figures.at(length_s) if figures else None for figures in (engine, base))
    return ours.p50_s / theirs.p50_s if ours and theirs else None


def plain_int8(engines: dict[str, EngineFigures], length_s: float) -> EngineFigures | None:
    """Plain `quantize_dynamic` of the matrix products, with signed or unsigned weights, whichever is faster here."""
    measured = [
        (latency.p50_s, key)
        for key in ("matmul_quint8", "matmul_qint8")
        if key in engines and (latency := engines[key].at(length_s))
    ]
    return engines[min(measured)[1]] if measured else None


def key_figures(engines: dict[str, EngineFigures], length_s: float) -> list[KeyFigure]:
    """The comparisons of Dikte's engines with the others, as far as both were measured.

    engines: key -> figures. length_s: clip length at which latencies are compared.
    """
    pytorch, fp32, int8, openvino = (engines.get(key) for key in (PYTORCH, ONNX, ONNX_INT8, OPENVINO))
    plain = plain_int8(engines, length_s)
    clip = f"{length_s:g} s clip"
    found = []

    def add(key: str, what: str, value: float | None, unit: str = "") -> None:
        if value is not None:
            found.append(KeyFigure(key, what, value, unit))

    add("int8_latency_to_pytorch", f"INT8 latency / PyTorch FP32, {clip}", ratio(int8, pytorch, length_s))
    plain_title = f"plain MatMul-only INT8 ({plain.key if plain else ''})"
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
    return found + _fastest(engines, length_s)


def _fastest(engines: dict[str, EngineFigures], length_s: float) -> list[KeyFigure]:
    """Absolute figures of Dikte's fastest engine. They are only valid for this machine."""
    found = []
    own = [engine for engine in engines.values() if engine.own]
    latencies = [(latency.p50_s, engine.title) for engine in own if (latency := engine.at(length_s))]
    if latencies:
        p50_s, title = min(latencies)
        what = f"latency of Dikte's fastest engine ({title}), {length_s:g} s clip"
        found.append(KeyFigure(f"latency_at_{length_s:g}_s", what, p50_s, "s"))
    rates = [(max(engine.wide or 0.0, engine.narrow or 0.0), engine.title) for engine in own]
    if rates and max(rates)[0]:
        rate, title = max(rates)
        found.append(KeyFigure("throughput", f"throughput of Dikte's fastest engine ({title})", rate, "s of audio/s"))
    return found
