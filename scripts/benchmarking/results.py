"""All that one run of the benchmark found."""

from dataclasses import dataclass

from app.runtimes.registry import REFERENCE
from scripts.benchmarking.engine_figures import EngineFigures, plain_int8, ratio, reference_length_s
from scripts.common.machine import Machine


@dataclass(frozen=True)
class Setup:
    """How it was measured: the options of the command as they were understood."""

    threads: int
    callers: int
    runs: int
    warm_up: int
    lengths_s: tuple[float, ...]
    throughput_s: float
    seed: int
    clip: str
    reference: str
    """Key of the engine that frames are compared with."""
    evaluated: str = ""


@dataclass(frozen=True)
class Results:
    """All that one run of the benchmark found. engines: key -> figures."""

    setup: Setup
    machine: Machine
    engines: dict[str, EngineFigures]
    missing: dict[str, str]
    """Title -> why it could not be measured at all."""

    @property
    def length_s(self) -> float:
        """The clip length that engines are compared at."""
        return reference_length_s(self.setup.lengths_s)

    def ratios(self) -> dict[str, dict[str, float | None]]:
        """Engine -> median latency in units of PyTorch's, and of plain MatMul-only INT8's."""
        bases = {REFERENCE: self.engines.get(REFERENCE), "plain_int8": plain_int8(self.engines, self.length_s)}
        return {
            key: {name: ratio(figures, base, self.length_s) for name, base in bases.items()}
            for key, figures in self.engines.items()
        }
