"""Runs trainings in processes of their own, several at once, and shows their progress."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from app.cores import available_cores
from scripts.common import ROOT
from scripts.compression.stage_folders import PARTIAL, read_json, write_json
from scripts.compression.training_job import PROGRESS, TrainingJob

JOB_PROGRAM = Path(__file__).with_name("training_job.py")
LOG_FOLDER, JOB_FOLDER = "logs", "jobs"
POLL_S = 0.2
REPORT_EVERY_S = 60.0
END_TIMEOUT_S = 10.0
"""A process that has not ended this long after SIGTERM is killed."""
LEAST_LEFT_S = 30.0
"""With less time than this before the deadline, no training is started."""


@dataclass(frozen=True)
class PoolJob:
    """A job that waits for others.

    needs: names of jobs whose results it reads. steps: of the training, for the estimate of the time.
    """

    job: TrainingJob
    needs: tuple[str, ...] = ()
    steps: int = 0


class _Running:
    """A job in a process."""

    def __init__(self, job: TrainingJob, out: Path, threads: int) -> None:
        self.job = job
        name = f"{job.kind}-{job.stage.folder.name}"
        specification = out / PARTIAL / JOB_FOLDER / f"{name}.json"
        write_json(specification, asdict(job))
        self.log = out / LOG_FOLDER / f"{name}.log"
        self.log.parent.mkdir(parents=True, exist_ok=True)
        environment = {"OMP_NUM_THREADS": str(threads), "TOKENIZERS_PARALLELISM": "false", **os.environ}
        paths = [str(ROOT), *filter(None, [environment.get("PYTHONPATH")])]
        with self.log.open("ab") as log:
            self._begin = log.tell()
            self.process = subprocess.Popen(
                [sys.executable, str(JOB_PROGRAM), str(specification)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=environment | {"PYTHONPATH": os.pathsep.join(paths)},
            )

    @property
    def progress(self) -> Mapping[str, Any]:
        """Its last progress; empty before the first step."""
        try:
            found: dict[str, Any] = read_json(self.job.stage.partial / PROGRESS)
        except (OSError, ValueError):
            return {}
        return found

    def reason(self) -> str:
        """Why it failed: the last line that it wrote."""
        with self.log.open("rb") as log:
            log.seek(self._begin)
            lines = log.read().decode(errors="replace").strip().splitlines()
        return f"{lines[-1] if lines else f'exit code {self.process.returncode}'} (see {self.log})"

    def end(self) -> None:
        """End the process, if it runs."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(END_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


def run_jobs(
    jobs: Sequence[PoolJob], at_once: int, deadline: float | None = None, tick: Callable[[], None] = lambda: None
) -> dict[str, str]:
    """Run all jobs that have no result yet, in their order, `at_once` at a time.

    deadline: Unix time after which none is started. tick: called again and again meanwhile. Returns name -> reason, of
    the jobs without a result. All processes have ended when this returns or raises.
    """
    waiting = [one for one in jobs if not one.job.stage.is_done]
    names = {one.job.name for one in jobs}
    done = {one.job.name for one in jobs if one.job.stage.is_done}
    failed: dict[str, str] = {}
    running: list[_Running] = []
    threads = max(1, available_cores() // at_once)
    count, reported, started = len(waiting), time.monotonic(), dict[str, float]()
    try:
        while waiting or running:
            for one in list(waiting):
                lost = [name for name in one.needs if name in failed or (name not in names)]
                if lost:
                    failed[one.job.name] = f"it needs {lost[0]}, which was not trained"
                    waiting.remove(one)
                elif deadline is not None and time.time() > deadline - LEAST_LEFT_S:
                    failed[one.job.name] = "the budget was used up before it began"
                    waiting.remove(one)
                elif len(running) < at_once and done.issuperset(one.needs):
                    waiting.remove(one)
                    running.append(_Running(one.job, Path(one.job.out), threads))
                    started[one.job.name] = time.monotonic()
                    print(f"  {one.job.kind} {one.job.name} begins ({running[-1].log})", flush=True)
            for process in list(running):
                if process.process.poll() is None:
                    continue
                running.remove(process)
                name = process.job.name
                if process.job.stage.is_done:
                    done.add(name)
                    took_s = time.monotonic() - started[name]
                    left = len(waiting) + len(running)
                    print(f"  {process.job.kind} {name}: {took_s:.0f} s ({count - left} of {count})", flush=True)
                else:
                    failed[name] = process.reason()
                    print(f"  FAILED: {name}: {failed[name]}", flush=True)
            if time.monotonic() - reported > REPORT_EVERY_S:
                reported = time.monotonic()
                print(f"  {describe(running, waiting, at_once)}", flush=True)
            tick()
            if running:
                time.sleep(POLL_S)
    finally:
        for process in running:
            process.end()
    return failed


def describe(running: Sequence[_Running], waiting: Sequence[PoolJob], at_once: int) -> str:
    """The steps of the running trainings, and an estimate of the time that all take, from the speed so far."""
    parts, left_s, paces = [], 0.0, []
    for process in running:
        progress = process.progress
        if not progress:
            parts.append(f"{process.job.name} loads or ends")
            continue
        wer = "" if progress["wer"] is None else f", WER {progress['wer']:.1%}"
        parts.append(f"{process.job.name} {progress['step']}/{progress['steps']}{wer}")
        if progress["step_s"]:
            paces.append(progress["step_s"])
            left_s += (progress["steps"] - progress["step"]) * progress["step_s"]
    if not paces:
        return "; ".join(parts)
    left_s += sum(one.steps for one in waiting) * sum(paces) / len(paces)
    return f"{'; '.join(parts)}; {len(waiting)} wait; about {left_s / min(at_once, len(running)) / 60:.0f} min left"
