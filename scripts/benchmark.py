"""Compare engines: size, load time, memory, latency, throughput and word error rate.

    python scripts/benchmark.py --checkpoint_dir cahya/wav2vec2-base-turkish --onnx_path models/onnx/model.onnx \
      --onnx_int8_path models/onnx/model_int8.onnx --audio_path samples/sample.wav --runs 20
    python scripts/benchmark.py --checkpoint_dir openai/whisper-base --model_dir models/whisper-base \
      --speech data/calls/manifest.jsonl --language en --lengths_s 3 5 10 30

Every engine runs in its own process. The engines take turns call by call, in a new random order each round, so that
noise of the machine affects all of them equally. The baselines, which are the same checkpoint in the forms of common
tools, are measured too (`scripts/tools/baselines.py`; `--no-baselines` leaves them out). An engine that fails is
reported and left out. Writes a report, JSON and plots to `artifacts/`; `docs/performance.md` explains them.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

from tqdm import tqdm

from app.artifacts import CONFIG_NAME, ArtifactError
from app.cores import available_cores
from app.families import Family
from app.families.whisper import WhisperFamily
from app.models import Model, find_model_folder, open_model
from app.runtimes.registry import ONNX, OPENVINO, REFERENCE, is_int8
from scripts.benchmarking.baselines import BaselineError, Source, have_baselines_made, source_of
from scripts.benchmarking.bench import Bench
from scripts.benchmarking.benches import BENCHES, bench_for
from scripts.benchmarking.benchmark_clips import Clips, ClipsError, cut_clips, speech_clips
from scripts.benchmarking.benchmark_report import write_report
from scripts.benchmarking.ctc_engines import file_spec
from scripts.benchmarking.engine_figures import EngineFigures, reference_length_s
from scripts.benchmarking.engines import (
    CTC,
    OWN_BACKENDS,
    EngineSpec,
    artifact_spec,
    checkpoint_spec,
    installed,
    own_title,
    package_of,
)
from scripts.benchmarking.measurements import (
    Engines,
    agreement,
    compute_steps,
    measure_errors,
    measure_latencies,
    measure_service,
    measure_throughput,
)
from scripts.benchmarking.results import ClipsOfLength, Results, Setup
from scripts.common.arguments import count, positive
from scripts.common.command import ending_cleanly
from scripts.common.machine import describe_machine
from scripts.common.report import key_figures_table

if TYPE_CHECKING:
    from scripts.speech.data import SpeechRows

BASELINES_FOLDER = "baselines"


class BenchmarkError(Exception):
    """The benchmark cannot run. The message says why."""


def load_rows(arguments: argparse.Namespace, data: str, limit: int | None, rate_hz: int) -> "SpeechRows":
    """The rows of a set: of the split `test` if there is one, else of the first.

    Reads every clip, so that one that cannot be read raises BenchmarkError before anything is measured.
    """
    from scripts.speech.data import DataError  # needs `datasets`, which a benchmark without a set does not
    from scripts.speech.eval_sets import load_eval_set

    try:
        rows = load_eval_set(data, limit, None, arguments.audio_column, arguments.text_column)
        for index in range(len(rows)):
            rows.samples(index, rate_hz)
        return rows
    except DataError as error:
        raise BenchmarkError(str(error)) from error


@dataclass(frozen=True)
class Subject:
    """What is measured: engines of a checkpoint, on speech.

    language: ISO 639-1 code that the engines are told; empty for a model of one language. clips: those that are timed.
    rows: those on which errors are counted, if any.
    """

    checkpoint: Path
    family: Family
    bench: Bench
    language: str
    clips: Clips
    rows: "SpeechRows | None"


def open_subject(arguments: argparse.Namespace) -> Subject:
    """Find the checkpoint and read all speech. Raises ArtifactError, BenchmarkError or ClipsError."""
    checkpoint = find_model_folder(arguments.checkpoint_dir, REFERENCE)
    family = open_model(checkpoint).family
    multilingual = isinstance(family, WhisperFamily) and family.settings.is_multilingual
    clips = read_clips(arguments, family.rate_hz)
    rows = load_rows(arguments, arguments.evaluate, arguments.limit, family.rate_hz) if arguments.evaluate else None
    return Subject(checkpoint, family, bench_for(family), arguments.language if multilingual else "", clips, rows)


def read_clips(arguments: argparse.Namespace, rate_hz: int) -> Clips:
    """The clips to time, of each length. Raises BenchmarkError or ClipsError if there are none."""
    lengths_s = sorted(set(arguments.lengths_s))
    if arguments.speech is None:
        return cut_clips(arguments.audio_path, lengths_s, rate_hz)
    rows = load_rows(arguments, arguments.speech, None, rate_hz)
    return speech_clips(rows, lengths_s, arguments.clips, rate_hz, arguments.seed)


@dataclass
class Plan:
    """The engines to measure. missing: title of an engine that cannot be measured -> reason."""

    specs: list[EngineSpec]
    missing: dict[str, str]


def plan_own_engines(arguments: argparse.Namespace, subject: Subject) -> Plan:
    """Plan for PyTorch and each engine of Dikte whose files are named, or are in a folder that is named.

    Raises BenchmarkError if a named file cannot be used, and ArtifactError if a folder has no model.
    """
    checkpoint, family, language = subject.checkpoint, subject.bench.family, subject.language
    named = {backend: getattr(arguments, f"{backend}_path") for backend in OWN_BACKENDS}
    if family != CTC and any(named.values()):
        raise BenchmarkError("this model has several files: name its folder, with --model_dir")
    beside = {path.parent for path in named.values() if path and (path.parent / CONFIG_NAME).is_file()}
    plan = Plan([], {})
    try:
        plan.specs.append(checkpoint_spec(checkpoint, family, language))
        for backend in OWN_BACKENDS:
            if named[backend] and installed(package_of(backend)):
                plan.specs.append(file_spec(backend, named[backend], checkpoint))
                continue
            folders = {arguments.model_dir} if arguments.model_dir else beside if backend == OPENVINO else set()
            for folder in folders:
                model = open_model(folder, allow_unproven=True)
                if not has_files(model, backend):
                    continue
                if installed(package_of(backend)):
                    plan.specs.append(artifact_spec(backend, model, family, language))
                else:
                    plan.missing[own_title(backend)] = f"not installed: {package_of(backend)}"
    except (FileNotFoundError, ValueError) as error:
        raise BenchmarkError(str(error)) from error
    return plan


def has_files(model: Model, backend: str) -> bool:
    """Whether an artifact has the files of a backend: those in INT8, for a backend that is named so."""
    names = model.files_of(backend)
    wanted = [name for name in names if Path(name).suffix != ".bin" and (is_int8(name) or backend == ONNX)]
    return bool(wanted) and all((model.artifact.folder / name).is_file() for name in names)


def plan_baselines(subject: Subject, source: Source, keys: list[str]) -> Plan:
    """Make the files of the named baselines that do not exist yet, and plan to measure these baselines.

    Raises BenchmarkError if the process that makes them fails.
    """
    try:
        failed = have_baselines_made(source, keys)
    except BaselineError as error:
        raise BenchmarkError(f"{error}; --no-baselines leaves them out") from error
    wanted = [baseline for baseline in subject.bench.baselines if baseline.key in keys]
    return Plan(
        [baseline.spec(source, subject.language) for baseline in wanted if baseline.key not in failed],
        {baseline.title: failed[baseline.key] for baseline in wanted if baseline.key in failed},
    )


def measure(arguments: argparse.Namespace, subject: Subject, plan: Plan) -> Results:
    """Measure all engines of a plan: first one call at a time on `--threads` threads, then `--callers` single-thread
    calls at once.
    """
    family, bench, clips, rows = subject.family, subject.bench, subject.clips, subject.rows
    rate_hz = family.rate_hz
    samples = [clip for of_length in clips.values() for clip in of_length]
    figures = {spec.key: EngineFigures(spec.key, spec.title, spec.own, spec.size_bytes) for spec in plan.specs}

    with Engines(figures, arguments.threads, callers=1) as engines:
        print("Loading each engine in its own process", flush=True)
        for spec in tqdm(plan.specs, unit="engine", disable=None):
            engines.load(spec)
        if REFERENCE in figures and REFERENCE not in engines.running:  # nothing is left to compare with
            raise BenchmarkError("; ".join(figures[REFERENCE].errors))
        print(f"Output of each engine for {len(samples)} clips", flush=True)
        steps = compute_steps(engines, samples, bench.steps_of(family))
        print(f"Latency: {arguments.runs} rounds after {arguments.warm_up} warm-up rounds", flush=True)
        random = Random(arguments.seed)
        latencies = measure_latencies(engines, clips, arguments.runs, arguments.warm_up, random, rate_hz)
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
    reference = next(iter(steps), "")
    for key, found in figures.items():
        found.latencies, found.wide, found.narrow = latencies.get(key, []), wide.get(key), narrow.get(key)
        if key in steps:
            found.agreement = agreement(bench, steps[reference], steps[key])
    if arguments.service:
        print("Peak memory of the service on each engine", flush=True)
        clip = clips[reference_length_s(list(clips))][0]
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
        sound=arguments.speech or f"{arguments.audio_path}, looped or cut",
        reference=reference,
        evaluated=arguments.evaluate or "",
        language=subject.language,
        clips=describe_clips(clips, steps.get(reference, []), rate_hz),
    )
    return Results(bench, setup, describe_machine(), figures, plan.missing)


def describe_clips(clips: Clips, steps: list[Sequence[int]], rate_hz: int) -> tuple[ClipsOfLength, ...]:
    """The clips of each length. steps: those of the reference for each clip, in the same order; may be empty."""
    found, begin = [], 0
    for length_s, of_length in clips.items():
        end = begin + len(of_length)
        mean_s = sum(map(len, of_length)) / len(of_length) / rate_hz
        found.append(ClipsOfLength(length_s, len(of_length), mean_s, sum(map(len, steps[begin:end])) / len(of_length)))
        begin = end
    return tuple(found)


def run(arguments: argparse.Namespace) -> Path:
    """Plan, measure and write the report. Returns its path. Raises the errors of `open_subject`."""
    subject = open_subject(arguments)
    plan = plan_own_engines(arguments, subject)
    keys = [baseline.key for baseline in subject.bench.baselines if baseline.key in arguments.only]
    if keys and arguments.baselines:
        print("Baselines", flush=True)
        source = source_of(subject.checkpoint, arguments.out / BASELINES_FOLDER, arguments.calibration)
        others = plan_baselines(subject, source, keys)
        plan = Plan([*plan.specs, *others.specs], plan.missing | others.missing)
    plan.specs = [spec for spec in plan.specs if spec.key in arguments.only]
    if not plan.specs:
        raise BenchmarkError("there is no engine to measure")
    print("\nEngines to measure:")
    for spec in plan.specs:
        print(f"  {spec.title:35} {spec.size_bytes / 1e6:8.1f} MB  {spec.files[0]}")
    for title, reason in plan.missing.items():
        print(f"Not measured: {title}: {reason}")

    results = measure(arguments, subject, plan)
    report = write_report(results, arguments.out)
    print(f"\n{key_figures_table(results.key_figures())}\n")
    for engine in results.engines.values():
        for error in engine.errors:
            print(f"Failed: {engine.title}: {error}")
    return report


def main() -> None:
    keys = [REFERENCE, *OWN_BACKENDS, *(baseline.key for bench in BENCHES for baseline in bench.baselines)]
    cores = available_cores()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint_dir", required=True, help="checkpoint folder or hub id")
    parser.add_argument("--model_dir", type=Path, help="artifact folder: all engines whose files it has are measured")
    for backend in OWN_BACKENDS:
        beside = " (default: the one beside the other files, if it exists)" if backend == OPENVINO else ""
        parser.add_argument(f"--{backend}_path", type=Path, help=f"for CTC: file of {own_title(backend)}{beside}")
    parser.add_argument("--audio_path", type=Path, default=Path("samples/sample.wav"), help="audio to cut clips from")
    parser.add_argument("--speech", metavar="DATA", help="take the clips from this manifest, folder or hub id instead")
    parser.add_argument("--clips", type=count, default=5, help="clips of each length, with --speech")
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
    parser.add_argument("--audio_column", help="audio column of these sets (default: detected)")
    parser.add_argument("--text_column", help="text column of these sets (default: detected)")
    parser.add_argument("--limit", type=count, help="with --evaluate: use only the first LIMIT clips")
    parser.add_argument("--language", default="tr", help="ISO 639-1 code of the speech")
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
    with ending_cleanly("benchmark", ArtifactError, BenchmarkError, ClipsError):
        print(f"Report: {run(arguments)}")


if __name__ == "__main__":
    main()
