"""What a service has to stand, each shown by a scenario of its own: clients in this process, the service in another.

    python scripts/load_scenarios.py --model_dir models/base                        # all
    python scripts/load_scenarios.py overload sigterm --model_dir models/base --backend openvino

Each writes `load_SCENARIO.md` and `.json` into `artifacts/` and prints what had to be shown. `docs/performance.md`
tells what they do. Against the plain service: `scripts/load.py --against_plain`. Linux only (/proc).
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run as a file: make the packages importable

import argparse
import asyncio
import os
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from random import Random
from statistics import median
from typing import Any

import numpy as np

from app.cores import available_cores
from app.settings import BUNDLED_MODEL
from scripts.bench_engines import OWN_ENGINES, own_spec
from scripts.bench_process import EngineProcess
from scripts.command import ending_cleanly
from scripts.goals import Goal
from scripts.load import Load, measure
from scripts.load_answers import Answer, LoadError, References
from scripts.load_client import Exchange, closed_loop, leave, open_loop, upload
from scripts.load_clips import DEFAULT_MIX, Clip, Tape, long_clip, read_samples, short_clips
from scripts.load_figures import LoadFigures, labels, median_of_ratios, percentiles
from scripts.load_report import LOAD_HEAD, Report, goals_section, load_row, milliseconds
from scripts.load_service import RunningService, dikte, scrape
from scripts.machine import describe_machine
from scripts.markdown import table

USERS = 10
SHORT_S = 3.0
SHORT_PAUSE_S = 0.2
SETTLE_SHARE = 0.2
"""The first fifth of a load does not count."""
DEADLINE_EXCEEDED = "deadline_exceeded"
STOP_AFTER_S = 5.0
KILLED_AT_ONCE = 20
KILL_ROUNDS = 4
CLIENTS_A_LONG_FILE = 20
"""Every 20th of the clients that are killed sends a long file, which does not stay in memory while it arrives."""
KILLED_LONG_S = 300.0
SETTLED_TIMEOUT_S = 60.0
MEMORY_USERS = 4
RANDOM_LENGTHS_S = (0.5, 20.0)
MEMORY_MARKS = 10
PLATEAU = 1.1
"""Resident memory may end this much above what it was when everything had been used once: an allocator's slack."""
RETURNED_TIMEOUT_S = 60.0
MIB = 1 << 20


@dataclass(frozen=True)
class Finding:
    """What a scenario found. sections: Markdown, below the goals. figures: for JSON."""

    goals: list[Goal]
    sections: list[str]
    figures: dict[str, Any] = field(default_factory=dict)


def start(arguments: argparse.Namespace, **settings: object) -> RunningService:
    """The service on the model of the command line, with these `ASR_*` settings besides."""
    return dikte(
        arguments.backend,
        arguments.model_dir,
        {f"ASR_{name.upper()}": str(value) for name, value in settings.items()},
    )


def engine(arguments: argparse.Namespace) -> Finding:
    """How much of the engine's own throughput reaches 10 clients?

    In turn: single-thread calls side by side on the clips, as scripts/benchmark.py measures them, and the same clips
    through the service.
    """
    engine = next((own for own in OWN_ENGINES if own.backend == arguments.backend), None)
    if engine is None:
        raise LoadError(f"{arguments.backend} is none of {', '.join(own.backend for own in OWN_ENGINES)}")
    model = Path(arguments.model_dir)
    spec = own_spec(engine, model / engine.file_name, model)
    workers = int(os.environ.get("ASR_WORKERS", available_cores()))
    load = Load(USERS, USERS, arguments.duration_s, arguments.clips_s, long_users=0)
    sounds = [np.divide(clip.pcm, 2**15, dtype=np.float32) for clip in load.clips]
    rate_hz = load.clips[0].rate_hz
    alone, served, failures = [], [], 0
    for number in range(arguments.rounds):
        with EngineProcess(spec, threads=1, callers=workers) as process:
            process.load()
            process.throughput(sounds, 0.0)  # one pass to warm up
            alone.append(process.throughput(sounds, arguments.duration_s / 2) / rate_hz)
        with start(arguments) as service:
            measured = measure(service.url, load, References.ask(service.url, load.clips))
        served.append(measured.all)
        failures += measured.failures + measured.all.refused
        print(f"round {number + 1}: alone {alone[-1]:.1f} s/s, clients {served[-1].audio_s_per_s:.1f} s/s", flush=True)
    reached = median_of_ratios([figures.audio_s_per_s for figures in served], alone)
    goals = [
        Goal(f"{USERS} users: failed or refused requests", failures, 0),
        Goal("sound that reaches the clients / engine's own throughput", reached, 0.9, at_least=True),
    ]
    rows = [
        [str(number + 1), f"{own:.1f}", *load_row(figures)]
        for number, (own, figures) in enumerate(zip(alone, served, strict=True))
    ]
    figures = {"engine_audio_s_per_s": alone, "clients": [asdict(figures) for figures in served]}
    return Finding(goals, [table(["round", f"engine alone, {workers} calls, s/s", *LOAD_HEAD], rows)], figures)


