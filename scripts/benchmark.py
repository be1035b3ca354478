"""Compare engines side by side: size, load time, memory, latency, throughput, word error rate.

    python scripts/benchmark.py --checkpoint_dir cahya/wav2vec2-base-turkish --onnx_path models/onnx/model.onnx \\
      --onnx_int8_path models/onnx/model_int8.onnx --audio_path samples/sample.wav --runs 20

Every engine lives in a process of its own, and all of them take turns call by call, in an order drawn anew for every
round, so that the noise of the machine hits all alike. What others make of the same checkpoint is measured along
(`scripts/tools/baselines.py`; `--no-baselines` leaves it out). An engine that fails is reported and left out. Writes a
report, JSON and pictures into `artifacts/`; `docs/performance.md` explains them.
"""

import argparse
import shlex
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Self

import numpy as np
from tqdm import tqdm

from app.artifacts import ArtifactError
from app.audio import AudioLimits, decode
from app.cores import available_cores
from app.errors import AsrError
from app.families import Family
from app.families.ctc.decoding import Emissions
from app.families.ctc.recognizer import SILENCE_STD
from app.models import find_model_folder, open_model
from app.recognizer import Samples
from app.runtimes.registry import REFERENCE
from scripts.benchmarking.baselines import BASELINES, BaselineError, Source, have_baselines_made, source_of
from scripts.benchmarking.engines import OWN_ENGINES, EngineSpec, available, own_spec, pytorch_spec
from scripts.benchmarking.figures import EngineFigures, Latency, reference_length_s
from scripts.benchmarking.process import EngineFailed, EngineProcess
from scripts.benchmarking.report import Results, Setup, goals_table, write_report
from scripts.benchmarking.service import service_peak_bytes
from scripts.common.arguments import count, positive
from scripts.common.command import ending_cleanly
from scripts.common.machine import describe_machine

if TYPE_CHECKING:
    from scripts.speech.data import SpeechRows

CLIP_LIMITS = AudioLimits(max_duration_s=3600.0, max_decoded_bytes=1 << 30, max_channels=8)
SERVICE_REQUESTS = 3
"""Uploads of each client when the memory of the service is measured; it no longer grows after the first."""
CLIPS_AT_ONCE = 16
"""Clips decoded and handed to one engine after the other when errors are counted."""
BASELINES_FOLDER = "baselines"


class BenchmarkError(Exception):
    """Nothing can be measured; the message says why."""


