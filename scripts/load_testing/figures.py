"""The figures of a load test: what the clients saw, what the service says itself, and how much it can take."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median
from typing import Self

import numpy as np
from prometheus_client.parser import text_string_to_metric_families

from scripts.load_testing.answers import Answer

STAGES = ("decode", "queue", "inference", "total")
CAPACITY_STEP = 0.05
"""Capacity is searched until the next step would be less than this share of it."""

Labels = frozenset[tuple[str, str]]
Metrics = Mapping[tuple[str, Labels], float]
"""(name, labels) -> value, as `/metrics` gave it."""


@dataclass(frozen=True)
class LoadFigures:
    """What clients saw between two moments, both with all users at work. Times in seconds.

    answered: the right text came. rps: answered requests, and audio_s_per_s: their sound, each per second. p50_s to
    p99_s: latency of answered requests (NaN where there were none). failed: not answered and not refused, by outcome.
    refused_p95_s: how long refused clients had to wait to hear it. queue_s, inference_s, decode_s: medians as the
    answers say. sent_bytes: of all requests, answered or not.
    """

    window_s: float
    answered: int
    rps: float
    audio_s_per_s: float
    p50_s: float
    p95_s: float
    p99_s: float
    refused: int
    refused_p95_s: float
    failed: dict[str, int]
    queue_s: float
    inference_s: float
    decode_s: float = float("nan")
    sent_bytes: int = 0

    @property
    def failures(self) -> int:
        """Requests that were neither answered nor refused."""
        return sum(self.failed.values())

    @classmethod
    def of(cls, answers: Iterable[Answer], begin_s: float, end_s: float) -> Self:
        """Of the answers that ended from `begin_s` to `end_s`.

        A clip that was begun before counts whole, one that is not finished not at all: on the whole that evens out.
        """
        inside = [answer for answer in answers if begin_s <= answer.ended_s <= end_s]
        good = [answer for answer in inside if answer.ok]
        refused = [answer for answer in inside if answer.refused]
        window_s = end_s - begin_s
        p50_s, p95_s, p99_s = percentiles([answer.latency_s for answer in good], 50, 95, 99)
        return cls(
            window_s=window_s,
            answered=len(good),
            rps=len(good) / window_s,
            audio_s_per_s=sum(answer.audio_s for answer in good) / window_s,
            p50_s=p50_s,
            p95_s=p95_s,
            p99_s=p99_s,
            refused=len(refused),
            refused_p95_s=percentiles([answer.latency_s for answer in refused], 95)[0],
            failed=dict(Counter(answer.outcome for answer in inside if answer.failed)),
            queue_s=_median([answer.queue_s for answer in good]),
            inference_s=_median([answer.inference_s for answer in good]),
            decode_s=_median([answer.decode_s for answer in good]),
            sent_bytes=sum(answer.sent_bytes for answer in inside),
        )

    @classmethod
    def by_format(cls, answers: Iterable[Answer], begin_s: float, end_s: float) -> dict[str, Self]:
        """The same for each format that was sent."""
        every = list(answers)
        formats = dict.fromkeys(answer.format for answer in every)
        return {name: cls.of((answer for answer in every if answer.format == name), begin_s, end_s) for name in formats}


def percentiles(values: Sequence[float], *ranks: float) -> list[float]:
    """The percentiles of these ranks (0 to 100); NaN where there are no values."""
    return [float(value) for value in np.percentile(values, ranks)] if len(values) else [float("nan")] * len(ranks)


def _median(values: Iterable[float | None]) -> float:
    """Of the values that are there; NaN without any."""
    return percentiles([value for value in values if value is not None], 50)[0]


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


@dataclass(frozen=True)
class Step:
    """What came of a number of users."""

    users: int
    figures: LoadFigures

    def within(self, p95_limit_s: float) -> bool:
        """Whether everybody was answered, rightly, and 95 % of them in time."""
        figures = self.figures
        return bool(figures.answered) and not figures.failed and not figures.refused and figures.p95_s <= p95_limit_s


def find_capacity(
    measure: Callable[[int], LoadFigures], p95_limit_s: float, most_users: int
) -> tuple[list[Step], Step | None]:
    """Step the users up until their p95 passes the limit: by doubling, and then by halving what is left between.

    A refusal or a failure counts as passing too. Returns all steps in the order they were measured, and that with the
    most users within the limit; None if one user is too many.
    """
    steps: list[Step] = []

    def keeps(users: int) -> bool:
        steps.append(Step(users, measure(users)))
        return steps[-1].within(p95_limit_s)

    most, too_many = 0, 1
    while too_many <= most_users and keeps(too_many):
        most, too_many = too_many, max(too_many + 1, min(2 * too_many, most_users))
    while too_many <= most_users and too_many - most > max(1, CAPACITY_STEP * most):
        middle = (most + too_many) // 2
        most, too_many = (middle, too_many) if keeps(middle) else (most, middle)
    return steps, next((step for step in steps if step.users == most), None)


def median_of_ratios(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """The median over rounds of what was measured in turn: a slow moment of the machine hits both sides of a round."""
    return median(our / their for our, their in zip(ours, theirs, strict=True))
