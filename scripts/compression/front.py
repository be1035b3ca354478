"""The points of a study with their figures, the front among them, and the choice of a point by a rule."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

from scripts.compression.plan import TEACHER
from scripts.compression.students_of_teacher import StudyError

NEAR_POINTS = 0.5
"""The named points may have a WER this many points above that of the teacher."""


@dataclass(frozen=True)
class Rate:
    """A share with the bounds of its 95 % interval; 0.1 is 10 %."""

    rate: float
    low: float
    high: float

    def points(self) -> str:
        """As a difference in percentage points."""
        return f"{100 * self.rate:+.1f} ({100 * self.low:+.1f} to {100 * self.high:+.1f})"

    def __str__(self) -> str:
        return f"{self.rate:.1%} ({self.low:.1%} to {self.high:.1%})"


@dataclass(frozen=True)
class OnSet:
    """The figures of a point in INT8 on one set.

    increase: of the WER to that of the teacher, with the interval of the paired bootstrap. deletions: share of the
    reference words. empty: number of clips with words and without output.
    """

    clips: int
    wer: Rate
    cer: Rate
    increase: Rate
    deletions: float
    empty: int

    @classmethod
    def of_json(cls, content: Mapping[str, Any]) -> Self:
        """The figures in `front.json`."""
        return cls(**{**content, **{rate: Rate(**content[rate]) for rate in ("wer", "cer", "increase")}})


@dataclass(frozen=True)
class Speed:
    """Latency of a clip in seconds, and peak memory of the engine's process in bytes."""

    mean_s: float
    std_s: float
    p50_s: float
    p95_s: float
    peak_bytes: int


@dataclass(frozen=True)
class FrontPoint:
    """A point of a study. What was not measured is None or missing.

    artifact: its folder, relative to that of the study. unproven: why the service refuses it; None if it is proven.
    steps, steps_done: of the training, planned and done; 0 for the teacher. size_bytes, gzip_bytes: of the INT8 file.
    speed, openvino: on ONNX Runtime INT8, and on OpenVINO INT8. sets: by name, the deciding one first. greedy: the same
    without the language model; empty if there is none. fp32_wer: of the file in float32, on the deciding set.
    """

    name: str
    role: str
    what: str
    artifact: str
    unproven: str | None
    weight_bits: int
    parameters: int
    size_bytes: int
    gzip_bytes: int
    steps: int = 0
    steps_done: int = 0
    speed: Speed | None = None
    openvino: Speed | None = None
    sets: Mapping[str, OnSet] = field(default_factory=dict)
    greedy: Mapping[str, OnSet] = field(default_factory=dict)
    fp32_wer: Rate | None = None

    @property
    def first(self) -> OnSet | None:
        """The figures on the set that decides."""
        return next(iter(self.sets.values()), None)

    @classmethod
    def of_json(cls, content: Mapping[str, Any]) -> Self:
        """The point in `front.json`."""
        values = {name: value for name, value in content.items() if name in cls.__dataclass_fields__}
        for name in ("speed", "openvino"):
            values[name] = None if values[name] is None else Speed(**values[name])
        values["fp32_wer"] = None if values["fp32_wer"] is None else Rate(**values["fp32_wer"])
        for name in ("sets", "greedy"):
            values[name] = {key: OnSet.of_json(figures) for key, figures in values.get(name, {}).items()}
        return cls(**values)


def front_of(points: Sequence[FrontPoint]) -> list[str]:
    """The names of the points that no other one beats: none is as fast and has as low a WER, and is better in one."""
    known = [(one.speed.p50_s, one.first.wer.rate, one.name) for one in points if one.speed and one.first]
    return [
        name
        for time_s, wer, name in known
        if not any(
            other_s <= time_s and other_wer <= wer and (other_s, other_wer) != (time_s, wer)
            for other_s, other_wer, _ in known
        )
    ]


