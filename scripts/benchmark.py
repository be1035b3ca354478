"""Compare engines: size, load time, memory, latency, throughput and word error rate.

    python scripts/benchmark.py --checkpoint_dir cahya/wav2vec2-base-turkish --onnx_path models/onnx/model.onnx \\
      --onnx_int8_path models/onnx/model_int8.onnx --audio_path samples/sample.wav --runs 20

Every engine runs in its own process. The engines take turns call by call, in a new random order each round, so that
noise of the machine affects all of them equally. The baselines, which are exports of the same checkpoint by common
tools, are measured too (`scripts/tools/baselines.py`; `--no-baselines` leaves them out). An engine that fails is
reported and left out. Writes a report, JSON and plots to `artifacts/`; `docs/performance.md` explains them.
"""

import argparse
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

import numpy as np
from tqdm import tqdm

from app.artifacts import ArtifactError
from app.audio import AudioLimits, decode
from app.cores import available_cores
from app.errors import AsrError
from app.families.ctc.recognizer import SILENCE_STD
from app.models import find_model_folder, open_model
from app.recognizer import Samples
from app.runtimes.registry import REFERENCE
from scripts.benchmarking.baselines import BASELINES, BaselineError, Source, have_baselines_made, source_of
from scripts.benchmarking.benchmark_report import write_report
from scripts.benchmarking.engine_figures import EngineFigures, key_figures, reference_length_s
from scripts.benchmarking.engines import OWN_ENGINES, EngineSpec, available, own_spec, pytorch_spec
from scripts.benchmarking.measurements import (
    Engines,
    measure_agreement,
    measure_errors,
    measure_latencies,
    measure_service,
    measure_throughput,
)
from scripts.benchmarking.results import Results, Setup
from scripts.common.arguments import count, positive
from scripts.common.command import ending_cleanly
from scripts.common.machine import describe_machine
from scripts.common.report import key_figures_table

if TYPE_CHECKING:
    from scripts.speech.data import SpeechRows

CLIP_LIMITS = AudioLimits(max_duration_s=3600.0, max_decoded_bytes=1 << 30, max_channels=8)
BASELINES_FOLDER = "baselines"


class BenchmarkError(Exception):
    """The benchmark cannot run. The message says why."""


def load_rows(arguments: argparse.Namespace, rate_hz: int) -> "SpeechRows":
    """The rows of `--evaluate` to count errors on: the split `test` if there is one, else the first.

    Reads every clip, so that one that cannot be read raises BenchmarkError before anything is measured.
    """
    from scripts.speech.data import DataError  # needs `datasets`, which a benchmark without --evaluate does not
    from scripts.speech.eval_sets import load_eval_set

    try:
        rows = load_eval_set(arguments.evaluate, arguments.limit, None, arguments.audio_column, arguments.text_column)
        for index in range(len(rows)):
            rows.samples(index, rate_hz)
        return rows
    except DataError as error:
        raise BenchmarkError(str(error)) from error


def read_clips(path: Path, lengths_s: list[float], rate_hz: int) -> dict[float, Samples]:
    """Clip length in seconds -> the audio of the file, looped or cut to this length, shape (samples,), float32.

    Raises BenchmarkError if the file cannot be read, or if a clip is silent.
    """
    try:
        with path.open("rb") as file:
            samples = decode(file, rate_hz, CLIP_LIMITS).samples
    except AsrError as error:
        raise BenchmarkError(f"{path}: {error.message}") from error
    except OSError as error:
        raise BenchmarkError(f"{path}: {error.strerror}") from error
    clips = {length_s: np.resize(samples, round(length_s * rate_hz)) for length_s in lengths_s}
    if any(clip.std() < SILENCE_STD for clip in clips.values()):
        raise BenchmarkError(f"{path} begins with silence, which the engines skip")
    return clips


@dataclass
class Plan:
    """The engines to measure. missing: title of an engine that cannot be measured -> reason."""

    specs: list[EngineSpec]
    missing: dict[str, str]


