"""The setup and the results of one run of the benchmark."""

from dataclasses import dataclass

from scripts.benchmarking.bench import Bench
from scripts.benchmarking.engine_figures import EngineFigures, ratio, reference_length_s
from scripts.common.machine import Machine
from scripts.common.report import KeyFigure


@dataclass(frozen=True)
class Setup:
    """The options of the run."""

    threads: int
    callers: int
    runs: int
    warm_up: int
    lengths_s: tuple[float, ...]
    throughput_s: float
    seed: int
    sound: str
    reference: str
    """Key of the engine whose outputs the others are compared with."""
    evaluated: str = ""
    language: str = ""
    clips: tuple["ClipsOfLength", ...] = ()


@dataclass(frozen=True)
class ClipsOfLength:
    """The clips that stand for one length: their number, and means of their duration and of the reference's steps."""

    length_s: float
    count: int
    mean_s: float
    mean_steps: float


@dataclass(frozen=True)
class Results:
    """The results of one run of the benchmark. engines: key -> figures."""

    bench: Bench
    setup: Setup
    machine: Machine
    engines: dict[str, EngineFigures]
    missing: dict[str, str]
    """Title of an engine that was not measured at all -> reason."""

    @property
    def length_s(self) -> float:
        """The clip length at which engines are compared."""
        return reference_length_s(self.setup.lengths_s)

    def ratios(self, length_s: float) -> dict[str, dict[str, float | None]]:
        """Engine -> base -> its median latency divided by that of the base."""
        bases = {base.key: base.of(self.engines, length_s) for base in self.bench.bases}
        return {
            key: {name: ratio(figures, base, length_s) for name, base in bases.items()}
            for key, figures in self.engines.items()
        }

    def key_figures(self) -> list[KeyFigure]:
        """The comparisons of Dikte's engines with the others, as far as both were measured."""
        return self.bench.key_figures(self.engines, self.setup.lengths_s)
