"""The figures of a benchmark: the measurements of each engine, and comparisons between engines."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

import numpy as np

from scripts.common.report import KeyFigure

if TYPE_CHECKING:  # it needs jiwer, which load tests do without
    from scripts.speech.scoring import ErrorRate

REFERENCE_S = 10.0
"""The clip length at which engines are compared, if it was measured; else the longest is used."""


@dataclass(frozen=True)
class Latency:
    """Latency of one call with a clip of `length_s` seconds: mean, standard deviation, median, 95th percentile.

    The clips may be a little shorter. rtfx: seconds of audio per second, at the median latency. runs_s: each measured
    call, in order.
    """

    length_s: float
    mean_s: float
    std_s: float
    p50_s: float
    p95_s: float
    rtfx: float
    runs_s: tuple[float, ...]

    @classmethod
    def of(cls, length_s: float, runs_s: Sequence[float], audio_s: float | None = None) -> Self:
        """Statistics of one or more calls. The standard deviation is that of a sample (0 for a single call).

        audio_s: mean duration of the clips, if it is not `length_s`.
        """
        p50_s, p95_s = (float(value) for value in np.percentile(runs_s, [50, 95]))
        std_s = float(np.std(runs_s, ddof=1)) if len(runs_s) > 1 else 0.0
        return cls(length_s, float(np.mean(runs_s)), std_s, p50_s, p95_s, (audio_s or length_s) / p50_s, tuple(runs_s))


@dataclass
class EngineFigures:
    """The measurements of one engine. Missing ones are None, or not in the list; `errors` says why.

    load_s: time to load, from a bare interpreter, imports included. start_bytes, loaded_bytes, peak_bytes: resident
    memory of the engine's process before loading, after loading, and at its peak. service_peak_bytes: peak memory of
    the whole service on this engine. latencies: one for each clip length. wide: seconds of audio per second, with one
    call at a time on all threads. narrow: the same with several single-thread calls at once. agreement: share of
    frames or tokens that are those of the reference engine.
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
    wer: "ErrorRate | None" = None
    cer: "ErrorRate | None" = None
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


def fastest(engines: Mapping[str, EngineFigures], keys: Sequence[str], length_s: float) -> EngineFigures | None:
    """The engine of these keys with the lowest median latency at this length; None if none was measured."""
    measured = [(latency.p50_s, key) for key in keys if key in engines and (latency := engines[key].at(length_s))]
    return engines[min(measured)[1]] if measured else None


def fastest_own(engines: Mapping[str, EngineFigures], length_s: float) -> list[KeyFigure]:
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