def short_beside_long(arguments: argparse.Namespace) -> Finding:
    """How long does a short clip take while a long file is computed?"""
    clip = Tape(read_samples()).cut("short", SHORT_S)
    long = long_clip(arguments.long_file_s)
    with start(arguments) as service:
        text = References.ask(service.url, [clip]).texts[clip.name]

        async def short() -> Answer:
            await asyncio.sleep(SHORT_PAUSE_S)
            return (await upload(service.url, clip, text)).answer

        async def run() -> tuple[list[Answer], list[Answer], list[Answer]]:
            idle = [await short() for _ in range(arguments.short_runs)]
            beside: list[Answer] = []
            longs: list[Answer] = []
            while len(beside) < arguments.short_runs:
                sent = asyncio.Event()
                computed = asyncio.create_task(upload(service.url, long, on_sent=sent.set))
                await asyncio.wait(
                    {computed, waiting := asyncio.create_task(sent.wait())}, return_when="FIRST_COMPLETED"
                )
                waiting.cancel()
                found = []
                while not computed.done():
                    found.append(await short())
                beside += found[:-1]  # the last one may have run alone
                longs.append((await computed).answer)
                print(f"{long.duration_s:g} s of sound in {longs[-1].latency_s:.1f} s, {len(beside)} clips", flush=True)
                if not longs[-1].ok:
                    raise LoadError(f"the long file was not transcribed: {longs[-1].status} {longs[-1].outcome}")
            return idle, beside, longs

        idle, beside, longs = asyncio.run(run())
    (idle_p50_s, idle_p95_s), (p50_s, p95_s) = (
        percentiles([answer.latency_s for answer in answers], 50, 95) for answers in (idle, beside)
    )
    failures = sum(not answer.ok for answer in [*idle, *beside])
    what = f"{SHORT_S:g} s clip beside a file of {arguments.long_file_s:g} s"
    goals = [
        Goal(f"{what}: p95 / median when idle", p95_s / idle_p50_s, 4.0),
        Goal(f"{what}: failures", failures, 0),
    ]
    rows = [
        ["idle", str(len(idle)), milliseconds(idle_p50_s), milliseconds(idle_p95_s)],
        ["beside the long file", str(len(beside)), milliseconds(p50_s), milliseconds(p95_s)],
        ["ratio", "", f"{p50_s / idle_p50_s:.2f}", f"{p95_s / idle_p95_s:.2f}"],
    ]
    long_s = median(answer.latency_s for answer in longs)
    sections = [
        table(["", "clips", "p50 ms", "p95 ms"], rows),
        f"The long file took {long_s:.1f} s (median of {len(longs)}).",
    ]
    figures = {
        "idle_s": [answer.latency_s for answer in idle],
        "beside_s": [answer.latency_s for answer in beside],
        "long_s": [answer.latency_s for answer in longs],
    }
    return Finding(goals, sections, figures)


