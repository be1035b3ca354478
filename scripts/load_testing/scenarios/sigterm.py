"""SIGTERM under load."""

import argparse
import asyncio
import time
from collections.abc import Mapping, Sequence
from typing import Any

from scripts.common.report import KeyFigure, table
from scripts.common.service_process import ServiceProcess
from scripts.load_testing.answers import References
from scripts.load_testing.client import closed_loop
from scripts.load_testing.load_clips import Clip, short_clips
from scripts.load_testing.scenarios.common import USERS, Finding, start

STOP_AFTER_S = 5.0


def sigterm(arguments: argparse.Namespace) -> Finding:
    """SIGTERM under the load of ten users: does the service lose accepted requests?

    A request is lost if its connection was open before the signal, the whole request was sent, and no answer came.
    """
    clips = short_clips(arguments.clips_s, arguments.speech)
    rows, stops = [], []
    for _ in range(arguments.rounds):
        with start(arguments) as service:
            texts = References.ask(service.url, clips).texts
            stop = asyncio.run(_stop_under_load(service, clips, texts))
        stops.append(stop)
        rows.append([str(value) for value in stop.values()])
        print(", ".join(f"{value} {name}" for name, value in stop.items()), flush=True)
    key_figures = [
        KeyFigure("lost", "SIGTERM under load: accepted requests lost", sum(stop["lost"] for stop in stops)),
        KeyFigure("wrong", "SIGTERM under load: wrong or failed answers", sum(stop["wrong"] for stop in stops)),
        KeyFigure("exit_code", "SIGTERM under load: exit code", max(abs(stop["exit code"]) for stop in stops)),
    ]
    return Finding(key_figures, [table(list(stops[0]), rows)], {"stops": stops})


async def _stop_under_load(service: ServiceProcess, clips: Sequence[Clip], texts: Mapping[str, str]) -> dict[str, Any]:
    """Run ten users, and send SIGTERM after `STOP_AFTER_S`. The users continue until they cannot connect.

    Returns the number of requests by their result, the exit code, and the time until the service exited.
    """
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
