"""Short clips while a long file is transcribed."""

import argparse
import asyncio
from statistics import median

from scripts.common.report import KeyFigure, milliseconds, table
from scripts.load_testing.answers import Answer, LoadError, References
from scripts.load_testing.client import upload
from scripts.load_testing.load_clips import clip_cutter, long_clip
from scripts.load_testing.load_figures import percentiles
from scripts.load_testing.scenarios.common import Finding, start

SHORT_S = 3.0
SHORT_PAUSE_S = 0.2


def short_beside_long(arguments: argparse.Namespace) -> Finding:
    """What is the latency of a short clip while a long file is transcribed?"""
    clip = clip_cutter(arguments.speech).cut("short", SHORT_S)
    long = long_clip(arguments.long_file_s, arguments.speech)
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
                print(f"{long.duration_s:g} s of audio in {longs[-1].latency_s:.1f} s, {len(beside)} clips", flush=True)
                if not longs[-1].ok:
                    raise LoadError(f"the long file was not transcribed: {longs[-1].status} {longs[-1].outcome}")
            return idle, beside, longs

        idle, beside, longs = asyncio.run(run())
    (idle_p50_s, idle_p95_s), (p50_s, p95_s) = (
        percentiles([answer.latency_s for answer in answers], 50, 95) for answers in (idle, beside)
    )
    failures = sum(not answer.ok for answer in [*idle, *beside])
    what = f"{SHORT_S:g} s clip beside a file of {arguments.long_file_s:g} s"
    key_figures = [
        KeyFigure("p95_to_idle_median", f"{what}: p95 / median when idle", p95_s / idle_p50_s),
        KeyFigure("failures", f"{what}: failures", failures),
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
    return Finding(key_figures, sections, figures)
