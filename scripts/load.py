"""Load the service with Locust's users, and write what came of it to `artifacts/load_report.md`.

    python scripts/load.py                                  # 10 users, one of them with a long file, for a minute
    python scripts/load.py --host http://localhost:8000     # a service that runs already; its key: DIKTE_API_KEY
    python scripts/load.py --capacity --p95_limit_s 2       # how many users until p95 passes 2 s?
    python scripts/load.py --formats opus,mp3               # what is uploaded; default: wav,opus,mp3,m4a
    python scripts/load.py --against_plain --checkpoint_dir data/base --model_dir data/onnx

Starts the service itself, in a process of its own, with the settings of the environment (`ASR_*`) but for model and
backend. `--capacity` writes load_capacity.md. `--against_plain` measures in turn with
`scripts/tools/plain_service.py` on plain INT8 of the same checkpoint (requirements-train.txt), and writes
load_against_plain.md. Linux only (/proc).
"""

import argparse
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from statistics import median

from app.artifacts import ArtifactError
from app.models import find_model_folder
from app.runtimes.registry import ONNX_INT8, OPENVINO, REFERENCE
from app.settings import BUNDLED_MODEL
from scripts.common import SAMPLES
from scripts.common.command import ending_cleanly
from scripts.common.goals import Goal
from scripts.common.machine import describe_machine
from scripts.common.markdown import table
from scripts.load_testing.answers import API_KEY_VARIABLE, LoadError, References
from scripts.load_testing.encoding import DEFAULT_FORMATS, FORMATS
from scripts.load_testing.figures import LoadFigures, find_capacity, median_of_ratios
from scripts.load_testing.report import (
    Report,
    capacity_section,
    formats_section,
    goals_section,
    load_table,
    server_json,
    server_section,
)
from scripts.load_testing.service import RunningService, dikte
from scripts.load_testing.users import Load, measure

BASELINES_FOLDER = "baselines"
PLAIN = "plain"
PLAIN_FORMATS = "wav"
PLAIN_BASELINE = "matmul_qint8"
RPS_GOALS = {ONNX_INT8: 2.3, OPENVINO: 4.0}
P95_GOALS = {ONNX_INT8: 0.5}


@contextmanager
def service_url(arguments: argparse.Namespace) -> Iterator[str]:
    """The address of a service that is ready: the one of `--host`, or one that lives as long as the `with`."""
    if arguments.host:
        yield arguments.host.rstrip("/")
        return
    with dikte(arguments.backends[0], arguments.model_dir) as service:
        yield service.url


def describe_service(arguments: argparse.Namespace, references: References) -> dict[str, str]:
    """For the report: what the service says that it serves, and whether it runs elsewhere."""
    settings = {"model": references.served}
    if arguments.host:
        settings["service"] = f"{arguments.host}; machine, commit and versions above are the clients'"
    return settings


def plain_service(checkpoint: Path, baselines: Path) -> RunningService:
    """The service to compare with, on plain INT8 of the checkpoint, which is made first if it is not there.

    Raises LoadError if that fails.
    """
    from scripts.benchmarking.baselines import BASELINES, BaselineError, have_baselines_made, source_of

    source = source_of(checkpoint, baselines, SAMPLES)
    try:
        failed = have_baselines_made(source, [PLAIN_BASELINE])
    except BaselineError as error:
        raise LoadError(str(error)) from error
    if reason := failed.get(PLAIN_BASELINE):
        raise LoadError(f"the plain INT8 model: {reason}")
    model = next(baseline for baseline in BASELINES if baseline.key == PLAIN_BASELINE).path(source)
    words = ["--checkpoint_dir", str(checkpoint), "--onnx_path", str(model), "--port", "{port}"]
    return RunningService([sys.executable, "scripts/tools/plain_service.py", *words], {})


