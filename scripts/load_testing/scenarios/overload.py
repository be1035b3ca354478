"""More requests than the service can answer."""

import argparse
import asyncio
import time
from collections import Counter
from dataclasses import asdict
from random import Random

from scripts.common.report import KeyFigure, milliseconds, table
from scripts.load_testing.answers import References
from scripts.load_testing.client import open_loop
from scripts.load_testing.load_clips import short_clips
from scripts.load_testing.load_figures import LoadFigures, percentiles
from scripts.load_testing.load_tables import LOAD_HEAD, load_row
from scripts.load_testing.scenarios.common import SETTLE_SHARE, USERS, Finding, load_for, start

DEADLINE_EXCEEDED = "deadline_exceeded"


def overload(arguments: argparse.Namespace) -> Finding:
    """Clients arrive at three times the capacity, independently of each other.

    The capacity is the throughput of 10 users who send one clip after the other. It is measured before and after the
    overload.
    """
    clips, random = short_clips(arguments.clips_s, arguments.speech), Random(arguments.seed)
    deadline_s = arguments.deadline_s
    settings = {"deadline_s": deadline_s} | ({"max_queue_s": arguments.max_queue_s} if arguments.max_queue_s else {})
    with start(arguments, **settings) as service:
        texts = References.ask(service.url, clips).texts

        def capacity() -> LoadFigures:
            window, exchanges = asyncio.run(load_for(service.url, clips, texts, USERS, arguments.duration_s / 2))
            found = LoadFigures.of((exchange.answer for exchange in exchanges), *window)
            print(f"{USERS} users: {found.rps:.2f} RPS, {found.audio_s_per_s:.1f} s of audio per second", flush=True)
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
    in_deadline = len(in_time) / max(1, len(accepted))
    factor = f"{arguments.overload_factor:g} x capacity"
    key_figures = [
        KeyFigure("refusals_p95", f"{factor}: p95 of refusals", percentiles(refused, 95)[0], "s"),
        KeyFigure("in_deadline_share", f"{factor}: share of accepted requests within their deadline", in_deadline),
        KeyFigure("throughput_to_peak", f"{factor}: audio per second / peak", loaded.audio_s_per_s / peak_s_per_s),
        KeyFigure("other_failures", f"{factor}: other failures", other.total()),
    ]
    rows = [[f"{USERS} users", *load_row(before)], [factor, *load_row(loaded)], [f"{USERS} users", *load_row(after)]]
    bound = f"{settings['max_queue_s']} s" if "max_queue_s" in settings else "the service's default"
    slowest_s = max((answer.latency_s for answer in accepted), default=float("nan"))
    sections = [
        table(["", *LOAD_HEAD], rows),
        f"{len(answers)} requests at {rps:.1f} RPS, deadline {deadline_s:g} s, queue limit {bound}. "
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
    return Finding(key_figures, sections, figures)