def overload(arguments: argparse.Namespace) -> Finding:
    """Clients come at three times the capacity, and do not wait for each other.

    Capacity is what 10 users get who send one clip after the other, before it and again after it.
    """
    clips, deadline_s, random = short_clips(arguments.clips_s), arguments.deadline_s, Random(arguments.seed)
    settings = {"deadline_s": deadline_s} | ({"max_queue_s": arguments.max_queue_s} if arguments.max_queue_s else {})
    with start(arguments, **settings) as service:
        texts = References.ask(service.url, clips).texts

        def capacity() -> LoadFigures:
            window, exchanges = asyncio.run(load_for(service.url, clips, texts, USERS, arguments.duration_s / 2))
            found = LoadFigures.of((exchange.answer for exchange in exchanges), *window)
            print(f"{USERS} users: {found.rps:.2f} RPS, {found.audio_s_per_s:.1f} s of sound per second", flush=True)
            return found

        before = capacity()
        rps, begin_s = arguments.overload_factor * before.rps, time.time()
        headers = {"X-Request-Timeout": f"{deadline_s:g}"}
        exchanges = asyncio.run(open_loop(service.url, clips, texts, rps, arguments.duration_s, headers, random))
        after = capacity()
    peak_s_per_s = (before.audio_s_per_s + after.audio_s_per_s) / 2
    answers = [exchange.answer for exchange in exchanges]
    window = begin_s + SETTLE_SHARE * arguments.duration_s, begin_s + arguments.duration_s
    loaded = LoadFigures.of(answers, *window)
    accepted = [answer for answer in answers if answer.ok or answer.outcome == DEADLINE_EXCEEDED]
    in_time = [answer for answer in accepted if answer.ok and answer.latency_s <= deadline_s]
    refused = [answer.latency_s for answer in answers if answer.refused]
    other = Counter(answer.outcome for answer in answers if answer.failed and answer.outcome != DEADLINE_EXCEEDED)
    factor = f"{arguments.overload_factor:g} x capacity"
    goals = [
        Goal(f"{factor}: p95 of refusals", percentiles(refused, 95)[0], 0.1, "s"),
        Goal(
            f"{factor}: accepted requests inside their deadline",
            len(in_time) / max(1, len(accepted)),
            1.0,
            at_least=True,
        ),
        Goal(f"{factor}: sound per second / peak", loaded.audio_s_per_s / peak_s_per_s, 0.9, at_least=True),
        Goal(f"{factor}: other failures", other.total(), 0),
    ]
    rows = [[f"{USERS} users", *load_row(before)], [factor, *load_row(loaded)], [f"{USERS} users", *load_row(after)]]
    bound = f"{settings['max_queue_s']} s" if "max_queue_s" in settings else "the service's own"
    slowest_s = max((answer.latency_s for answer in accepted), default=float("nan"))
    sections = [
        table(["", *LOAD_HEAD], rows),
        f"{len(answers)} requests at {rps:.1f} RPS, deadline {deadline_s:g} s, bound of the queue {bound}. "
        f"{len(accepted)} accepted, {len(in_time)} of them in time, the slowest took {slowest_s:.2f} s; "
        f"{len(refused)} refused, p50 {milliseconds(percentiles(refused, 50)[0])} ms; "
        f"other failures: {dict(other) or 'none'}.",
    ]
    figures = {
        "before": asdict(before),
        "overload": asdict(loaded),
        "after": asdict(after),
        "rps": rps,
        "settings": settings,
    }
    figures |= {"accepted": len(accepted), "in_time": len(in_time), "refused": len(refused), "other": dict(other)}
    return Finding(goals, sections, figures)


async def load_for(
    url: str, clips: Sequence[Clip], texts: Mapping[str, str], users: int, seconds: float
) -> tuple[tuple[float, float], list[Exchange]]:
    """Users for so long: when what counts of it begins and ends (seconds since the epoch), and all exchanges."""
    end_s = time.time() + seconds
    exchanges = await closed_loop(url, clips, texts, users, lambda _: time.time() < end_s)
    return (end_s - (1 - SETTLE_SHARE) * seconds, end_s), exchanges