class Engines:
    """Engines in processes of their own, from `load` to the end of the `with`.

    One that fails is noted in its figures, ended, and no longer among the `alive`.
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
    def alive(self) -> list[str]:
        """Keys of the engines that have not failed."""
        return list(self._processes)

    @contextmanager
    def turn_of(self, key: str) -> Iterator[EngineProcess]:
        """`with engines.turn_of(key) as engine`: what is asked inside; if the engine fails, the rest is left out."""
        try:
            yield self._processes[key]
        except EngineFailed as error:
            self._figures[key].errors.append(str(error))
            self._processes.pop(key).close()

    def load(self, spec: EngineSpec) -> None:
        """Start a process and load the engine in it. Its figures get load time and memory, unless they have them."""
        for path in spec.files:
            _read_through(path)  # all are loaded from the page cache alike
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
    engines: Engines, clips: dict[float, Samples], runs: int, warm_up: int, random: Random
) -> dict[str, list[Latency]]:
    """Engine -> its latency with each clip (length in seconds -> samples).

    Round by round, clip by clip, all engines take turns, in an order drawn anew each time. The first `warm_up` rounds
    do not count.
    """
    taken_s: dict[str, dict[float, list[float]]] = {key: {} for key in engines.alive}
    rounds = warm_up + runs
    with tqdm(total=rounds * len(clips) * len(engines.alive), unit="call", disable=None) as progress:
        for number in range(rounds):
            for length_s, samples in clips.items():
                order = engines.alive
                random.shuffle(order)
                for key in order:
                    with engines.turn_of(key) as engine:
                        call_s = engine.latency_s(samples)
                        if number >= warm_up:
                            taken_s[key].setdefault(length_s, []).append(call_s)
                    progress.update()
    return {
        key: [Latency.of(length_s, calls) for length_s, calls in by_length.items()]
        for key, by_length in taken_s.items()
    }


def measure_throughput(engines: Engines, clips: list[Samples], seconds: float, rate_hz: int) -> dict[str, float]:
    """Engine -> seconds of sound per second, computing these clips again and again for `seconds`."""
    rates = {}
    for key in tqdm(engines.alive, unit="engine", disable=None):
        with engines.turn_of(key) as engine:
            rates[key] = engine.throughput(clips, seconds) / rate_hz
    return rates


def measure_agreement(engines: Engines, clips: list[Samples]) -> dict[str, float]:
    """Engine -> share of frames in which its best token is that of the first engine."""
    said: dict[str, list[Emissions]] = {}
    for key in engines.alive:
        with engines.turn_of(key) as engine:
            said[key] = [engine.emissions(samples) for samples in clips]
    reference = next(iter(said.values()), [])
    return {key: agreement(reference, emissions) for key, emissions in said.items()}


def agreement(reference: Iterable[Emissions], other: Iterable[Emissions]) -> float:
    """Share of frames with the same best token. Both: emissions of the same clips, each (frames, vocabulary)."""
    same = [ours.argmax(axis=1) == theirs.argmax(axis=1) for ours, theirs in zip(reference, other, strict=True)]
    return float(np.concatenate(same).mean())


def load_rows(arguments: argparse.Namespace, rate_hz: int) -> "SpeechRows":
    """The rows of speech data to count errors on: its split `test`, else its first.

    Raises BenchmarkError, also for a clip that cannot be read: better now than when all else has been measured.
    """
    from scripts.speech.data import DataError
    from scripts.speech.eval_sets import load_eval_set

    try:
        rows = load_eval_set(arguments.evaluate, arguments.limit, None, arguments.audio_column, arguments.text_column)
        for index in range(len(rows)):
            rows.samples(index, rate_hz)
        return rows
    except DataError as error:
        raise BenchmarkError(str(error)) from error


def measure_errors(
    engines: Engines, figures: dict[str, EngineFigures], family: Family, rows: "SpeechRows", language: str
) -> None:
    """Put the word and character error rates on these rows into the figures."""
    from scripts.speech.eval_sets import normalizer_for
    from scripts.speech.scoring import ClipErrors, character_error_rate, count_errors, word_error_rate

    normalizer = normalizer_for(family, language)
    errors: dict[str, list[ClipErrors]] = {key: [] for key in engines.alive}
    with tqdm(total=len(rows) * len(errors), unit="clip", disable=None) as progress:
        for start in range(0, len(rows), CLIPS_AT_ONCE):
            chunk = range(start, min(start + CLIPS_AT_ONCE, len(rows)))
            clips = [rows.samples(index, family.rate_hz) for index in chunk]
            references = [normalizer(rows.text(index)) for index in chunk]
            for key in engines.alive:
                with engines.turn_of(key) as engine:
                    heard = [normalizer(text) for text in engine.texts(clips)]
                    errors[key] += map(count_errors, references, heard)
                progress.update(len(chunk))
    for key in engines.alive:
        figures[key].wer, figures[key].cer = word_error_rate(errors[key]), character_error_rate(errors[key])
        figures[key].clips = len(rows)


def measure_service(figures: EngineFigures, spec: EngineSpec, samples: Samples, rate_hz: int, callers: int) -> None:
    """Put the memory of the whole service on this engine into its figures."""
    try:
        figures.service_peak_bytes = service_peak_bytes(
            spec.backend, spec.settings, samples, rate_hz, callers, SERVICE_REQUESTS
        )
    except OSError as error:
        figures.errors.append(f"the service on it: {error}")


def read_clips(path: Path, lengths_s: list[float], rate_hz: int) -> dict[float, Samples]:
    """Clip length in seconds -> the file's sound, looped or cut to it. Raises BenchmarkError if it cannot be used."""
    try:
        with path.open("rb") as file:
            samples = decode(file, rate_hz, CLIP_LIMITS).samples
    except AsrError as error:
        raise BenchmarkError(f"{path}: {error.message}") from error
    except OSError as error:
        raise BenchmarkError(f"{path}: {error.strerror}") from error
    clips = {length_s: np.resize(samples, round(length_s * rate_hz)) for length_s in lengths_s}
    if any(clip.std() < SILENCE_STD for clip in clips.values()):
        raise BenchmarkError(f"{path} begins with silence, which no engine computes")
    return clips


