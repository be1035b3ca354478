"""Run a load test with Locust's users, and write the results to `artifacts/load_report.md`.

    python scripts/load.py                                  # 10 users, one of them with a long file, for a minute
    python scripts/load.py --host http://localhost:8000     # a running service; its API key: DIKTE_API_KEY
    python scripts/load.py --capacity --p95_limit_s 2       # how many users until p95 exceeds 2 s?
    python scripts/load.py --formats opus,mp3               # formats of the uploads; default: wav,opus,mp3,m4a
    python scripts/load.py --against_plain --checkpoint_dir data/base --model_dir data/onnx
    python scripts/load.py --against_plain --checkpoint_dir openai/whisper-base --model_dir models/whisper-base \
        --speech en/manifest.jsonl --language en

Starts the service in a child process, with the `ASR_*` settings of the environment, except for model and backend.
`--speech` uploads whole clips of a data set (requirements-train.txt) instead of cuts from samples/. `--capacity` writes
load_capacity.md. `--against_plain` alternates with the plain service for the family of the checkpoint, and writes
load_against_plain.md: `scripts/tools/plain_service.py` on plain INT8 (requirements-train.txt), or for Whisper
`scripts/tools/plain_whisper_service.py` on faster-whisper (requirements-peers.txt). Linux only (/proc).
"""

import argparse
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from statistics import median

from app.artifacts import ArtifactError
from app.cores import available_cores
from app.models import find_model_folder
from app.runtimes.registry import ONNX_INT8, REFERENCE
from app.settings import BUNDLED_MODEL
from scripts.common.arguments import count
from scripts.common.command import ending_cleanly
from scripts.common.machine import describe_machine
from scripts.common.report import KeyFigure, Report, key_figures_table, table
from scripts.common.service_process import ServiceError, ServiceProcess, dikte_on
from scripts.load_testing.answers import API_KEY_VARIABLE, LoadError, References
from scripts.load_testing.capacity import find_capacity
from scripts.load_testing.encoding import DEFAULT_FORMATS, FORMATS
from scripts.load_testing.load_figures import LoadFigures, median_of_ratios
from scripts.load_testing.load_tables import (
    capacity_section,
    formats_section,
    load_table,
    server_json,
    server_section,
)
from scripts.load_testing.plain_services import PlainOptions, describe_plain_service, plain_service
from scripts.load_testing.users import Load, measure
from scripts.speech.clips import DataError

BASELINES_FOLDER = "baselines"
PLAIN = "plain"
PLAIN_FORMATS = "wav"


def own_service(backend: str, arguments: argparse.Namespace) -> ServiceProcess:
    """Dikte on a backend. It transcribes in the language of `--language`, if that is given."""
    settings = {"ASR_LANGUAGE": arguments.language} if arguments.language else {}
    return dikte_on(backend, arguments.model_dir, settings)


@contextmanager
def service_url(arguments: argparse.Namespace) -> Iterator[str]:
    """The URL of a service that is ready: that of `--host`, or that of a new service for the `with` block."""
    if arguments.host:
        yield arguments.host.rstrip("/")
        return
    with own_service(arguments.backends[0], arguments) as service:
        yield service.url


def describe_service(arguments: argparse.Namespace, references: References) -> dict[str, str]:
    """The settings of the report: the model that the service reports, and its URL if it was already running."""
    settings = {"model": references.served}
    if arguments.host:
        settings["service"] = f"{arguments.host}; machine, commit and versions above are those of the clients"
    return settings


def load_once(arguments: argparse.Namespace, load: Load) -> Path:
    """Run one load test on one backend. Returns the path of the report."""
    with service_url(arguments) as url:
        print(f"{url}: transcribing each clip once, then {load.users} users for {load.duration_s:g} s", flush=True)
        references = References.ask(url, load.clips)
        measured = measure(url, load, references)
    print(f"\n{load_table(measured.by_kind)}\n\n{formats_section(measured.by_format)}\n")
    sections = [
        "## Figures of the clients",
        load_table(measured.by_kind),
        f"Failures over the whole test: {measured.failures}. Each text was compared with the transcript of the idle "
        "service.",
        "## By format",
        formats_section(measured.by_format),
        "## Figures of the service",
        server_section(measured.server),
    ]
    figures = {
        "clients": {kind: asdict(figures) for kind, figures in measured.by_kind.items()},
        "formats": {name: asdict(figures) for name, figures in measured.by_format.items()},
        "failures": measured.failures,
        "server": server_json(measured.server),
    }
    settings = describe_service(arguments, references) | load.described()
    return Report("Load", describe_machine(), settings, sections, figures).write(arguments.out, "load_report")