def sigterm(arguments: argparse.Namespace) -> Finding:
    """SIGTERM under the load of ten users: is a request lost that had been accepted?

    Lost: the connection stood before the signal, the whole request was sent, and no answer came.
    """
    clips = short_clips(arguments.clips_s)
    rows, stops = [], []
    for _ in range(arguments.rounds):
        with start(arguments) as service:
            texts = References.ask(service.url, clips).texts
            stop = asyncio.run(_stop_under_load(service, clips, texts))
        stops.append(stop)
        rows.append([str(value) for value in stop.values()])
        print(", ".join(f"{value} {name}" for name, value in stop.items()), flush=True)
    goals = [
        Goal("SIGTERM under load: accepted requests lost", sum(stop["lost"] for stop in stops), 0),
        Goal("SIGTERM under load: wrong or failed answers", sum(stop["wrong"] for stop in stops), 0),
        Goal("SIGTERM under load: exit code", max(abs(stop["exit code"]) for stop in stops), 0),
    ]
    return Finding(goals, [table(list(stops[0]), rows)], {"stops": stops})


async def _stop_under_load(service: RunningService, clips: Sequence[Clip], texts: Mapping[str, str]) -> dict[str, Any]:
    """Ten users, SIGTERM after a while; they go on until nobody listens. What became of their requests."""
    signalled_s = float("inf")

    async def terminate() -> float:
        nonlocal signalled_s
        await asyncio.sleep(STOP_AFTER_S)
        signalled_s = time.time()
        service.terminate()
        await asyncio.to_thread(service.exit_code)
        return time.time() - signalled_s

    ending = asyncio.create_task(terminate())
    exchanges = await closed_loop(
        service.url,
        clips,
        texts,
        USERS,
        lambda last: not ending.done() and (last is None or last.connected_s is not None),
    )
    taken_s = await ending
    after = [exchange for exchange in exchanges if exchange.answer.ended_s >= signalled_s]
    early = [exchange for exchange in after if exchange.connected_s is not None and exchange.connected_s < signalled_s]
    silent = [exchange for exchange in early if not exchange.answer.status]
    refusals = {429, 503}
    return {
        "requests": len(exchanges),
        "answered after the signal": sum(exchange.answer.ok for exchange in after),
        "refused": sum(exchange.answer.status in refusals for exchange in exchanges),
        "not connected, or too late": sum(not exchange.answer.status for exchange in after) - len(silent),
        "cut in their upload": sum(not exchange.sent for exchange in silent),
        "lost": sum(exchange.sent for exchange in silent)
        + sum(not exchange.answer.status for exchange in exchanges if exchange.answer.ended_s < signalled_s),
        "wrong": sum(exchange.answer.failed and exchange.answer.status not in (0, *refusals) for exchange in exchanges),
        "exit code": service.exit_code(),
        "seconds to the end": round(taken_s, 2),
    }


@dataclass(frozen=True)
class Remains:
    """What a service holds when nobody is there. Gauges are -1 where the service has no `/metrics`."""

    after: str
    queue_s: float
    uploads: float
    temporary_files: int
    threads: int
    sockets: int
    resident_mib: float

    @classmethod
    def of(cls, service: RunningService, after: str) -> "Remains":
        """Look, once queue, uploads and the folder of temporary files are empty, or after `SETTLED_TIMEOUT_S`."""
        deadline = time.monotonic() + SETTLED_TIMEOUT_S
        while True:
            metrics = scrape(service.url)
            gauges = [
                metrics.get((name, labels()), -1.0) for name in ("dikte_queue_seconds", "dikte_uploads_in_progress")
            ]
            time.sleep(1.0)  # also for what is not in them: a call that goes on computing, a connection that closes
            if max(*gauges, service.temporary_files) <= 0 or time.monotonic() > deadline:
                break
        queue_s, uploads = gauges
        return cls(
            after, queue_s, uploads, service.temporary_files, service.threads, service.sockets,
            service.resident_bytes / MIB,
        )  # fmt: skip

    def row(self) -> list[str]:
        """Cells of the table."""
        return [str(round(value, 1)) if isinstance(value, float) else str(value) for value in asdict(self).values()]