def plan_own_engines(arguments: argparse.Namespace, checkpoint: Path) -> Plan:
    """Plan for PyTorch and each engine of Dikte whose file is named, or is in the folder of a named one.

    Raises BenchmarkError if a named file cannot be used.
    """
    plan = Plan([], {})
    named: dict[str, Path | None] = {
        engine.backend: getattr(arguments, f"{engine.backend}_path") for engine in OWN_ENGINES
    }
    folders = [path.parent for path in named.values() if path]
    try:
        plan.specs.append(pytorch_spec(checkpoint))
        for engine in OWN_ENGINES:
            beside = (folder / engine.file_name for folder in folders if engine.auto_detected)
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
    """Make the files of the named baselines that do not exist yet, and plan to measure these baselines.

    Raises BenchmarkError if the process that makes them fails.
    """
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
    """Measure all engines of a plan: first one call at a time on `--threads` threads, then `--callers` single-thread
    calls at once.
    """
    family = open_model(checkpoint).family
    rate_hz = family.rate_hz
    clips = read_clips(arguments.audio_path, sorted(set(arguments.lengths_s)), rate_hz)
    rows = load_rows(arguments, rate_hz) if arguments.evaluate else None
    samples = list(clips.values())
    figures = {spec.key: EngineFigures(spec.key, spec.title, spec.own, spec.size_bytes) for spec in plan.specs}

    with Engines(figures, arguments.threads, callers=1) as engines:
        print("Loading each engine in its own process", flush=True)
        for spec in tqdm(plan.specs, unit="engine", disable=None):
            engines.load(spec)
        if REFERENCE in figures and REFERENCE not in engines.running:  # nothing is left to compare with
            raise BenchmarkError("; ".join(figures[REFERENCE].errors))
        agreements = measure_agreement(engines, samples)
        print(f"Latency: {arguments.runs} rounds after {arguments.warm_up} warm-up rounds", flush=True)
        latencies = measure_latencies(engines, clips, arguments.runs, arguments.warm_up, Random(arguments.seed))
        for key in engines.running:
            with engines.turn_of(key) as engine:
                figures[key].peak_bytes = engine.peak_bytes
        print(f"Throughput of one call at a time on {arguments.threads} threads", flush=True)
        wide = measure_throughput(engines, samples, arguments.throughput_s, rate_hz)
    with Engines(figures, threads=1, callers=arguments.callers) as engines:
        print(f"Throughput of {arguments.callers} single-thread calls at once", flush=True)
        for spec in plan.specs:
            if spec.key in wide:
                engines.load(spec)
        narrow = measure_throughput(engines, samples, arguments.throughput_s, rate_hz)
        if rows is not None:
            print(f"Word error rate on {len(rows)} clips", flush=True)
            measure_errors(engines, figures, family, rows, arguments.language)
    for key, found in figures.items():
        found.latencies, found.agreement = latencies.get(key, []), agreements.get(key)
        found.wide, found.narrow = wide.get(key), narrow.get(key)
    if arguments.service:
        print("Peak memory of the service on each engine", flush=True)
        clip = clips[reference_length_s(list(clips))]
        for spec in tqdm([spec for spec in plan.specs if spec.backend], unit="engine", disable=None):
            measure_service(figures[spec.key], spec, clip, rate_hz, arguments.callers)

    setup = Setup(
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
    """Plan, measure and write the report. Returns its path. Raises BenchmarkError or ArtifactError."""
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
    print("\nEngines to measure:")
    for spec in plan.specs:
        print(f"  {spec.title:35} {spec.size_bytes / 1e6:8.1f} MB  {spec.files[0]}")
    for title, reason in plan.missing.items():
        print(f"Not measured: {title}: {reason}")

    results = measure(arguments, plan, checkpoint)
    report = write_report(results, arguments.out)
    print(f"\n{key_figures_table(key_figures(results.engines, results.length_s))}\n")
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
        beside = (
            f" (default: {engine.file_name} in the folder of the other files, if it exists)"
            if engine.auto_detected
            else ""
        )
        parser.add_argument(f"--{engine.backend}_path", type=Path, help=f"file of {engine.title}{beside}")
    parser.add_argument("--audio_path", type=Path, default=Path("samples/sample.wav"), help="audio to cut clips from")
    parser.add_argument("--lengths_s", type=positive, nargs="+", default=[2.0, 5.0, 10.0, 20.0], help="clip lengths")
    parser.add_argument("--runs", type=count, default=20, help="measured calls per engine and clip length")
    parser.add_argument("--warm_up", type=count, default=3, help="calls before these that do not count")
    parser.add_argument("--threads", type=count, default=cores, help="threads of one call (default: one per core)")
    parser.add_argument(
        "--callers", type=count, default=cores, help="single-thread calls at once (default: one per core)"
    )
    parser.add_argument(
        "--throughput_s", type=positive, default=5.0, help="minimum duration of a throughput measurement"
    )
    parser.add_argument("--evaluate", metavar="DATA", help="manifest, folder or hub id to measure word error rates on")
    parser.add_argument("--audio_column", help="audio column of DATA (default: detected)")
    parser.add_argument("--text_column", help="text column of DATA (default: detected)")
    parser.add_argument("--limit", type=count, help="use only the first LIMIT clips of DATA")
    parser.add_argument("--language", default="tr", help="ISO 639-1 code, for lower-casing and numbers")
    parser.add_argument(
        "--baselines", action=argparse.BooleanOptionalAction, default=True, help="measure the baselines too"
    )
    parser.add_argument("--calibration", type=Path, default=Path("samples"), help="clips to calibrate baselines with")
    parser.add_argument(
        "--service", action=argparse.BooleanOptionalAction, default=True, help="measure the memory of the whole service"
    )
    parser.add_argument("--only", nargs="+", choices=keys, default=keys, help="measure only these engines")
    parser.add_argument("--seed", type=int, default=0, help="seed of the order of turns")
    parser.add_argument("--out", type=Path, default=Path("artifacts"), help="folder for the report and the baselines")
    arguments = parser.parse_args()
    with ending_cleanly("benchmark", ArtifactError, BenchmarkError):
        print(f"Report: {run(arguments)}")


if __name__ == "__main__":
    main()
