"""Made-up figures of engines."""

from scripts.benchmarking.engine_figures import EngineFigures, Latency
from scripts.speech.scoring import ErrorRate


def engine(key: str, p50_s: float = 1.0, own: bool = True, length_s: float = 10.0, **more: object) -> EngineFigures:
    figures = EngineFigures(key, key.upper(), own, size_bytes=1000, latencies=[Latency.of(length_s, [p50_s] * 3)])
    for name, value in more.items():
        setattr(figures, name, value)
    return figures


def engines(*all_: EngineFigures) -> dict[str, EngineFigures]:
    return {figures.key: figures for figures in all_}


def rate(rate: float) -> ErrorRate:
    return ErrorRate(rate, rate - 0.01, rate + 0.01)
