"""One training of a study, in a process of its own. Only `training_pool.py` starts it.

    python scripts/compression/training_job.py JOB.json

An interrupted training resumes from its last checkpoint, wherever the folder of the study lies by then.
"""

import os
import shutil
import statistics
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments, set_seed

from app.artifacts import ArtifactError
from scripts.common.machine import processor, versions
from scripts.compression.stage_folders import Stage, read_json, write_json
from scripts.speech.data import DataError
from scripts.training.batches import message_of
from scripts.training.ctc_objective import CtcOptions
from scripts.training.distillation import DistillationOptions
from scripts.training.objectives import load_objective
from scripts.training.training_config import LOGS, TrainingConfig
from scripts.training.training_record import RECORD
from scripts.training.training_rows import TrainingRows, load_rows
from scripts.training.training_run import train
from scripts.training.whisper_objective import WhisperOptions

PROGRESS = "progress.json"
PROGRESS_EVERY_S = 2.0
PACE_STEPS, PACE_WARM_UP = 6, 2
"""Steps that are timed, after some that are not: the first ones allocate memory and choose kernels."""


@dataclass(frozen=True)
class TrainingJob:
    """What a process trains.

    out, kind, name, key: of the `Stage` that is made. config: fields of `TrainingConfig`, without `output_dir`.
    options: those fields of the options of CTC training and of distillation that are not the defaults. rows_seed: of
    the division into rows to train on and to evaluate on, which all trainings of a study share. deadline: Unix time at
    which the training ends, wherever it is; None for never. only_pace: measure the time of a step instead.
    """

    out: str
    kind: str
    name: str
    key: str
    config: Mapping[str, Any]
    options: Mapping[str, Any]
    rows_seed: int = 0
    deadline: float | None = None
    only_pace: bool = False

    @property
    def stage(self) -> Stage:
        """The result that is made."""
        return Stage(Path(self.out), self.kind, self.name, self.key)


class Watcher(TrainerCallback):
    """Writes the progress of a training, ends it at the deadline, and ends the process if nothing waits for it.

    path: of the file of progress. `stopped_at` is the step of the deadline, if the training reached it.
    """

    def __init__(self, path: Path, deadline: float | None) -> None:
        self._path, self._deadline = path, deadline
        self._parent, self._begin, self._written = os.getppid(), time.time(), 0.0
        self._first: int | None = None
        self._wer: float | None = None
        self.stopped_at: int | None = None
        self.steps_s: list[float] = []
        self._last = 0.0

    def on_step_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> TrainerControl:
        if self._first is None:
            self._first, self._begin, self._last = state.global_step, time.time(), time.perf_counter()
            self._write(state)
        return control

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> TrainerControl:
        if torch.cuda.is_available() and len(self.steps_s) < PACE_STEPS + PACE_WARM_UP:
            torch.cuda.synchronize()
        now = time.perf_counter()
        self.steps_s.append(now - self._last)  # the wait for the batch included
        self._last = now
        if os.getppid() != self._parent:
            sys.exit("the study has ended")
        if self._deadline is not None and time.time() > self._deadline and state.global_step < state.max_steps:
            self.stopped_at = state.global_step
            control.should_training_stop = True
        if time.time() - self._written > PROGRESS_EVERY_S:
            self._write(state)
        return control

    def on_evaluate(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, metrics: Any = None, **_: Any
    ) -> TrainerControl:
        self._wer = (metrics or {}).get("eval_wer")
        self._write(state)
        return control

    def _write(self, state: TrainerState) -> None:
        self._written = time.time()
        done = state.global_step - (self._first or 0)
        progress = {
            "step": state.global_step,
            "steps": state.max_steps,
            "step_s": (self._written - self._begin) / done if done else None,
            "wer": self._wer,
        }
        write_json(self._path, progress)


def options_of(job: TrainingJob) -> dict[str, Any]:
    """The options of all families for `load_objective`."""
    return {**asdict(WhisperOptions()), **asdict(DistillationOptions()), **asdict(CtcOptions()), **job.options}


def run(job: TrainingJob, folder: Path) -> dict[str, Any]:
    """Train in `folder`, which becomes the checkpoint. Returns what is to be known of the training."""
    config = TrainingConfig(**job.config, output_dir=folder)
    rows = load_rows(replace(config, seed=job.rows_seed))
    set_seed(config.seed)
    objective = load_objective(config.model_name, rows.train.texts(), options_of(job))
    # The key of the stage says that a checkpoint in the folder is of this training. Its paths may have been others.
    (folder / RECORD).unlink(missing_ok=True)
    if job.only_pace:
        return measure_pace(config, objective, rows)
    watcher = Watcher(folder / PROGRESS, job.deadline)
    begin = time.monotonic()
    metrics = train(config, objective, rows, [watcher])
    for checkpoint in folder.glob("checkpoint-*"):
        shutil.rmtree(checkpoint)
    (folder / PROGRESS).unlink(missing_ok=True)
    return {
        "metrics": metrics,
        "steps": config.max_steps,
        "steps_done": config.max_steps if watcher.stopped_at is None else watcher.stopped_at,
        "trained_s": round(time.monotonic() - begin, 1),
        "parameters": int(objective.model.num_parameters()),
        "device": device(),
        "versions": versions(("torch", "transformers")),
    }


def measure_pace(config: TrainingConfig, objective: Any, rows: TrainingRows) -> dict[str, Any]:
    """Train a few steps and forget them. Returns `step_s`, the median seconds of a step."""
    steps = PACE_WARM_UP + PACE_STEPS
    limits = (config.min_duration_s, config.max_duration_s)
    kept = objective.usable(rows.evaluation, *limits, evaluation=True)[:1]
    few = TrainingRows(rows.train, rows.evaluation.select(kept))
    config = replace(config, max_steps=steps, eval_steps=steps, logging_steps=steps, warmup_steps=1)
    watcher = Watcher(config.output_dir / PROGRESS, None)
    train(config, objective, few, [watcher])
    for path in config.output_dir.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
    shutil.rmtree(LOGS / config.output_dir.name, ignore_errors=True)
    return {"step_s": statistics.median(watcher.steps_s[PACE_WARM_UP:]), "device": device()}


def device() -> str:
    """What the training runs on: the GPU, or the processor."""
    return torch.cuda.get_device_name() if torch.cuda.is_available() else processor()


def main() -> None:
    job = TrainingJob(**read_json(Path(sys.argv[1])))
    try:
        job.stage.made(lambda folder: run(job, folder), resumes=not job.only_pace)
    except (DataError, ArtifactError) as error:
        sys.exit(message_of(error) if isinstance(error, DataError) else str(error))


if __name__ == "__main__":
    main()