@dataclass
class Plan:
    """What will be measured, and what cannot be: title -> reason."""

    specs: list[EngineSpec]
    missing: dict[str, str]


def plan_own_engines(arguments: argparse.Namespace, checkpoint: Path) -> Plan:
    """PyTorch, and each engine of Dikte whose file is named or lies beside a named one. Raises BenchmarkError."""
    plan = Plan([], {})
    named: dict[str, Path | None] = {
        engine.backend: getattr(arguments, f"{engine.backend}_path") for engine in OWN_ENGINES
    }
    folders = [path.parent for path in named.values() if path]
    try:
        plan.specs.append(pytorch_spec(checkpoint))
        for engine in OWN_ENGINES:
            beside = (folder / engine.file_name for folder in folders if engine.beside)
            path = named[engine.backend] or next((path for path in beside if path.is_file()), None)
            if path is None:
                continue
            if available(engine):
                plan.specs.append(own_spec(engine, path, checkpoint))
            else:
                plan.missing[engine.title] = f"not installed: {engine.needs}"
    except (FileNotFoundError, ValueError) as error:
        raise BenchmarkError(str(error)) from error
    return plan


def plan_baselines(source: Source, keys: list[str]) -> Plan:
    """Have the files of the named baselines made where they are missing, in a process that ends with its memory."""
    try:
        failed = have_baselines_made(source, keys)
    except BaselineError as error:
        raise BenchmarkError(f"{error}; --no-baselines leaves them out") from error
    wanted = [baseline for baseline in BASELINES if baseline.key in keys]
    return Plan(
        [baseline.spec(source) for baseline in wanted if baseline.key not in failed],
        {baseline.title: failed[baseline.key] for baseline in wanted if baseline.key in failed},
    )


def measure(arguments: argparse.Namespace, plan: Plan, checkpoint: Path) -> Results:
    """Measure all engines of a plan: first with the threads of `--threads` in one call, then single-thread calls."""
    family = open_model(checkpoint).family
    rate_hz = family.rate_hz
    clips = read_clips(arguments.audio_path, sorted(set(arguments.lengths_s)), rate_hz)
    rows = load_rows(arguments, rate_hz) if arguments.evaluate else None
    sounds = list(clips.values())
    figures = {spec.key: EngineFigures(spec.key, spec.title, spec.own, spec.size_bytes) for spec in plan.specs}

    with Engines(figures, arguments.threads, callers=1) as engines:
        print("Loading each engine in a process of its own", flush=True)
        for spec in tqdm(plan.specs, unit="engine", disable=None):
            engines.load(spec)
        if REFERENCE in figures and REFERENCE not in engines.alive:  # nothing else to compare with
            raise BenchmarkError("; ".join(figures[REFERENCE].errors))
        agreements = measure_agreement(engines, sounds)
        print(f"Latency: {arguments.runs} rounds, after {arguments.warm_up} to warm up", flush=True)
        latencies = measure_latencies(engines, clips, arguments.runs, arguments.warm_up, Random(arguments.seed))
        for key in engines.alive:
            with engines.turn_of(key) as engine:
                figures[key].peak_bytes = engine.peak_bytes
        print(f"Throughput of one call at a time, {arguments.threads} threads", flush=True)
        wide = measure_throughput(engines, sounds, arguments.throughput_s, rate_hz)
    with Engines(figures, threads=1, callers=arguments.callers) as engines:
        print(f"Throughput of {arguments.callers} single-thread calls side by side", flush=True)
        for spec in plan.specs:
            if spec.key in wide:
                engines.load(spec)
        narrow = measure_throughput(engines, sounds, arguments.throughput_s, rate_hz)
        if rows is not None:
            print(f"Word error rate on {len(rows)} clips", flush=True)
            measure_errors(engines, figures, family, rows, arguments.language)
    for key, found in figures.items():
        found.latencies, found.agreement = latencies.get(key, []), agreements.get(key)
        found.wide, found.narrow = wide.get(key), narrow.get(key)
    if arguments.service:
        print("Memory of the service on each of its engines", flush=True)
        clip = clips[reference_length_s(list(clips))]
        for spec in tqdm([spec for spec in plan.specs if spec.backend], unit="engine", disable=None):
            measure_service(figures[spec.key], spec, clip, rate_hz, arguments.callers)

    setup = Setup(
        command=shlex.join(["python", "scripts/benchmark.py", *sys.argv[1:]]),
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        threads=arguments.threads,
        callers=arguments.callers,
        runs=arguments.runs,
        warm_up=arguments.warm_up,
        lengths_s=tuple(clips),
        throughput_s=arguments.throughput_s,
        seed=arguments.seed,
        clip=str(arguments.audio_path),
        reference=next(iter(agreements), ""),
        evaluated=arguments.evaluate or "",
    )
    return Results(setup, describe_machine(), figures, plan.missing)