def load_once(arguments: argparse.Namespace, load: Load) -> Path:
    """One load on one backend; the report."""
    with service_url(arguments) as url:
        print(f"{url}: the texts of all clips, then {load.users} users for {load.duration_s:g} s", flush=True)
        references = References.ask(url, load.clips)
        measured = measure(url, load, references)
    print(f"\n{load_table(measured.by_kind)}\n\n{formats_section(measured.by_format)}\n")
    sections = [
        "## What the clients saw",
        load_table(measured.by_kind),
        f"Failures over the whole time: {measured.failures}. Each text was compared with what the service "
        "says in an idle moment.",
        "## By format",
        formats_section(measured.by_format),
        "## What the service says itself",
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
    """Step the users up on one backend until p95 passes the limit; the report."""
    load = replace(load, long_users=0)
    with service_url(arguments) as url:
        references = References.ask(url, load.clips)

        def figures_of(users: int) -> LoadFigures:
            step = replace(load, users=users, spawn_rate=users)
            figures = measure(url, step, references).all
            print(f"{users} users: {figures.rps:.2f} RPS, p95 {figures.p95_s:.3f} s", flush=True)
            return figures

        print(f"{url}: up to {arguments.most_users} users, {load.duration_s:g} s each step", flush=True)
        steps, capacity = find_capacity(figures_of, arguments.p95_limit_s, arguments.most_users)
    section = capacity_section(steps, capacity, arguments.p95_limit_s)
    print(f"\n{section}\n")
    figures = {
        "p95_limit_s": arguments.p95_limit_s,
        "capacity": asdict(capacity) if capacity else None,
        "steps": [asdict(step) for step in steps],
    }
    settings = describe_service(arguments, references) | load.described() | {"users": "stepped up; no pauses"}
    return Report("Capacity", describe_machine(), settings, [section], figures).write(arguments.out, "load_capacity")


def goals_against_plain(rounds: dict[str, list[LoadFigures]]) -> list[Goal]:
    """What has to be shown against the plain service. rounds: backend or `PLAIN` -> the figures of its rounds."""
    goals = []
    for backend, ours in rounds.items():
        if backend == PLAIN:
            continue
        theirs = rounds[PLAIN]
        failures = sum(figures.failures + figures.refused for figures in ours)
        goals.append(Goal(f"{backend}: failed or refused requests", failures, 0))
        rps = median_of_ratios([figures.rps for figures in ours], [figures.rps for figures in theirs])
        p95 = median_of_ratios([figures.p95_s for figures in ours], [figures.p95_s for figures in theirs])
        if backend in RPS_GOALS:
            goals.append(Goal(f"{backend}: RPS / plain service's", rps, RPS_GOALS[backend], at_least=True))
        if backend in P95_GOALS:
            goals.append(Goal(f"{backend}: p95 / plain service's", p95, P95_GOALS[backend]))
    return goals


def load_against_plain(arguments: argparse.Namespace, load: Load) -> Path:
    """Our backends and the plain service in turn, each freshly started in each round; the report."""
    if not arguments.checkpoint_dir:
        raise LoadError("--against_plain needs --checkpoint_dir")
    checkpoint = find_model_folder(arguments.checkpoint_dir, REFERENCE).resolve()  # services run in another folder
    # A long file would take the plain service down, and librosa reads no M4A without the ffmpeg program.
    load = replace(load, long_users=0, formats=arguments.formats or PLAIN_FORMATS)
    rounds: dict[str, list[LoadFigures]] = {key: [] for key in [*arguments.backends, PLAIN]}
    for number in range(arguments.rounds):
        for key, found in rounds.items():
            service = (
                plain_service(checkpoint, arguments.baselines) if key == PLAIN else dikte(key, arguments.model_dir)
            )
            with service:
                measured = measure(service.url, load, References.ask(service.url, load.clips))
            found.append(measured.all)
            print(f"round {number + 1}, {key}: {measured.all.rps:.2f} RPS, p95 {measured.all.p95_s:.3f} s", flush=True)
    goals = goals_against_plain(rounds)
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
        "## What has to be shown",
        f"Medians over the rounds of the ratios within each round.\n\n{goals_section(goals)}",
        "## Medians",
        table(["service", "RPS", "RTFx", "p50 s", "p95 s"], medians),
        "## All rounds",
        load_table(by_round, "service"),
    ]
    print("\n" + "\n\n".join(sections[1::2]) + "\n")
    settings = {"model": arguments.model_dir, "rounds": f"{arguments.rounds}, in turn"} | load.described()
    figures = {
        "rounds": {key: [asdict(figures) for figures in found] for key, found in rounds.items()},
        "goals": [asdict(goal) | {"reached": goal.reached} for goal in goals],
    }
    return Report("Load, against the plain service", describe_machine(), settings, sections, figures).write(
        arguments.out, "load_against_plain"
    )


