"""The measurements of a benchmark: engines in child processes take turns at latency, throughput and errors."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any, Self

from tqdm import tqdm

from app.families import Family
from app.recognizer import Samples
from scripts.benchmarking.bench import Bench
from scripts.benchmarking.benchmark_clips import Clips
from scripts.benchmarking.engine_figures import EngineFigures, Latency
from scripts.benchmarking.engines import EngineSpec
from scripts.benchmarking.process import EngineFailed, EngineProcess
from scripts.benchmarking.service_memory import service_peak_bytes
from scripts.common.service_process import ServiceError
from scripts.speech.scoring import ClipErrors, character_error_rate, count_errors, word_error_rate

if TYPE_CHECKING:
    from scripts.speech.rows import SpeechRows

SERVICE_REQUESTS = 3
"""Uploads of each client when the memory of the service is measured. It no longer grows after the first."""
CLIPS_AT_ONCE = 16
"""Clips that are decoded and sent to one engine after the other when errors are counted."""


class Engines:
    """Engines in child processes. Each runs from `load` to the end of the `with` block.

    When an engine fails, its error is added to its figures, its process ends, and it is no longer in `running`.
    """

    def __init__(
        self,
        figures: dict[str, EngineFigures],
        threads: int,
        callers: int,
        start: Callable[[EngineSpec, int, int], EngineProcess] = EngineProcess,
    ) -> None:
        self._figures, self._threads, self._callers, self._start = figures, threads, callers, start
        self._processes: dict[str, EngineProcess] = {}
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def running(self) -> list[str]:
        """Keys of the engines that have not failed."""
        return list(self._processes)

    @contextmanager
    def turn_of(self, key: str) -> Iterator[EngineProcess]:
        """`with engines.turn_of(key) as engine`: if the engine fails, the rest of the block is skipped."""
        try:
            yield self._processes[key]
        except EngineFailed as error:
            self._figures[key].errors.append(str(error))
            self._processes.pop(key).close()

    def load(self, spec: EngineSpec) -> None:
        """Start a process and load the engine in it. Records load time and memory, unless they are recorded already."""
        for path in spec.files:
            _read_through(path)  # so that every engine loads from the page cache
        self._processes[spec.key] = self._stack.enter_context(self._start(spec, self._threads, self._callers))
        figures = self._figures[spec.key]
        with self.turn_of(spec.key) as engine:
            engine.modules()
            start_bytes, load_s, loaded_bytes = engine.resident_bytes, engine.load(), engine.resident_bytes
            if figures.load_s is None:
                figures.start_bytes, figures.load_s, figures.loaded_bytes = start_bytes, load_s, loaded_bytes


def _read_through(path: Path) -> None:
    with path.open("rb") as file:
        while file.read(1 << 24):
            pass


def measure_latencies(
    engines: Engines, clips: Clips, runs: int, warm_up: int, random: Random, rate_hz: int
) -> dict[str, list[Latency]]:
    """Engine -> its latency for each length.

    In each round and for each length, all engines take turns at one clip, in a new random order every time; the next
    round takes the next clip. The first `warm_up` rounds do not count.
    """
    taken_s: dict[str, dict[float, list[float]]] = {key: {} for key in engines.running}
    rounds = warm_up + runs
    with tqdm(total=rounds * len(clips) * len(engines.running), unit="call", disable=None) as progress:
        for number in range(rounds):
            for length_s, of_length in clips.items():
                samples = of_length[number % len(of_length)]
                order = engines.running
                random.shuffle(order)
                for key in order:
                    with engines.turn_of(key) as engine:
                        call_s = engine.latency_s(samples)
                        if number >= warm_up:
                            taken_s[key].setdefault(length_s, []).append(call_s)
                    progress.update()
    mean_s = {length_s: sum(map(len, of_length)) / len(of_length) / rate_hz for length_s, of_length in clips.items()}
    return {
        key: [Latency.of(length_s, calls, mean_s[length_s]) for length_s, calls in by_length.items()]
        for key, by_length in taken_s.items()
    }


def measure_throughput(engines: Engines, clips: Sequence[Samples], seconds: float, rate_hz: int) -> dict[str, float]:
    """Engine -> seconds of audio per second of wall time, when it computes these clips repeatedly for `seconds`."""
    rates = {}
    for key in tqdm(engines.running, unit="engine", disable=None):
        with engines.turn_of(key) as engine:
            rates[key] = engine.throughput(clips, seconds) / rate_hz
    return rates


def compute_steps(
    engines: Engines, clips: Sequence[Samples], steps_of: Callable[[Any], Sequence[int]]
) -> dict[str, list[Sequence[int]]]:
    """Engine -> the steps of its output for each clip, as `Bench.steps_of` has them."""
    steps: dict[str, list[Sequence[int]]] = {}
    for key in tqdm(engines.running, unit="engine", disable=None):
        with engines.turn_of(key) as engine:
            steps[key] = [steps_of(engine.output(samples)) for samples in clips]
    return steps


def agreement(bench: Bench, reference: Sequence[Sequence[int]], others: Sequence[Sequence[int]]) -> float:
    """Share of equal steps. reference, others: the steps of the same clips, in the same order."""
    counts = [bench.agreement(ours, theirs) for ours, theirs in zip(reference, others, strict=True)]
    return sum(same for same, _ in counts) / max(1, sum(total for _, total in counts))


def measure_errors(
    engines: Engines, figures: dict[str, EngineFigures], family: Family, rows: "SpeechRows", language: str
) -> None:
    """Record the word and character error rates of all engines on these rows."""
    from scripts.speech.eval_sets import normalizer_for  # needs `datasets`, which the other measurements do not

    normalizer = normalizer_for(family, language)
    errors: dict[str, list[ClipErrors]] = {key: [] for key in engines.running}
    with tqdm(total=len(rows) * len(errors), unit="clip", disable=None) as progress:
        for start in range(0, len(rows), CLIPS_AT_ONCE):
            chunk = range(start, min(start + CLIPS_AT_ONCE, len(rows)))
            clips = [rows.samples(index, family.rate_hz) for index in chunk]
            references = [normalizer(rows.text(index)) for index in chunk]
            for key in engines.running:
                with engines.turn_of(key) as engine:
                    hypotheses = [normalizer(text) for text in engine.texts(clips)]
                    errors[key] += map(count_errors, references, hypotheses)
                progress.update(len(chunk))
    for key in engines.running:
        figures[key].wer, figures[key].cer = word_error_rate(errors[key]), character_error_rate(errors[key])
        figures[key].clips = len(rows)


def measure_service(figures: EngineFigures, spec: EngineSpec, samples: Samples, rate_hz: int, callers: int) -> None:
    """Record the peak memory of the whole service on this engine."""
    try:
        figures.service_peak_bytes = service_peak_bytes(
            spec.backend, spec.settings, samples, rate_hz, callers, SERVICE_REQUESTS
        )
    except (OSError, ServiceError) as error:
        figures.errors.append(f"the service on this engine: {error}")
