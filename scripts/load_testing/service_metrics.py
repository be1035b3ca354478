"""The figures of a load test as the service's own `/metrics` have them."""

import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Self

from prometheus_client.parser import text_string_to_metric_families

STAGES = ("decode", "queue", "inference", "total")

Labels = frozenset[tuple[str, str]]
Metrics = Mapping[tuple[str, Labels], float]
"""(name, labels) -> value, as `/metrics` gave it."""


def scrape(url: str) -> dict[tuple[str, Labels], float]:
    """What `/metrics` says now; nothing where there is no such page."""
    try:
        with urllib.request.urlopen(f"{url}/metrics", timeout=10) as page:  # noqa: S310  # the service under test
            return parse_metrics(page.read().decode())
    except OSError:
        return {}


def parse_metrics(text: str) -> dict[tuple[str, Labels], float]:
    """Prometheus' text format -> (name, labels) -> value."""
    return {
        (sample.name, frozenset(sample.labels.items())): float(sample.value)
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def labels(**values: str) -> Labels:
    """The labels of one time series."""
    return frozenset(values.items())


def increase(before: Metrics, after: Metrics, name: str, **of: str) -> float:
    """By how much a counter grew; one that was not there before was 0."""
    key = name, labels(**of)
    return after.get(key, 0.0) - before.get(key, 0.0)


@dataclass(frozen=True)
class Histogram:
    """Observations of a Prometheus histogram between two scrapes. buckets: (upper bound, observations up to it)."""

    buckets: tuple[tuple[float, float], ...]
    total: float

    @classmethod
    def between(cls, before: Metrics, after: Metrics, name: str, **of: str) -> Self:
        """What was observed between two scrapes; without the metric, nothing."""
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
        """How many observations."""
        return self.buckets[-1][1] if self.buckets else 0.0

    @property
    def mean(self) -> float:
        """NaN without observations."""
        return self.total / self.count if self.count else float("nan")

    def quantile(self, share: float) -> float:
        """The value that `share` (0 to 1) of the observations keep below, on a straight line within its bucket.

        As Prometheus' `histogram_quantile` has it: beyond the last finite bound that bound; NaN without observations.
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
    """What the service's own `/metrics` say of the time between two scrapes. Times in seconds.

    stages: name -> what was observed of it. audio_s_per_s: sound transcribed. rtfx: seconds of sound that a worker's
    second of engine computes. busy_workers: engine calls at work on average. outcomes: requests by what became of them.
    audio_s_per_cpu_s: sound that a second of a core's time in the service's process transcribes, decoding and HTTP
    included; unlike the others it is hardly less where other programs use the cores, too.
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
        """The figures of `seconds` between two scrapes; None if the service has no such metrics."""
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
