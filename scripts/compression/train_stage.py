"""The stage `train` of a study: makes the first weights of the students, plans the steps, and runs all trainings."""

import time
from collections.abc import Mapping, Sequence
from functools import cache, partial
from typing import Any

from scripts.common.machine import processor
from scripts.compression.budget import Allotment, allot
from scripts.compression.plan import Training
from scripts.compression.stage_folders import Stage, key_of
from scripts.compression.students_of_teacher import StudyError, rows_of, write_first_student, write_importance
from scripts.compression.study import Study
from scripts.compression.training_job import TrainingJob
from scripts.compression.training_pool import PoolJob, run_jobs

TAIL_RATE = 0.3
"""A training that goes on from another one has this share of its peak learning rate."""
DEFAULT_RATE = 1e-4


def train_students(study: Study) -> None:
    """Run all trainings, within the budget."""
    make_students(study)
    print(f"Trainings: {len(study.plan.trainings)}; the controls belong to {study.plan.focus}", flush=True)
    left_s = study.left_s()
    available_s = None if left_s is None else left_s - reserve_s(study)
    deadline = None if available_s is None else time.time() + available_s
    open_ones = [one for one in study.plan.trainings if not study.trained(one).is_done]
    if open_ones and available_s is not None and study.options.measure_pace:
        begin = time.monotonic()
        pace_s = measure_pace(study, open_ones, deadline)
        available_s -= time.monotonic() - begin
        allotment = plan_steps(study, pace_s, available_s)
    else:
        allotment = plan_steps(study, {}, None)
    for name, reason in allotment.left_out.items():
        print(f"  {name} is left out: {reason}", flush=True)
    if allotment.share < 1:
        print(f"  The budget allows {allotment.share:.0%} of the steps", flush=True)
    study.state.set(left_out=allotment.left_out, share=allotment.share)
    jobs = []
    for one in study.plan.trainings:
        if one.name not in allotment.left_out:
            stage, steps = study.trained(one), study.steps_of(one)
            needs = (one.start,) if one.start else ()
            jobs.append(PoolJob(job_of(study, one, stage, steps, deadline, only_pace=False), needs, steps))
    failed = run_jobs(jobs, study.options.jobs, deadline, tick=study.state.tick)
    study.state.set(failed={**study.state.get("failed", {}), "train": failed})


def make_students(study: Study) -> None:
    """Make the checkpoints that the students begin with."""
    measured = study.importance()
    print("Importance of the teacher's layers, units and channels", flush=True)
    options = study.options
    columns: dict[str, Any] = {**study.columns()}
    measured.made(partial(write_importance, study.teacher, options.dataset_name, options.language, **columns))
    rows = cache(partial(rows_of, options.dataset_name, **columns)) if options.reconstruct else None
    for label in study.plan.candidates:
        write = partial(write_first_student, study.teacher, label, importance=measured.folder, rows=rows)
        try:
            study.student(label).made(partial(write, language=options.language))
        except ValueError as error:
            raise StudyError(f"the shape {label} is not possible: {error}") from error


def job_of(
    study: Study, training: Training, stage: Stage, steps: int, deadline: float | None, only_pace: bool
) -> TrainingJob:
    """The job of a training. A pace is measured from the first weights."""
    options = dict(study.options.ctc) | {"quantize_bits": training.quantize_bits}
    if training.pruning:
        options |= {"pruning": training.pruning, "prune_to": training.prune_to}
    if training.objective == "distil":
        options |= dict(study.options.distillation) | {"teacher": str(study.teacher)}
    if training.start and not only_pace:
        model = study.checkpoint(training.start)
    else:
        model = study.student(training.shape).folder if training.shape else study.teacher
    config = dict(study.options.training)
    if training.start:
        config["learning_rate"] = TAIL_RATE * (config.get("learning_rate") or DEFAULT_RATE)
    config |= {
        "model_name": str(model),
        "dataset_name": study.options.dataset_name,
        "max_steps": steps,
        "eval_steps": min(steps, config["eval_steps"]),
        "seed": training.seed,
    }
    return TrainingJob(
        str(study.out), stage.kind, stage.name, stage.key, config, options, deadline=deadline, only_pace=only_pace
    )


def measure_pace(study: Study, trainings: Sequence[Training], deadline: float | None) -> dict[str, float]:
    """Name -> seconds of a step, measured with as many trainings at once as will run. Raises StudyError."""
    chosen: dict[Any, tuple[Training, Stage]] = {}
    for one in trainings:
        sort = (one.shape, one.objective, one.quantize_bits)
        if sort not in chosen:
            settings = [*sort, study.inputs_of(one)["config"], study.hashes["teacher"], study.hashes["data"]]
            machine = [processor(), study.options.jobs, study.options.training.get("num_workers")]
            chosen[sort] = (one, study.stage("pace", one.name, [settings, machine]))
    print(f"Pace: {len(chosen)} kinds of training", flush=True)
    jobs = [PoolJob(job_of(study, one, stage, 1, None, only_pace=True)) for one, stage in chosen.values()]
    failed = run_jobs(jobs, study.options.jobs, deadline, tick=study.state.tick)
    for sort, (_, stage) in chosen.items():
        if stage.is_done:
            print(f"  {stage.name}: {stage.result()['step_s']:.2f} s a step", flush=True)
        elif sort[1] == "distil" and sort[0] == study.plan.focus and not sort[2]:
            raise StudyError(f"the pace cannot be measured: {failed[stage.name]}")
    known = {sort: stage.result()["step_s"] for sort, (_, stage) in chosen.items() if stage.is_done}
    slowest = max(known.values())
    return {one.name: known.get((one.shape, one.objective, one.quantize_bits), slowest) for one in trainings}


def plan_steps(study: Study, pace_s: Mapping[str, float], available_s: float | None) -> Allotment:
    """Plan the steps of the trainings that have not begun, and write them to the state."""
    planned: dict[str, int] = dict(study.state.get("steps", {}))
    fixed = {}
    for one in study.plan.trainings:
        stage = study.trained(one)
        if stage.is_done or stage.partial.is_dir():
            fixed[one.name] = study.steps_of(one)
    allotment = allot(study.plan.trainings, study.options.steps, pace_s, available_s, study.options.jobs, fixed)
    for one in study.plan.trainings:  # in this order: the key of a training has that of the one before it
        if one.name in allotment.steps:
            planned[key_of(study.inputs_of(one))] = allotment.steps[one.name]
            study.state.set(steps=planned)
    return allotment


def reserve_s(study: Study) -> float:
    """Seconds that the stages after the trainings will take, as long for each point as for the teacher."""
    if not {"export", "evaluate", "measure"} & set(study.options.stages):
        return 0.0
    stages = [study.artifact(study.plan.points[0]), *(scores.stage for scores in study.scores_of(study.plan.points[0]))]
    for_one_s = sum(float(stage.result()["took_s"]) for stage in stages if stage.is_done)
    return for_one_s * (len(study.plan.points) - 1)
