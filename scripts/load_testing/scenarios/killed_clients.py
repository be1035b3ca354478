"""Clients that disconnect during their requests."""

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
from scripts.load_testing.client import upload_and_disconnect
from scripts.load_testing.load_clips import long_clip, short_clips
from scripts.load_testing.scenarios.common import USERS, Finding, load_for, start
from scripts.load_testing.service_metrics import labels, scrape

KILLED_AT_ONCE = 20
KILL_ROUNDS = 4
CLIENTS_A_LONG_FILE = 20
"""Every 20th of the killed clients sends a long file, which the service stores in a temporary file."""
KILLED_LONG_S = 300.0
SETTLED_TIMEOUT_S = 60.0


@dataclass(frozen=True)
class ServiceState:
    """The resources of a service without clients.

    after: the step after which they were read. queue_s, uploads: -1 if the service has no `/metrics`.
    """

    after: str
    queue_s: float
    uploads: float
    temporary_files: int
    threads: int
    sockets: int
    resident_mib: float

    @classmethod
    def of(cls, service: ServiceProcess, after: str) -> "ServiceState":
        """Read the state when there is no queue, upload or temporary file left, or after `SETTLED_TIMEOUT_S`."""
        deadline = time.monotonic() + SETTLED_TIMEOUT_S
        while True:
            metrics = scrape(service.url)
            gauges = [
                metrics.get((name, labels()), -1.0) for name in ("dikte_queue_seconds", "dikte_uploads_in_progress")
            ]
            time.sleep(1.0)  # also for what has no gauge, such as a call that still computes or an open connection
            if max(*gauges, service.temporary_files) <= 0 or time.monotonic() > deadline:
                break
        queue_s, uploads = gauges
        return cls(
            after, queue_s, uploads, service.temporary_files, service.threads, service.sockets,
            service.resident_bytes / MIB,
        )  # fmt: skip

    def row(self) -> list[str]:
        """The cells of a row of the table."""
        return [str(round(value, 1)) if isinstance(value, float) else str(value) for value in asdict(self).values()]


def killed_clients(arguments: argparse.Namespace) -> Finding:
    """Hundreds of clients disconnect at random moments, some with long files: which resources does the service leak?

    First, a load of twice as many users as are killed at a time, and a first round of kills, bring the service to its
    plateau. The state after the last round is compared with the state after the first one.
    """
    clips, random = short_clips(arguments.clips_s, arguments.speech), Random(arguments.seed)
    long = long_clip(KILLED_LONG_S, arguments.speech)
    with start(arguments) as service:
        texts = References.ask(service.url, [*clips, long]).texts
        everything = [*clips, long]
        _, exchanges = asyncio.run(
            load_for(service.url, everything, texts, 2 * KILLED_AT_ONCE, arguments.duration_s / 2)
        )
        longest_s = median(exchange.answer.latency_s for exchange in exchanges)

        async def kill(clients: int) -> None:
            slots = asyncio.Semaphore(KILLED_AT_ONCE)

            async def one(number: int) -> None:
                async with slots:
                    clip = random.choice(clips) if number % CLIENTS_A_LONG_FILE else long
                    await upload_and_disconnect(service.url, clip, random, longest_s)

            async with asyncio.TaskGroup() as group:
                for number in range(clients):
                    group.create_task(one(number))

        states = [ServiceState.of(service, "load")]
        for number in range(KILL_ROUNDS):
            asyncio.run(kill(arguments.kills // KILL_ROUNDS))
            states.append(ServiceState.of(service, f"round {number + 1}"))
            print(states[-1], flush=True)
        _, after = asyncio.run(load_for(service.url, clips, texts, USERS, arguments.duration_s / 4))
        states.append(ServiceState.of(service, "load again"))
    plateau, end = states[1], states[-2]
    failures = sum(exchange.answer.failed for exchange in after)
    memory = end.resident_mib / plateau.resident_mib
    what = f"after {arguments.kills} killed clients"
    key_figures = [
        KeyFigure("temporary_files", f"{what}: temporary files", end.temporary_files),
        KeyFigure("more_threads", f"{what}: threads added since the first round", end.threads - plateau.threads),
        KeyFigure("memory_to_first_round", f"{what}: resident memory / after the first round", memory),
        KeyFigure("later_failures", f"{what}: failures of the {len(after)} later requests", failures),
    ]
    if end.queue_s >= 0:
        key_figures.append(KeyFigure("queue", f"{what}: audio in the queue", end.queue_s, "s"))
        key_figures.append(KeyFigure("uploads", f"{what}: uploads", end.uploads))
    head = ["after", "queue s", "uploads", "temporary files", "threads", "sockets", "resident MiB"]
    return Finding(
        key_figures,
        [table(head, [state.row() for state in states])],
        {"remains": [asdict(state) for state in states]},
    )
