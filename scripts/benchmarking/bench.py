"""What a benchmark compares, for each model family."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from app.families import Family
from scripts.benchmarking.baselines import Baseline
from scripts.benchmarking.engine_figures import EngineFigures, fastest
from scripts.common.report import KeyFigure


@dataclass(frozen=True)
class Base:
    """An engine to divide latencies by. engines: keys, of which the fastest engine counts."""

    key: str
    title: str
    engines: tuple[str, ...]

    def of(self, engines: Mapping[str, EngineFigures], length_s: float) -> EngineFigures | None:
        """The figures of that engine; None if none was measured."""
        return fastest(engines, self.engines, length_s)


@dataclass(frozen=True)
class Bench:
    """The benchmark of a model family.

    family: as in `EngineSpec`. baselines: all of them, in the order in which they are made. steps: what outputs consist
    of, such as "frames". bases: the ratios in the report. key_figures: the comparisons of Dikte's engines with the
    others, as far as both were measured, given engine figures by key and the measured clip lengths. steps_of: makes a
    function that turns the output of an engine into steps. agreement: number of equal steps of two outputs, and number
    of all.
    """

    family: str
    baselines: tuple[Baseline, ...]
    steps: str
    bases: tuple[Base, ...]
    key_figures: Callable[[Mapping[str, EngineFigures], Sequence[float]], list[KeyFigure]]
    steps_of: Callable[[Family], Callable[[Any], Sequence[int]]]
    agreement: Callable[[Sequence[int], Sequence[int]], tuple[int, int]]