def load_until_limit(arguments: argparse.Namespace, load: Load) -> Path:
    """Find the number of users with which p95 stays within the limit. Returns the path of the report."""
    load = replace(load, long_users=0)
    with service_url(arguments) as url:
        references = References.ask(url, load.clips)

        def figures_of(users: int) -> LoadFigures:
            step = replace(load, users=users, spawn_rate=users)
            figures = measure(url, step, references).all
            print(f"{users} users: {figures.rps:.2f} RPS, p95 {figures.p95_s:.3f} s", flush=True)
            return figures

        print(f"{url}: up to {arguments.most_users} users, {load.duration_s:g} s per step", flush=True)
        steps, capacity = find_capacity(figures_of, arguments.p95_limit_s, arguments.most_users)
    section = capacity_section(steps, capacity, arguments.p95_limit_s)
    print(f"\n{section}\n")
    figures = {
        "p95_limit_s": arguments.p95_limit_s,
        "capacity": asdict(capacity) if capacity else None,
        "steps": [asdict(step) for step in steps],
    }
    settings = describe_service(arguments, references) | load.described() | {"users": "increased in steps; no pauses"}
    return Report("Capacity", describe_machine(), settings, [section], figures).write(arguments.out, "load_capacity")


def compare_with_plain(rounds: dict[str, list[LoadFigures]]) -> list[KeyFigure]:
    """The medians over the rounds of the ratios in each round. rounds: backend or `PLAIN` -> its figures by round."""
    found = []
    theirs = rounds[PLAIN]
    for backend, ours in rounds.items():
        if backend == PLAIN:
            continue
        failures = sum(figures.failures + figures.refused for figures in ours)
        rps = median_of_ratios([figures.rps for figures in ours], [figures.rps for figures in theirs])
        p95 = median_of_ratios([figures.p95_s for figures in ours], [figures.p95_s for figures in theirs])
        found += [
            KeyFigure(f"{backend}_failures", f"{backend}: failed or refused requests", failures),
            KeyFigure(f"{backend}_rps_to_plain", f"{backend}: RPS / plain service's", rps),
            KeyFigure(f"{backend}_p95_to_plain", f"{backend}: p95 / plain service's", p95),
        ]
    return found


def load_against_plain(arguments: argparse.Namespace, load: Load) -> Path:
    """Alternate between Dikte's backends and the plain service. Each round starts new services.

    Returns the path of the report. Raises LoadError without `--checkpoint_dir`, and the errors of `plain_service`.
    """
    if not arguments.checkpoint_dir:
        raise LoadError("--against_plain needs --checkpoint_dir")
    checkpoint = find_model_folder(arguments.checkpoint_dir, REFERENCE).resolve()  # services run in another folder
    # A long file would crash the plain service, and librosa needs the ffmpeg program to read M4A.
    load = replace(load, long_users=0, formats=arguments.formats or PLAIN_FORMATS)
    plain = PlainOptions(
        arguments.baselines, arguments.language, arguments.plain_compute_type, arguments.plain_workers,
        arguments.plain_threads, arguments.plain_vad,
    )  # fmt: skip
    rounds: dict[str, list[LoadFigures]] = {key: [] for key in [*arguments.backends, PLAIN]}
    for number in range(arguments.rounds):
        for key, found in rounds.items():
            with plain_service(checkpoint, plain) if key == PLAIN else own_service(key, arguments) as service:
                measured = measure(service.url, load, References.ask(service.url, load.clips))
            found.append(measured.all)
            print(f"round {number + 1}, {key}: {measured.all.rps:.2f} RPS, p95 {measured.all.p95_s:.3f} s", flush=True)
    compared = compare_with_plain(rounds)
    by_round = {
        f"{key}, round {number + 1}": figures for key, found in rounds.items() for number, figures in enumerate(found)
    }
    medians = [
        [
            key,
            f"{median(figures.rps for figures in found):.2f}",
            f"{median(figures.audio_s_per_s for figures in found):.1f}",
            f"{median(figures.p50_s for figures in found):.2f}",
            f"{median(figures.p95_s for figures in found):.2f}",
        ]
        for key, found in rounds.items()
    ]
    sections = [
        "Ratios are the medians over the rounds of the ratios in each round.",
        "## Medians",
        table(["service", "RPS", "RTFx", "p50 s", "p95 s"], medians),
        "## All rounds",
        load_table(by_round, "service"),
    ]
    print("\n" + "\n\n".join([key_figures_table(compared), *sections[2::2]]) + "\n")
    settings = {
        "model": arguments.model_dir,
        "plain service": describe_plain_service(checkpoint, plain),
        "language": arguments.language or "not given",
        "rounds": f"{arguments.rounds}, alternating",
    } | load.described()
    figures = {
        "rounds": {key: [asdict(figures) for figures in found] for key, found in rounds.items()},
    }
    report = Report("Load, against the plain service", describe_machine(), settings, sections, figures, compared)
    return report.write(arguments.out, "load_against_plain")


