"""The child process that decodes cases. `tests.fuzz.parent` starts it, because a case may crash it.

Prints a line of JSON for each event: `{"begin": 17}`, `{"finding": {...}}`, and at the end `{"summary": {...}}`. The
kernel kills a case that does not end: by SIGPROF after `--hang_s` of CPU time, by SIGALRM after `STUCK_S`.
"""

import argparse
import faulthandler
import gc
import importlib
import io
import json
import os
import resource
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from app.memory import return_freed_memory
from tests.fuzz.cases import Cases
from tests.fuzz.properties import Decoded, Decoder, Violation, cpu_bound_s, decode_checked

STUCK_S = 600
"""Wall time after which a decoder is considered stuck. It is generous, because the machine may be busy."""
MEMORY_BYTES = 1 << 30
"""Address space that decoding may use. The limits of the cases allow 64 MiB of decoded audio."""
WARM_UP_CASES = 50
MEASURE_EVERY = 25
REPEAT_EVERY = 4
"""Each 4th case is decoded twice, because reads of uninitialized memory give different results."""
ON_DISK_EVERY = 5
SETTLING_S = 2.0
"""Time for finished threads to disappear from /proc."""


class Fuzzer:
    """Decodes cases one after the other, and collects statistics."""

    def __init__(self, decoder: Decoder, folder: Path, hang_s: float) -> None:
        self._decoder = decoder
        self._hang_s = hang_s
        self._folder = folder
        self._resources: tuple[int, int] | None = None
        self._done = 0
        self.outcomes = Counter[str]()
        self.resident_bytes: list[int] = []
        self.slowest: tuple[float, int] = (0.0, -1)

    def run(self, number: int, data: bytes) -> None:
        """Decode one case."""
        signal.setitimer(signal.ITIMER_PROF, self._hang_s)
        signal.alarm(STUCK_S)
        try:
            self._check(number, data)
        except Exception as error:  # any exception is a finding
            emit("finding", {"case": number, **described(error)})
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.alarm(0)
        self._done += 1
        if self._done % MEASURE_EVERY == 0:
            gc.collect()
            return_freed_memory()
            self.resident_bytes.append(resident_bytes())

    def _check(self, number: int, data: bytes) -> None:
        first = self._decoded(number, data)
        self.outcomes[first.outcome] += 1
        bound_s = cpu_bound_s(len(data), first.audio_s)
        self.slowest = max(self.slowest, (first.cpu_s / bound_s, number))
        if first.cpu_s > bound_s and self._decoded(number, data).cpu_s > bound_s:  # slow both times
            raise Violation(
                f"too slow\n{first.cpu_s:.2f} s of CPU for {len(data)} bytes and {first.audio_s:.1f} s of audio; "
                f"limit {bound_s:.2f} s"
            )
        if number % REPEAT_EVERY == 0:
            again = self._decoded(number, data)
            if again.outcome != first.outcome:
                raise Violation(f"another outcome the second time\n{first.outcome}, {again.outcome}")
            if not _same(first.samples, again.samples):
                raise Violation("other samples the second time")
        self._check_resources()

    def _decoded(self, number: int, data: bytes) -> Decoded:
        file: BinaryIO
        with tempfile.TemporaryFile() if number % ON_DISK_EVERY == 0 else io.BytesIO() as file:
            file.write(data)
            return decode_checked(self._decoder, file)

    def _check_resources(self) -> None:
        """Raise Violation if there are more descriptors, threads or files than after the first cases."""
        if left := [path.name for path in self._folder.iterdir()]:
            for path in self._folder.iterdir():
                path.unlink()
            raise Violation(f"files are left\n{left}")
        if self._done < WARM_UP_CASES:
            return
        if self._resources is None:
            self._resources = open_resources()
        elif any(now > then for now, then in zip(open_resources(), self._resources, strict=True)):
            gc.collect()
            before, self._resources = self._resources, settled_resources(self._resources)
            if any(now > then for now, then in zip(self._resources, before, strict=True)):
                raise Violation(f"descriptors or threads are left\n{before} before, {self._resources} after")


def _same(first: NDArray[np.float32] | None, second: NDArray[np.float32] | None) -> bool:
    return first is second if first is None or second is None else np.array_equal(first, second)


def open_resources() -> tuple[int, int]:
    """Number of descriptors and threads of this process."""
    descriptors, threads = (len(list(Path("/proc/self", kind).iterdir())) for kind in ("fd", "task"))
    return descriptors, threads


def settled_resources(least: tuple[int, int]) -> tuple[int, int]:
    """Number of descriptors and threads when they are at most `least`, or after `SETTLING_S`.

    The kernel lists a thread for a moment after it was joined.
    """
    until = time.monotonic() + SETTLING_S
    while any(now > then for now, then in zip(open_resources(), least, strict=True)) and time.monotonic() < until:
        time.sleep(0.01)
    return open_resources()


def resident_bytes() -> int:
    """Current resident memory."""
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * resource.getpagesize()


def described(error: Exception) -> dict[str, str]:
    """Cause and details of an error. The cause is the same for all cases with the same reason."""
    if isinstance(error, Violation):
        cause, _, details = str(error).partition("\n")
        return {"cause": cause, "details": details}
    deepest = traceback.extract_tb(error.__traceback__)[-1]
    cause = f"{type(error).__name__} in {deepest.name}, {Path(deepest.filename).name}"
    return {"cause": cause, "details": "".join(traceback.format_exception(error))}


def emit(event: str, content: object) -> None:
    """Send an event to the parent, unbuffered."""
    os.write(sys.stdout.fileno(), json.dumps({event: content}).encode() + b"\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--decoder", required=True, help="module:function")
    parser.add_argument("--first", type=int, required=True, help="number of the first case")
    parser.add_argument("--last", type=int, required=True, help="number after the last case")
    parser.add_argument("--seconds", type=float, default=float("inf"))
    parser.add_argument("--hang_s", type=float, default=30.0, help="CPU time after which a case is killed")
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--seeds", type=Path, help="folder of files to mutate")
    source.add_argument("--file", type=Path, help="decode this file, as it is, as case --first")
    arguments = parser.parse_args()

    module, _, function = arguments.decoder.partition(":")
    decoder: Decoder = getattr(importlib.import_module(module), function)
    faulthandler.enable()
    for killer in (signal.SIGPROF, signal.SIGALRM):
        signal.signal(killer, signal.SIG_DFL)
    used_bytes = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used_bytes + MEMORY_BYTES, resource.RLIM_INFINITY))
    gc.freeze()  # exclude all imported objects from later collections, which makes them faster
    cases = Cases(arguments.seeds) if arguments.seeds else None
    end_s = time.monotonic() + arguments.seconds
    with tempfile.TemporaryDirectory(prefix="dikte-fuzz-") as folder:
        tempfile.tempdir = folder
        fuzzer = Fuzzer(decoder, Path(folder), arguments.hang_s)
        number = arguments.first
        while number < arguments.last and time.monotonic() < end_s:
            emit("begin", number)
            fuzzer.run(number, cases.case(number) if cases else arguments.file.read_bytes())
            number += 1
        tempfile.tempdir = None
    emit(
        "summary",
        {"outcomes": fuzzer.outcomes, "resident_bytes": fuzzer.resident_bytes, "slowest": fuzzer.slowest},
    )


if __name__ == "__main__":
    main()