def parse_arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    mode = parser.add_mutually_exclusive_group()
    mode.add_argument("--capacity", action="store_true", help="step the users up until p95 passes --p95_limit_s")
    mode.add_argument("--against_plain", action="store_true", help="in turn with the plain service")
    parser.add_argument(
        "--host", help=f"address of a service that runs already (default: start one); its API key: {API_KEY_VARIABLE}"
    )
    parser.add_argument(
        "--model_dir", default=os.environ.get("ASR_MODEL_DIR", str(BUNDLED_MODEL)), help="artifact folder"
    )
    parser.add_argument(
        "--backends", nargs="+", default=[os.environ.get("ASR_BACKEND", ONNX_INT8)],
        help="engine of the service; with --against_plain it may be several",
    )  # fmt: skip
    parser.add_argument("--users", type=int, default=Load.users)
    parser.add_argument("--spawn_rate", type=float, default=Load.spawn_rate, help="users that come each second")
    parser.add_argument("--duration_s", type=float, default=Load.duration_s, help="of a load, the spawning included")
    parser.add_argument("--clips_s", default=Load.clips_s, help="lengths of short clips: 2-12 or 2,5,10")
    parser.add_argument(
        "--formats",
        help=f"what clips are sent as, in equal shares, of {','.join(FORMATS)} "
        f"(default: {DEFAULT_FORMATS}; {PLAIN_FORMATS} with --against_plain)",
    )
    parser.add_argument(
        "--long_users", type=int, default=Load.long_users, help="how many of the users send a long file"
    )
    parser.add_argument("--long_s", type=float, default=Load.long_s, help="length of the long file")
    parser.add_argument("--p95_limit_s", type=float, default=2.0, help="of --capacity")
    parser.add_argument("--most_users", type=int, default=512, help="of --capacity")
    parser.add_argument("--rounds", type=int, default=3, help="of --against_plain")
    parser.add_argument("--checkpoint_dir", help="of --against_plain: folder or hub id that the model was made from")
    parser.add_argument("--out", type=Path, default=Path("artifacts"), help="folder for the reports")
    parser.add_argument("--baselines", type=Path, help="folder of the plain model (default: baselines below --out)")
    arguments = parser.parse_args(words)
    if Path(arguments.model_dir).is_dir():
        arguments.model_dir = str(Path(arguments.model_dir).resolve())  # the service runs in another folder
    arguments.baselines = (arguments.baselines or arguments.out / BASELINES_FOLDER).resolve()
    if arguments.host and arguments.against_plain:
        parser.error("--against_plain starts its services itself")
    return arguments


def main() -> None:
    arguments = parse_arguments()
    load = Load(
        arguments.users, arguments.spawn_rate, arguments.duration_s, arguments.clips_s, arguments.long_users,
        arguments.long_s, arguments.formats or DEFAULT_FORMATS,
    )  # fmt: skip
    mode = load_until_limit if arguments.capacity else load_against_plain if arguments.against_plain else load_once
    with ending_cleanly("load test", ArtifactError, LoadError, ValueError):
        print(f"Report: {mode(arguments, load)}")


if __name__ == "__main__":
    main()
