"""The figures of a load test, from the service's own `/metrics`."""

import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Self

from prometheus_client.parser import text_string_to_metric_families

STAGES = ("decode", "queue", "inference", "total")

Labels = frozenset[tuple[str, str]]
Metrics = Mapping[tuple[str, Labels], float]
"""(name, labels) -> value."""


def scrape(url: str) -> dict[tuple[str, Labels], float]:
    """The current metrics of a service. Empty if it has no `/metrics`."""
    try:
        with urllib.request.urlopen(f"{url}/metrics", timeout=10) as page:  # noqa: S310  # the service under test
            return parse_metrics(page.read().decode())
    except OSError:
        return {}


def parse_metrics(text: str) -> dict[tuple[str, Labels], float]:
    """Parse the text format of Prometheus."""
    return {
        (sample.name, frozenset(sample.labels.items())): float(sample.value)
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def labels(**values: str) -> Labels:
    """The labels of one time series."""
    return frozenset(values.items())


def increase(before: Metrics, after: Metrics, name: str, **of: str) -> float:
    """The increase of a counter between two scrapes. A missing counter counts as 0. of: labels of the time series."""
    key = name, labels(**of)
    return after.get(key, 0.0) - before.get(key, 0.0)


@dataclass(frozen=True)
class Histogram:
    """The observations of a Prometheus histogram between two scrapes.

    buckets: (upper bound, number of observations up to it), in ascending order. total: sum of all observations.
    """

    buckets: tuple[tuple[float, float], ...]
    total: float

    @classmethod
    def between(cls, before: Metrics, after: Metrics, name: str, **of: str) -> Self:
        """The observations of a metric between two scrapes. Empty if the metric does not exist."""
        wanted = labels(**of)
        bounds = {
            float(dict(series)["le"]): series
            for sample, series in after
            if sample == f"{name}_bucket" and wanted <= series
        }
        counts = ((bound, dict(bounds[bound])) for bound in sorted(bounds))
        buckets = tuple((bound, increase(before, after, f"{name}_bucket", **series)) for bound, series in counts)
        return cls(buckets, increase(before, after, f"{name}_sum", **of))

    @property
    def count(self) -> float:
        """Number of observations."""
        return self.buckets[-1][1] if self.buckets else 0.0

    @property
    def mean(self) -> float:
        """Mean of the observations; NaN without any."""
        return self.total / self.count if self.count else float("nan")

    def quantile(self, share: float) -> float:
        """The quantile `share` (0 to 1), interpolated linearly within its bucket; NaN without observations.

        The same as `histogram_quantile` of Prometheus: a quantile above the last finite bound is that bound.
        """
        rank = share * self.count
        if not self.count:
            return float("nan")
        for (low, below), (high, up_to) in pairwise([(0.0, 0.0), *self.buckets]):
            if up_to >= rank and up_to > below:
                return low if high == float("inf") else low + (high - low) * (rank - below) / (up_to - below)
        return self.buckets[-1][0]


@dataclass(frozen=True)
class ServerFigures:
    """The figures from `/metrics` for the time between two scrapes. Times are in seconds.

    stages: name of a stage -> its durations. audio_s_per_s: seconds of transcribed audio per second. rtfx: seconds of
    audio per second of an engine call. busy_workers: mean number of concurrent engine calls. batch_windows: mean number
    of windows per engine call. outcomes: outcome -> number of requests. audio_s_per_cpu_s: seconds of transcribed audio
    per CPU second of the service's process, decoding and HTTP included. Unlike the others, that figure hardly depends
    on other programs that use the cores.
    """

    stages: dict[str, Histogram]
    audio_s_per_s: float
    rtfx: float
    busy_workers: float
    batch_windows: float
    outcomes: dict[str, int]
    audio_s_per_cpu_s: float

    @classmethod
    def between(cls, before: Metrics, after: Metrics, seconds: float) -> Self | None:
        """The figures for two scrapes that are `seconds` apart. None if the service does not have Dikte's metrics."""
        if not any(name.startswith("dikte_") for name, _ in after):
            return None
        busy_s = increase(before, after, "dikte_engine_busy_seconds_total")
        cpu_s = increase(before, after, "process_cpu_seconds_total")
        audio_s = increase(before, after, "dikte_audio_seconds_total", outcome="transcribed")
        outcomes = {
            dict(series)["outcome"]: int(increase(before, after, name, **dict(series)))
            for name, series in after
            if name == "dikte_requests_total"
        }
        return cls(
            {stage: Histogram.between(before, after, "dikte_stage_seconds", stage=stage) for stage in STAGES},
            audio_s / seconds,
            increase(before, after, "dikte_engine_audio_seconds_total") / busy_s if busy_s else float("nan"),
            busy_s / seconds,
            Histogram.between(before, after, "dikte_batch_windows").mean,
            {outcome: count for outcome, count in outcomes.items() if count},
            audio_s / cpu_s if cpu_s else float("nan"),
        )