def run(arguments: argparse.Namespace) -> Path:
    """Plan, measure and write. Returns the path of the report. Raises BenchmarkError or ArtifactError."""
    checkpoint = find_model_folder(arguments.checkpoint_dir, REFERENCE)
    plan = plan_own_engines(arguments, checkpoint)
    keys = [baseline.key for baseline in BASELINES if arguments.baselines and baseline.key in arguments.only]
    if keys:
        print("Baselines", flush=True)
        others = plan_baselines(source_of(checkpoint, arguments.out / BASELINES_FOLDER, arguments.calibration), keys)
        plan = Plan([*plan.specs, *others.specs], plan.missing | others.missing)
    plan.specs = [spec for spec in plan.specs if spec.key in arguments.only]
    if not plan.specs:
        raise BenchmarkError("there is no engine to measure")
    print("\nTo be measured, taking turns:")
    for spec in plan.specs:
        print(f"  {spec.title:35} {spec.size_bytes / 1e6:8.1f} MB  {spec.files[0]}")
    for title, reason in plan.missing.items():
        print(f"Left out: {title}: {reason}")

    results = measure(arguments, plan, checkpoint)
    report = write_report(results, arguments.out)
    print(f"\n{goals_table(results)}\n")
    for engine in results.engines.values():
        for error in engine.errors:
            print(f"Failed: {engine.title}: {error}")
    return report


def main() -> None:
    keys = [REFERENCE, *(engine.backend for engine in OWN_ENGINES), *(baseline.key for baseline in BASELINES)]
    cores = available_cores()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint_dir", required=True, help="checkpoint folder or hub id")
    for engine in OWN_ENGINES:
        beside = f" (default: {engine.file_name} beside the others, if it is there)" if engine.beside else ""
        parser.add_argument(f"--{engine.backend}_path", type=Path, help=f"file of {engine.title}{beside}")
    parser.add_argument("--audio_path", type=Path, default=Path("samples/sample.wav"), help="sound to make clips of")
    parser.add_argument("--lengths_s", type=positive, nargs="+", default=[2.0, 5.0, 10.0, 20.0], help="clip lengths")
    parser.add_argument("--runs", type=count, default=20, help="measured calls of each engine and length")
    parser.add_argument("--warm_up", type=count, default=3, help="calls before them that do not count")
    parser.add_argument("--threads", type=count, default=cores, help="threads of one call (default: the cores)")
    parser.add_argument("--callers", type=count, default=cores, help="single-thread calls at once (default: the cores)")
    parser.add_argument("--throughput_s", type=positive, default=5.0, help="least time to measure throughput for")
    parser.add_argument("--evaluate", metavar="DATA", help="manifest, folder or hub id to count word errors on")
    parser.add_argument("--audio_column", help="column of its sound (default: found by itself)")
    parser.add_argument("--text_column", help="column of its text (default: found by itself)")
    parser.add_argument("--limit", type=count, help="count errors on the first LIMIT clips only")
    parser.add_argument("--language", default="tr", help="ISO 639-1 code, for lower-casing and numbers")
    parser.add_argument("--baselines", action=argparse.BooleanOptionalAction, default=True, help="compare with others")
    parser.add_argument("--calibration", type=Path, default=Path("samples"), help="clips for baselines that need some")
    parser.add_argument("--service", action=argparse.BooleanOptionalAction, default=True, help="memory of the service")
    parser.add_argument("--only", nargs="+", choices=keys, default=keys, help="measure only these engines")
    parser.add_argument("--seed", type=int, default=0, help="of the order in which engines take turns")
    parser.add_argument("--out", type=Path, default=Path("artifacts"), help="folder for the report and the baselines")
    arguments = parser.parse_args()
    with ending_cleanly("benchmark", ArtifactError, BenchmarkError):
        print(f"Report: {run(arguments)}")


if __name__ == "__main__":
    main()
