"""The figures of a load test, measured by its clients."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Self

import numpy as np

from scripts.load_testing.answers import Answer


@dataclass(frozen=True)
class LoadFigures:
    """The figures of a time window in which all users were active. Times are in seconds.

    answered: number of correct answers. rps: answered requests per second. audio_s_per_s: seconds of audio in answered
    requests, per second. p50_s, p95_s, p99_s: latency of answered requests (NaN without any). refused_p95_s: latency of
    refusals. failed: outcome -> number of requests that were neither answered nor refused. queue_s, inference_s,
    decode_s: medians of the times that the answers report. sent_bytes: of all requests, answered or not.
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
        """Number of requests that were neither answered nor refused."""
        return sum(self.failed.values())

    @classmethod
    def of(cls, answers: Iterable[Answer], begin_s: float, end_s: float) -> Self:
        """The figures of the answers that were complete between `begin_s` and `end_s`, in seconds since the epoch.

        A request that started before `begin_s` counts fully, and one that ends after `end_s` does not count. On average
        these errors cancel.
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
        """Format -> the figures of its answers. Arguments as in `of`."""
        every = list(answers)
        formats = dict.fromkeys(answer.format for answer in every)
        return {name: cls.of((answer for answer in every if answer.format == name), begin_s, end_s) for name in formats}


def percentiles(values: Sequence[float], *ranks: float) -> list[float]:
    """The percentiles with these ranks (0 to 100). NaN without values."""
    return [float(value) for value in np.percentile(values, ranks)] if len(values) else [float("nan")] * len(ranks)


def _median(values: Iterable[float | None]) -> float:
    """The median of the values that are not None. NaN without any."""
    return percentiles([value for value in values if value is not None], 50)[0]


def median_of_ratios(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """The median of the ratios of each round. A slow moment of the machine affects both sides of a round."""
    return median(our / their for our, their in zip(ours, theirs, strict=True))