def killed_clients(arguments: argparse.Namespace) -> Finding:
    """Hundreds of clients that go away at random moments, some with long files: what do they leave behind?

    A load of twice as many users as will be killed at a time and the first round are there to reach the plateau; what
    comes after is compared with it.
    """
    clips, random = short_clips(arguments.clips_s), Random(arguments.seed)
    long = long_clip(KILLED_LONG_S)
    with start(arguments) as service:
        texts = References.ask(service.url, [*clips, long]).texts
        everything = [*clips, long]
        _, exchanges = asyncio.run(
            load_for(service.url, everything, texts, 2 * KILLED_AT_ONCE, arguments.duration_s / 2)
        )
        longest_s = median(exchange.answer.latency_s for exchange in exchanges)

        async def kill(clients: int) -> None:
            places = asyncio.Semaphore(KILLED_AT_ONCE)

            async def one(number: int) -> None:
                async with places:
                    clip = random.choice(clips) if number % CLIENTS_A_LONG_FILE else long
                    await leave(service.url, clip, random, longest_s)

            async with asyncio.TaskGroup() as group:
                for number in range(clients):
                    group.create_task(one(number))

        remains = [Remains.of(service, "load")]
        for number in range(KILL_ROUNDS):
            asyncio.run(kill(arguments.kills // KILL_ROUNDS))
            remains.append(Remains.of(service, f"round {number + 1}"))
            print(remains[-1], flush=True)
        _, after = asyncio.run(load_for(service.url, clips, texts, USERS, arguments.duration_s / 4))
        remains.append(Remains.of(service, "load again"))
    plateau, end = remains[1], remains[-2]
    failures = sum(exchange.answer.failed for exchange in after)
    what = f"after {arguments.kills} killed clients"
    goals = [
        Goal(f"{what}: temporary files", end.temporary_files, 0),
        Goal(f"{what}: threads more than after the first round", end.threads - plateau.threads, 0),
        Goal(f"{what}: resident memory / after the first round", end.resident_mib / plateau.resident_mib, PLATEAU),
        Goal(f"{what}: failures of the {len(after)} clients that came then", failures, 0),
    ]
    if end.queue_s >= 0:
        goals.append(Goal(f"{what}: sound in the queue", end.queue_s, 0, "s"))
        goals.append(Goal(f"{what}: uploads", end.uploads, 0))
    head = ["after", "queue s", "uploads", "temporary files", "threads", "sockets", "resident MiB"]
    return Finding(
        goals, [table(head, [found.row() for found in remains])], {"remains": [asdict(found) for found in remains]}
    )


def memory(arguments: argparse.Namespace) -> Finding:
    """Memory over many clips of random lengths, and after a long file."""
    random, tape = Random(arguments.seed), Tape(read_samples())
    marks: list[tuple[int, float]] = []
    step = max(1, arguments.memory_clips // MEMORY_MARKS)
    failures = begun = 0
    with start(arguments) as service:

        async def use() -> None:
            nonlocal begun, failures
            while begun < arguments.memory_clips:
                begun += 1
                if not begun % step:
                    marks.append((begun, service.resident_bytes / MIB))
                    print(f"{begun} clips: {marks[-1][1]:.1f} MiB", flush=True)
                clip = tape.cut("random", random.uniform(*RANDOM_LENGTHS_S))
                failures += (await upload(service.url, clip)).answer.failed

        async def run() -> None:
            async with asyncio.TaskGroup() as group:
                for _ in range(MEMORY_USERS):
                    group.create_task(use())

        asyncio.run(run())
        rows = [[f"{clips} clips", f"{resident:.1f}"] for clips, resident in marks]
        peak = service.peak_bytes / MIB
        long = asyncio.run(upload(service.url, long_clip(arguments.long_file_s))).answer
        failures += long.failed
        long_peak, before = service.peak_bytes / MIB, marks[-1][1]
        give_up = time.monotonic() + RETURNED_TIMEOUT_S  # the service gives memory back when it has nothing to do
        while (after_long := service.resident_bytes / MIB) > before * PLATEAU and time.monotonic() < give_up:
            time.sleep(1)
    settled = [resident for clips, resident in marks if clips >= SETTLE_SHARE * arguments.memory_clips]
    rows += [
        ["at most until then", f"{peak:.1f}"],
        [f"at most, with a file of {arguments.long_file_s:g} s", f"{long_peak:.1f}"],
        ["after that, idle", f"{after_long:.1f}"],
    ]
    what = f"{arguments.memory_clips} clips of random length"
    goals = [
        Goal(
            f"{what}: resident memory at the end / after a fifth", median(settled[-3:]) / median(settled[:3]), PLATEAU
        ),
        Goal("after the long file: resident memory / before it", after_long / before, PLATEAU),
        Goal(f"{what} and a long file: failures", failures, 0),
    ]
    figures = {"marks": marks, "peak_mib": peak, "after_long_mib": after_long, "long_peak_mib": long_peak}
    return Finding(goals, [table(["after", "resident MiB"], rows)], figures)


SCENARIOS: dict[str, Callable[[argparse.Namespace], Finding]] = {
    scenario.__name__: scenario for scenario in (engine, short_beside_long, overload, sigterm, killed_clients, memory)
}


def parse_arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scenarios", nargs="*", metavar="SCENARIO", help=f"of {', '.join(SCENARIOS)} (default: all)")
    parser.add_argument(
        "--model_dir", default=os.environ.get("ASR_MODEL_DIR", str(BUNDLED_MODEL)), help="artifact folder"
    )
    parser.add_argument("--backend", default=os.environ.get("ASR_BACKEND", "onnx_int8"), help="engine of the service")
    parser.add_argument("--clips_s", default=DEFAULT_MIX, help="lengths of short clips: 2-12 or 2,5,10")
    parser.add_argument("--duration_s", type=float, default=60.0, help="of a load")
    parser.add_argument("--rounds", type=int, default=3, help="of engine and sigterm")
    parser.add_argument("--long_file_s", type=float, default=3600.0, help="of short_beside_long and memory")
    parser.add_argument("--short_runs", type=int, default=60, help="of short_beside_long: clips idle and beside")
    parser.add_argument("--overload_factor", type=float, default=3.0, help="of overload: arrivals / capacity")
    parser.add_argument("--deadline_s", type=float, default=10.0, help="of overload")
    parser.add_argument(
        "--max_queue_s", type=float,
        help="of overload: bound of the queue, seconds of sound (default: the service's own)",
    )  # fmt: skip
    parser.add_argument("--kills", type=int, default=400, help="of killed_clients")
    parser.add_argument("--memory_clips", type=int, default=10_000, help="of memory")
    parser.add_argument("--seed", type=int, default=0, help="of all that is random")
    parser.add_argument("--out", type=Path, default=Path("artifacts"), help="folder for the reports")
    arguments = parser.parse_args(words)
    unknown = set(arguments.scenarios) - SCENARIOS.keys()
    if unknown:
        parser.error(f"there is no scenario {', '.join(sorted(unknown))}; there are {', '.join(SCENARIOS)}")
    arguments.model_dir = str(Path(arguments.model_dir).resolve())
    return arguments


def run(name: str, arguments: argparse.Namespace) -> Path:
    """Run a scenario and write its report. Raises LoadError."""
    scenario = SCENARIOS[name]
    description = " ".join((scenario.__doc__ or "").split())
    print(f"\n{name}: {description}", flush=True)
    finding = scenario(arguments)
    goals = goals_section(finding.goals)
    sections = [description, goals, *finding.sections]
    print("\n" + "\n\n".join([goals, *finding.sections]) + "\n", flush=True)
    settings = {"model": f"{Path(arguments.model_dir).name} on {arguments.backend}"}
    figures = finding.figures | {"goals": [asdict(goal) | {"reached": goal.reached} for goal in finding.goals]}
    title = f"Load: {name.replace('_', ' ')}"
    return Report(title, describe_machine(), settings, sections, figures).write(arguments.out, f"load_{name}")


def main() -> None:
    arguments = parse_arguments()
    with ending_cleanly("load test", LoadError, ValueError):
        for name in arguments.scenarios or SCENARIOS:
            print(f"Report: {run(name, arguments)}")


if __name__ == "__main__":
    main()
