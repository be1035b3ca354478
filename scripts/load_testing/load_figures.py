"""The figures of a load test as the clients saw it."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Self

import numpy as np

from scripts.load_testing.answers import Answer


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


def median_of_ratios(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """The median over rounds of what was measured in turn: a slow moment of the machine hits both sides of a round."""
    return median(our / their for our, their in zip(ours, theirs, strict=True))
