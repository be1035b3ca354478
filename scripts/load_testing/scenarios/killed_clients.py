"""Clients that go away."""

import argparse
import asyncio
import time
from dataclasses import asdict, dataclass
from random import Random
from statistics import median

from scripts.common import MIB
from scripts.common.report import KeyFigure, table
from scripts.common.service_process import ServiceProcess
from scripts.load_testing.answers import References
from scripts.load_testing.client import leave
from scripts.load_testing.load_clips import long_clip, short_clips
from scripts.load_testing.scenarios.common import USERS, Finding, load_for, start
from scripts.load_testing.service_metrics import labels, scrape

KILLED_AT_ONCE = 20
KILL_ROUNDS = 4
CLIENTS_A_LONG_FILE = 20
"""Every 20th of the clients that are killed sends a long file, which does not stay in memory while it arrives."""
KILLED_LONG_S = 300.0
SETTLED_TIMEOUT_S = 60.0


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
    def of(cls, service: ServiceProcess, after: str) -> "Remains":
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
    memory = end.resident_mib / plateau.resident_mib
    what = f"after {arguments.kills} killed clients"
    key_figures = [
        KeyFigure("temporary_files", f"{what}: temporary files", end.temporary_files),
        KeyFigure("more_threads", f"{what}: threads more than after the first round", end.threads - plateau.threads),
        KeyFigure("memory_to_first_round", f"{what}: resident memory / after the first round", memory),
        KeyFigure("later_failures", f"{what}: failures of the {len(after)} clients that came then", failures),
    ]
    if end.queue_s >= 0:
        key_figures.append(KeyFigure("queue", f"{what}: sound in the queue", end.queue_s, "s"))
        key_figures.append(KeyFigure("uploads", f"{what}: uploads", end.uploads))
    head = ["after", "queue s", "uploads", "temporary files", "threads", "sockets", "resident MiB"]
    return Finding(
        key_figures,
        [table(head, [found.row() for found in remains])],
        {"remains": [asdict(found) for found in remains]},
    )
