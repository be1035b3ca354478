"""The latency of each backend for one clip, for the manifest. `benchmark.py` measures more thoroughly."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import median

from app.recognizer import AnyRecognizer, Samples, Window, compute_windows
from scripts.common.machine import processor

RUNS = 3
"""Measured runs after one warm-up run. Backends take turns, so that other load on the machine affects all of them."""


@dataclass(frozen=True)
class Latency:
    """Median latency of each backend for a clip of `clip_s` seconds, on `threads` threads of the processor `cpu`."""

    cpu: str
    threads: int
    clip_s: float
    median_s: dict[str, float]


def measure_latency(recognizers: Mapping[str, AnyRecognizer], samples: Samples, threads: int) -> Latency:
    """Run every backend on one clip, shape (samples,), float32. threads: the number with which they were loaded."""
    taken_s: dict[str, list[float]] = {backend: [] for backend in recognizers}
    for _ in range(1 + RUNS):
        for backend, recognizer in recognizers.items():
            begin = time.perf_counter()
            compute_windows(recognizer, [Window(samples)])
            taken_s[backend].append(time.perf_counter() - begin)
    medians_s = {backend: round(median(times_s[1:]), 5) for backend, times_s in taken_s.items()}
    rate_hz = next(iter(recognizers.values())).rate_hz
    return Latency(processor(), threads, len(samples) / rate_hz, medians_s)
