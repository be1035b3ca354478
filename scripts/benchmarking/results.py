"""The setup and the results of one run of the benchmark."""

from dataclasses import dataclass

from app.runtimes.registry import REFERENCE
from scripts.benchmarking.engine_figures import EngineFigures, plain_int8, ratio, reference_length_s
from scripts.common.machine import Machine


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
    clip: str
    reference: str
    """Key of the engine whose frames the others are compared with."""
    evaluated: str = ""


@dataclass(frozen=True)
class Results:
    """The results of one run of the benchmark. engines: key -> figures."""

    setup: Setup
    machine: Machine
    engines: dict[str, EngineFigures]
    missing: dict[str, str]
    """Title of an engine that was not measured at all -> reason."""

    @property
    def length_s(self) -> float:
        """The clip length at which engines are compared."""
        return reference_length_s(self.setup.lengths_s)

    def ratios(self) -> dict[str, dict[str, float | None]]:
        """Engine -> its median latency divided by that of PyTorch, and by that of plain MatMul-only INT8."""
        bases = {REFERENCE: self.engines.get(REFERENCE), "plain_int8": plain_int8(self.engines, self.length_s)}
        return {
            key: {name: ratio(figures, base, self.length_s) for name, base in bases.items()}
            for key, figures in self.engines.items()
        }