def parse_arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    mode = parser.add_mutually_exclusive_group()
    mode.add_argument("--capacity", action="store_true", help="increase the users until p95 exceeds --p95_limit_s")
    mode.add_argument("--against_plain", action="store_true", help="compare with the plain service")
    parser.add_argument(
        "--host", help=f"URL of a running service (default: start one); its API key: {API_KEY_VARIABLE}"
    )
    parser.add_argument(
        "--model_dir", default=os.environ.get("ASR_MODEL_DIR", str(BUNDLED_MODEL)), help="artifact folder"
    )
    parser.add_argument(
        "--backends", nargs="+", default=[os.environ.get("ASR_BACKEND", ONNX_INT8)],
        help="backend of the service; several with --against_plain",
    )  # fmt: skip
    parser.add_argument("--users", type=int, default=Load.users)
    parser.add_argument("--spawn_rate", type=float, default=Load.spawn_rate, help="users that start per second")
    parser.add_argument(
        "--duration_s", type=float, default=Load.duration_s, help="duration of a load, the start of users included"
    )
    parser.add_argument("--clips_s", default=Load.clips_s, help="lengths of short clips: 2-12 or 2,5,10")
    parser.add_argument(
        "--speech", default="",
        help="data set, as for evaluate.py, whose clips of nearest length are uploaded (default: cuts from samples/)",
    )  # fmt: skip
    parser.add_argument("--language", help="ISO 639-1 code that the services are told (default: they detect it)")
    parser.add_argument(
        "--formats",
        help=f"formats of the uploads, in equal shares: some of {','.join(FORMATS)} "
        f"(default: {DEFAULT_FORMATS}; {PLAIN_FORMATS} with --against_plain)",
    )
    parser.add_argument("--long_users", type=int, default=Load.long_users, help="number of users who send a long file")
    parser.add_argument("--long_s", type=float, default=Load.long_s, help="length of the long file")
    parser.add_argument("--p95_limit_s", type=float, default=2.0, help="with --capacity: limit of the p95 latency")
    parser.add_argument("--most_users", type=int, default=512, help="with --capacity: maximum number of users")
    parser.add_argument("--rounds", type=int, default=3, help="with --against_plain: number of rounds")
    parser.add_argument(
        "--checkpoint_dir", help="with --against_plain: folder or hub id of the checkpoint that the model was made from"
    )
    plain = parser.add_argument_group("--against_plain with Whisper: options of faster-whisper")
    plain.add_argument("--plain_compute_type", default=PlainOptions.compute_type)
    plain.add_argument(
        "--plain_workers", type=count, default=available_cores(), help="files that it computes at once (default: cores)"
    )
    plain.add_argument("--plain_threads", type=count, default=PlainOptions.threads, help="threads of one file")
    plain.add_argument("--plain_vad", action="store_true", help="remove silence first")
    parser.add_argument("--out", type=Path, default=Path("artifacts"), help="folder for the reports")
    parser.add_argument("--baselines", type=Path, help="folder of the plain model (default: baselines below --out)")
    arguments = parser.parse_args(words)
    if Path(arguments.model_dir).is_dir():
        arguments.model_dir = str(Path(arguments.model_dir).resolve())  # the service runs in another folder
    if arguments.speech and Path(arguments.speech).exists():
        arguments.speech = str(Path(arguments.speech).resolve())  # and so does locust
    arguments.baselines = (arguments.baselines or arguments.out / BASELINES_FOLDER).resolve()
    if arguments.host and arguments.against_plain:
        parser.error("--against_plain starts its own services; it takes no --host")
    if arguments.host and arguments.language:
        parser.error("--language is for services that this command starts; a running one has ASR_LANGUAGE")
    return arguments


def main() -> None:
    arguments = parse_arguments()
    load = Load(
        arguments.users, arguments.spawn_rate, arguments.duration_s, arguments.clips_s, arguments.long_users,
        arguments.long_s, arguments.formats or DEFAULT_FORMATS, arguments.speech,
    )  # fmt: skip
    if arguments.capacity:
        mode = load_until_limit
    elif arguments.against_plain:
        mode = load_against_plain
    else:
        mode = load_once
    with ending_cleanly("load test", ArtifactError, DataError, LoadError, ServiceError, ValueError):
        print(f"Report: {mode(arguments, load)}")


if __name__ == "__main__":
    main()