def named_points(points: Sequence[FrontPoint]) -> dict[str, str]:
    """Title -> name of the point: the fastest and the smallest near the teacher, and the most exact one.

    Only proven points count. Without measurements, there are none.
    """
    proven = [one for one in points if one.unproven is None and one.speed and one.first]
    near = [one for one in proven if one.first and 100 * one.first.increase.rate <= NEAR_POINTS]
    found = {}
    if near:
        found[f"fastest within +{NEAR_POINTS} points"] = min(
            near, key=lambda one: one.speed.p50_s if one.speed else 0
        ).name
        found[f"smallest within +{NEAR_POINTS} points"] = min(near, key=lambda one: one.size_bytes).name
    if proven:
        found["most exact"] = min(proven, key=lambda one: one.first.wer.rate if one.first else 1).name
    return found


@dataclass(frozen=True)
class Condition:
    """One condition of a rule. figure: key of `FIGURES`. relative: to the teacher. limit: in the figure's own unit."""

    figure: str
    relative: bool
    limit: float

    def __str__(self) -> str:
        return f"{self.figure}<={'+' if self.relative else ''}{self.limit:g}"


FIGURES: Mapping[str, Callable[[FrontPoint], float | None]] = {
    "wer": lambda point: 100 * point.first.wer.rate if point.first else None,
    "cer": lambda point: 100 * point.first.cer.rate if point.first else None,
    "latency_ms": lambda point: 1000 * point.speed.p50_s if point.speed else None,
    "size_mb": lambda point: point.size_bytes / 1e6,
}
"""Name in a rule -> the figure of a point: percent, milliseconds, megabytes."""
RELATIVE = frozenset({"wer", "cer"})
CONDITION = re.compile(r"\s*([a-z_]+)\s*<=\s*(\+?)(\d+(?:\.\d+)?)\s*")


def parse_rule(text: str) -> list[Condition]:
    """The conditions of a rule such as `wer<=+0.5`, `latency_ms<=60` or `wer<=+1,size_mb<=30`. All have to hold.

    With a plus, the limit is a number of points above the teacher; without, it is the figure itself, in percent,
    milliseconds or megabytes. Raises ValueError for any other text.
    """
    found = []
    for part in text.split(","):
        match = CONDITION.fullmatch(part)
        if match is None:
            raise ValueError(f"{part.strip()!r} is not a condition such as wer<=+0.5, latency_ms<=60 or size_mb<=30")
        figure, plus, limit = match.groups()
        if figure not in FIGURES:
            raise ValueError(f"there is no figure {figure!r}; there are {', '.join(FIGURES)}")
        if plus and figure not in RELATIVE:
            raise ValueError(f"only {' and '.join(sorted(RELATIVE))} are compared with the teacher (+), not {figure}")
        found.append(Condition(figure, bool(plus), float(limit)))
    return found


def pick(points: Sequence[FrontPoint], rule: Sequence[Condition]) -> FrontPoint:
    """The fastest proven point that fulfils all conditions. Raises StudyError if there is none."""
    teacher = next((one for one in points if one.name == TEACHER), None)
    fitting = [
        one
        for one in points
        if one.unproven is None and one.speed and all(fulfils(one, teacher, part) for part in rule)
    ]
    if not fitting:
        text = ",".join(map(str, rule))
        best = ""
        proven = [one for one in points if one.unproven is None and one.speed]
        for part in rule:
            values = [value for one in proven if (value := value_of(one, teacher, part)) is not None]
            if values:
                best += f"; the lowest {part.figure} of a proven point is {'+' * part.relative}{min(values):.2f}"
        raise StudyError(f"no proven point fulfils {text}{best}")
    return min(fitting, key=lambda one: one.speed.p50_s if one.speed else 0)


def value_of(point: FrontPoint, teacher: FrontPoint | None, condition: Condition) -> float | None:
    """The figure that a condition limits; None if it was not measured."""
    value = FIGURES[condition.figure](point)
    if not condition.relative:
        return value
    base = None if teacher is None else FIGURES[condition.figure](teacher)
    return None if value is None or base is None else value - base


def fulfils(point: FrontPoint, teacher: FrontPoint | None, condition: Condition) -> bool:
    """Whether a point fulfils a condition. One that was not measured does not."""
    value = value_of(point, teacher, condition)
    return value is not None and value <= condition.limit + 1e-9
