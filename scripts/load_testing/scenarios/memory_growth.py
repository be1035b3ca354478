"""The memory of the service over many clips, and after a long file."""

import argparse
import asyncio
import time
from random import Random
from statistics import median

from scripts.common import MIB
from scripts.common.report import KeyFigure, table
from scripts.load_testing.client import upload
from scripts.load_testing.load_clips import clip_cutter, long_clip
from scripts.load_testing.scenarios.common import SETTLE_SHARE, Finding, start

MEMORY_USERS = 4
RANDOM_LENGTHS_S = (0.5, 20.0)
MEMORY_MARKS = 10
RETURNED_RATIO = 1.1
"""Memory counts as returned when it is at most this multiple of the memory before: an allocator keeps some."""
RETURNED_TIMEOUT_S = 60.0
"""The service returns memory to the system when it is idle."""


def memory(arguments: argparse.Namespace) -> Finding:
    """How does memory grow over many clips of random lengths, and how much is kept after a long file?"""
    random, cutter = Random(arguments.seed), clip_cutter(arguments.speech)
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
                clip = cutter.cut("random", random.uniform(*RANDOM_LENGTHS_S))
                failures += (await upload(service.url, clip)).answer.failed

        async def run() -> None:
            async with asyncio.TaskGroup() as group:
                for _ in range(MEMORY_USERS):
                    group.create_task(use())

        asyncio.run(run())
        rows = [[f"{clips} clips", f"{resident:.1f}"] for clips, resident in marks]
        peak = service.peak_bytes / MIB
        long = asyncio.run(upload(service.url, long_clip(arguments.long_file_s, arguments.speech))).answer
        failures += long.failed
        long_peak, before = service.peak_bytes / MIB, marks[-1][1]
        deadline = time.monotonic() + RETURNED_TIMEOUT_S
        while (after_long := service.resident_bytes / MIB) > before * RETURNED_RATIO and time.monotonic() < deadline:
            time.sleep(1)
    settled = [resident for clips, resident in marks if clips >= SETTLE_SHARE * arguments.memory_clips]
    rows += [
        ["peak until then", f"{peak:.1f}"],
        [f"peak with a file of {arguments.long_file_s:g} s", f"{long_peak:.1f}"],
        ["idle after that", f"{after_long:.1f}"],
    ]
    growth = median(settled[-3:]) / median(settled[:3])
    what = f"{arguments.memory_clips} clips of random length"
    key_figures = [
        KeyFigure("memory_to_a_fifth", f"{what}: resident memory at the end / after a fifth", growth),
        KeyFigure("memory_to_before_long", "after the long file: resident memory / before it", after_long / before),
        KeyFigure("failures", f"{what} and a long file: failures", failures),
    ]
    figures = {"marks": marks, "peak_mib": peak, "after_long_mib": after_long, "long_peak_mib": long_peak}
    return Finding(key_figures, [table(["after", "resident MiB"], rows)], figures)
