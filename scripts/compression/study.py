"""A compression study: its stages in their order, each made once and kept (`stage_folders.py`)."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import cache, partial
from pathlib import Path
from typing import Any

from app.artifacts import ArtifactError
from scripts.common.machine import processor, versions
from scripts.compression.budget import Allotment, allot, wanted_steps
from scripts.compression.candidate_shapes import Candidate, dominated, focus_of, grid, spread
from scripts.compression.plan import TEACHER, Plan, Point, Training, make_plan
from scripts.compression.stage_folders import Stage, hash_of_checkpoint, hash_of_data, key_of
from scripts.compression.students_of_teacher import (
    StudyError,
    config_of,
    find_teacher,
    rows_of,
    write_first_student,
    write_importance,
)
from scripts.compression.study_options import StudyOptions
from scripts.compression.study_state import StudyState
from scripts.compression.training_job import TrainingJob
from scripts.compression.training_pool import PoolJob, run_jobs
from scripts.speech.data import DataError
from scripts.speech.eval_sets import load_eval_set
from scripts.speech.rows import SpeechRows

VERSIONS = {"importance": 1, "student": 3, "trained": 1, "pace": 1, "probe": 1, "artifact": 1, "scores": 1, "speeds": 1}
"""Kind of stage -> a number that grows when its code changes its result. It is part of the hash."""
EXPORT_TOOLS = ("onnx", "onnxruntime", "optimum-onnx", "openvino", "nncf")
"""Packages whose versions an artifact depends on."""
TAIL_RATE = 0.3
"""A training that goes on from another one has this share of its peak learning rate."""
DEFAULT_RATE = 1e-4
INT8, FP32, PYTORCH = "onnx_int8", "onnx", "pytorch"


class Study:
    """A study: the options, the hashes of its inputs, and the results that exist.

    Raises StudyError if the teacher or a set cannot be used.
    """

    def __init__(self, options: StudyOptions) -> None:
        self.options = options
        self.out = options.out
        self.out.mkdir(parents=True, exist_ok=True)
        self.state = StudyState(self.out)
        self.teacher = find_teacher(options.teacher)
        self.hashes: dict[str, Any] = {
            "teacher": hash_of_checkpoint(self.teacher),
            "data": hash_of_data(options.dataset_name),
            "eval_data": hash_of_data(str(options.training.get("eval_dataset_name") or "")),
            "sets": {name: hash_of_data(data) for name, data in options.eval_sets.items()},
        }
        self.plan: Plan
        self._begin = time.monotonic()
        self._sets: dict[str, SpeechRows] = {}

    def stage(self, kind: str, name: str, inputs: Any) -> Stage:
        """The stage with these inputs."""
        return Stage(self.out, kind, name, key_of([kind, VERSIONS[kind], inputs]))

    def left_s(self) -> float | None:
        """Seconds that are left of the budget, or of the time of this run if they are fewer; None without limits."""
        left_s = []
        if self.options.budget_h is not None:
            left_s.append(self.options.budget_h * 3600 - self.state.spent_s)
        if self.options.run_h is not None:
            left_s.append(self.options.run_h * 3600 - (time.monotonic() - self._begin))
        return min(left_s, default=None)

    # Shapes

    def probe(self) -> None:
        """Time all shapes, and choose those that are trained. Writes `shapes` of the state."""
        from scripts.compression.probe import export_untrained, time_shapes  # needs ONNX Runtime

        options = self.options
        labels = list(options.shapes) or grid(config_of(self.teacher))
        print(f"Probe: {len(labels)} shapes", flush=True)
        made: dict[str, Stage] = {}
        refused: dict[str, str] = {}
        parameters: dict[str, int] = {}
        for label in ("", *labels):
            name = label or TEACHER
            inputs = [self.hashes["teacher"], label, options.openvino, versions(EXPORT_TOOLS)]
            stage = self.stage("probe", name, inputs)
            result = stage.made(partial(export_untrained, self.teacher, label, openvino=options.openvino))
            if result["refused"]:
                refused[name] = result["refused"]
                print(f"  {name} is not possible: {result['refused']}", flush=True)
            else:
                made[name], parameters[name] = stage, result["parameters"]
                print(f"  {name}: {parameters[name] / 1e6:.1f} M parameters", flush=True)
        if TEACHER in refused:
            raise StudyError(f"the teacher cannot be exported: {refused[TEACHER]}")
        settings = [options.runs, options.warm_up, options.threads, options.length_s, processor()]
        timed = self.stage("probe", "times", [{name: stage.key for name, stage in made.items()}, settings])
        folders = {name: stage.folder for name, stage in made.items()}
        times = timed.made(
            lambda folder: {
                "times": time_shapes(
                    folders, options.openvino, options.runs, options.warm_up, options.threads, options.length_s
                ),
                "processor": processor(),
            }
        )
        measured = times["times"]
        candidates = [
            Candidate(name, parameters[name], measured[name][INT8]["p50_s"])
            for name in made
            if name != TEACHER and INT8 in measured[name]
        ]
        if not candidates:
            raise StudyError("no shape can be exported: name others with --shapes")
        useless = {} if options.shapes else dominated(candidates)
        kept = [one for one in candidates if one.label not in useless]
        teacher_s = measured[TEACHER][INT8]["p50_s"]
        focus = options.focus or focus_of(kept, teacher_s)
        chosen = kept if options.shapes else spread(kept, options.most_shapes)
        labels = [one.label for one in chosen]
        if focus not in labels:
            labels = [*labels[: max(0, options.most_shapes - 1)], focus]
        self.state.set(
            shapes={
                "labels": labels,
                "focus": focus,
                "dominated": useless,
                "refused": refused,
                "parameters": parameters,
                "times": measured,
                "processor": times["processor"],
            }
        )
        for one in candidates:
            why = f", dominated by {useless[one.label]}" if one.label in useless else ""
            why = why or ("" if one.label in labels else ", left out")
            print(f"  {one.label:20} {1000 * one.time_s:8.1f} ms, {teacher_s / one.time_s:.2f} times as fast{why}")

    def choose_shapes(self) -> None:
        """The plan: for the shapes of the probe, else for those of the options."""
        found = self.state.get("shapes")
        if self.options.shapes and (found is None or set(found["labels"]) != set(self.options.shapes)):
            labels = list(self.options.shapes)
            found = {"labels": labels, "focus": self.options.focus or labels[0]}
        if found is None:
            raise StudyError("no shapes are chosen yet: run the stage probe first, or name them with --shapes")
        focus = self.options.focus or found["focus"]
        labels = found["labels"] if focus in found["labels"] else [focus, *found["labels"]]
        self.plan = make_plan(labels, focus, self.options)

    # Trainings

    def importance(self) -> Stage:
        """How important the teacher's parts are for its loss on what is trained on."""
        inputs = [self.hashes["teacher"], self.hashes["data"], self.options.language]
        if columns := self.columns():
            inputs.append(columns)
        return self.stage("importance", TEACHER, inputs)

    def columns(self) -> dict[str, str]:
        """The columns that are named in the options; others are detected."""
        options = self.options.training
        return {name: options[name] for name in ("audio_column", "text_column") if options.get(name)}

    def student(self, label: str) -> Stage:
        """The checkpoint that a student begins with."""
        inputs = [self.hashes["teacher"], label, self.importance().key, self.options.reconstruct]
        return self.stage("student", label, inputs)

    def make_students(self) -> None:
        """Make the checkpoints that the students begin with."""
        measured = self.importance()
        print("Importance of the teacher's layers, units and channels", flush=True)
        options = self.options
        columns: dict[str, Any] = {**self.columns()}
        measured.made(partial(write_importance, self.teacher, options.dataset_name, options.language, **columns))
        rows = cache(partial(rows_of, options.dataset_name, **columns)) if options.reconstruct else None
        for label in self.plan.candidates:
            write = partial(write_first_student, self.teacher, label, importance=measured.folder, rows=rows)
            try:
                self.student(label).made(partial(write, language=options.language))
            except ValueError as error:
                raise StudyError(f"the shape {label} is not possible: {error}") from error

    def inputs_of(self, training: Training) -> dict[str, Any]:
        """What a training depends on, without the number of steps that the budget allows."""
        names = {field for field in asdict(training) if field not in ("name", "share", "start")}
        start = self.plan.training(training.start) if training.start else None
        inputs = {name: getattr(training, name) for name in names}
        inputs["wanted_steps"] = wanted_steps(training, self.options.steps)
        inputs["start"] = None if start is None else self.trained(start).key
        inputs |= {name: self.hashes[name] for name in ("teacher", "data", "eval_data")}
        inputs["config"] = {
            name: value
            for name, value in self.options.training.items()
            if name not in ("eval_dataset_name", "num_workers", "logging_steps")
        }
        inputs["ctc"] = dict(self.options.ctc)
        if training.shape and self.options.reconstruct:
            inputs["begins"] = self.student(training.shape).key
        if training.objective == "distil":
            inputs["distillation"] = dict(self.options.distillation)
        return inputs

    def steps_of(self, training: Training) -> int:
        """The steps that are planned for a training; those that are wanted, if none are planned."""
        planned: Mapping[str, int] = self.state.get("steps", {})
        default = wanted_steps(training, self.options.steps)
        return int(planned.get(key_of(self.inputs_of(training)), default))

    def trained(self, training: Training) -> Stage:
        """The result of a training."""
        return self.stage("trained", training.name, [self.inputs_of(training), self.steps_of(training)])

    def checkpoint(self, training: str) -> Path:
        """The checkpoint of a training; that of the teacher, if the name is empty."""
        return self.trained(self.plan.training(training)).folder if training else self.teacher

    def job(self, training: Training, stage: Stage, steps: int, deadline: float | None, only_pace: bool) -> TrainingJob:
        """The job of a training. A pace is measured from the first weights."""
        options = dict(self.options.ctc) | {"quantize_bits": training.quantize_bits}
        if training.pruning:
            options |= {"pruning": training.pruning, "prune_to": training.prune_to}
        if training.objective == "distil":
            options |= dict(self.options.distillation) | {"teacher": str(self.teacher)}
        if training.start and not only_pace:
            model = self.checkpoint(training.start)
        else:
            model = self.student(training.shape).folder if training.shape else self.teacher
        config = dict(self.options.training)
        if training.start:
            config["learning_rate"] = TAIL_RATE * (config.get("learning_rate") or DEFAULT_RATE)
        config |= {
            "model_name": str(model),
            "dataset_name": self.options.dataset_name,
            "max_steps": steps,
            "eval_steps": min(steps, config["eval_steps"]),
            "seed": training.seed,
        }
        return TrainingJob(
            str(self.out), stage.kind, stage.name, stage.key, config, options, deadline=deadline, only_pace=only_pace
        )

    def train(self) -> None:
        """Run all trainings, within the budget."""
        self.make_students()
        print(f"Trainings: {len(self.plan.trainings)}; the controls belong to {self.plan.focus}", flush=True)
        left_s = self.left_s()
        available_s = None if left_s is None else left_s - self.reserve_s()
        deadline = None if available_s is None else time.time() + available_s
        open_ones = [one for one in self.plan.trainings if not self.trained(one).is_done]
        if open_ones and available_s is not None and self.options.measure_pace:
            begin = time.monotonic()
            pace_s = self.measure_pace(open_ones, deadline)
            available_s -= time.monotonic() - begin
            allotment = self.plan_steps(pace_s, available_s)
        else:
            allotment = self.plan_steps({}, None)
        for name, reason in allotment.left_out.items():
            print(f"  {name} is left out: {reason}", flush=True)
        if allotment.share < 1:
            print(f"  The budget allows {allotment.share:.0%} of the steps", flush=True)
        self.state.set(left_out=allotment.left_out, share=allotment.share)
        jobs = []
        for one in self.plan.trainings:
            if one.name not in allotment.left_out:
                stage, steps = self.trained(one), self.steps_of(one)
                needs = (one.start,) if one.start else ()
                jobs.append(PoolJob(self.job(one, stage, steps, deadline, only_pace=False), needs, steps))
        failed = run_jobs(jobs, self.options.jobs, deadline, tick=self.state.tick)
        self.state.set(failed={**self.state.get("failed", {}), "train": failed})

    def measure_pace(self, trainings: Sequence[Training], deadline: float | None) -> dict[str, float]:
        """Name -> seconds of a step, measured with as many trainings at once as will run. Raises StudyError."""
        chosen: dict[Any, tuple[Training, Stage]] = {}
        for one in trainings:
            sort = (one.shape, one.objective, one.quantize_bits)
            if sort not in chosen:
                settings = [*sort, self.inputs_of(one)["config"], self.hashes["teacher"], self.hashes["data"]]
                machine = [processor(), self.options.jobs, self.options.training.get("num_workers")]
                chosen[sort] = (one, self.stage("pace", one.name, [settings, machine]))
        print(f"Pace: {len(chosen)} kinds of training", flush=True)
        jobs = [PoolJob(self.job(one, stage, 1, None, only_pace=True)) for one, stage in chosen.values()]
        failed = run_jobs(jobs, self.options.jobs, deadline, tick=self.state.tick)
        for sort, (_, stage) in chosen.items():
            if stage.is_done:
                print(f"  {stage.name}: {stage.result()['step_s']:.2f} s a step", flush=True)
            elif sort[1] == "distil" and sort[0] == self.plan.focus and not sort[2]:
                raise StudyError(f"the pace cannot be measured: {failed[stage.name]}")
        known = {sort: stage.result()["step_s"] for sort, (_, stage) in chosen.items() if stage.is_done}
        slowest = max(known.values())
        return {one.name: known.get((one.shape, one.objective, one.quantize_bits), slowest) for one in trainings}

    def plan_steps(self, pace_s: Mapping[str, float], available_s: float | None) -> Allotment:
        """Plan the steps of the trainings that have not begun, and write them to the state."""
        planned: dict[str, int] = dict(self.state.get("steps", {}))
        fixed = {}
        for one in self.plan.trainings:
            stage = self.trained(one)
            if stage.is_done or stage.partial.is_dir():
                fixed[one.name] = self.steps_of(one)
        allotment = allot(self.plan.trainings, self.options.steps, pace_s, available_s, self.options.jobs, fixed)
        for one in self.plan.trainings:  # in this order: the key of a training has that of the one before it
            if one.name in allotment.steps:
                planned[key_of(self.inputs_of(one))] = allotment.steps[one.name]
                self.state.set(steps=planned)
        return allotment

    def reserve_s(self) -> float:
        """Seconds that the stages after the trainings will take, as long for each point as for the teacher."""
        if not {"export", "evaluate", "measure"} & set(self.options.stages):
            return 0.0
        stages = [self.artifact(self.plan.points[0]), *(one for one, _, _ in self.scores_of(self.plan.points[0]))]
        for_one_s = sum(float(stage.result()["took_s"]) for stage in stages if stage.is_done)
        return for_one_s * (len(self.plan.points) - 1)

    # Artifacts and their figures

    def rows(self, name: str) -> SpeechRows:
        """The rows of an evaluation set. Raises DataError if it cannot be read."""
        if name not in self._sets:
            self._sets[name] = load_eval_set(self.options.eval_sets[name], self.options.eval_limit)
        return self._sets[name]

    def artifact(self, point: Point) -> Stage:
        """The artifact of a point."""
        options = self.options
        source = self.trained(self.plan.training(point.training)).key if point.training else self.hashes["teacher"]
        first = next(iter(self.hashes["sets"].values()), "")
        settings = [point.weight_bits, options.openvino, first, options.proof_clips, options.language]
        inputs = [source, settings, options.max_reference_wer, versions(EXPORT_TOOLS)]
        return self.stage("artifact", point.name, inputs)

    def pytorch_int8(self) -> Stage:
        """The focus in PyTorch's own INT8."""
        return self.stage(
            "artifact", f"{self.plan.focus}-pytorch", self.trained(self.plan.training(self.plan.focus)).key
        )

    def is_trained(self, point: Point) -> bool:
        """Whether the checkpoint of a point exists."""
        return not point.training or self.trained(self.plan.training(point.training)).is_done

    @property
    def chain(self) -> tuple[str, ...]:
        """The points that are measured on PyTorch too: the teacher, and the focus without and with distillation."""
        return (TEACHER, f"{self.plan.focus}-plain", self.plan.focus)

    def export(self, points: Sequence[Point], export: Callable[..., Any]) -> None:
        """Make and prove the artifacts of points, as far as they are trained and the budget allows.

        export: `scripts.export.export`.
        """
        from scripts.compression.exports import export_point, write_pytorch_int8
        from scripts.exporting.exporter import Options

        options = self.options
        shared = Options(
            eval_manifests=(next(iter(options.eval_sets.values())),),
            eval_limit=options.proof_clips,
            language=options.language,
            max_reference_wer=options.max_reference_wer,
        )
        failed: dict[str, str] = dict(self.state.get("failed", {}).get("export", {}))
        for point in points:
            stage = self.artifact(point)
            if stage.is_done or not self.is_trained(point):
                failed.pop(point.name, None)
                continue
            if self.used_up:
                failed[point.name] = "the budget was used up before its export"
                continue
            print(f"Export: {point.name}", flush=True)
            try:
                result = stage.made(
                    partial(
                        export_point,
                        export,
                        point,
                        self.checkpoint(point.training),
                        openvino=options.openvino,
                        options=shared,
                    )
                )
                print(f"  {result['unproven'] or 'proven'}", flush=True)
                failed.pop(point.name, None)
            except (ArtifactError, DataError, ValueError) as error:
                failed[point.name] = f"its export failed: {error}"
                print(f"  FAILED: {error}", flush=True)
            self.state.tick()
        focus = next(point for point in self.plan.points if point.name == self.plan.focus)
        if self.is_trained(focus):
            try:
                self.pytorch_int8().made(lambda folder: write_pytorch_int8(self.checkpoint(focus.training), folder))
            except (AttributeError, RuntimeError) as error:  # a PyTorch that no longer has it
                print(f"PyTorch's INT8 is not measured: {error}", flush=True)
        self.state.set(failed={**self.state.get("failed", {}), "export": failed})

    @property
    def used_up(self) -> bool:
        """Whether nothing of the budget is left."""
        left_s = self.left_s()
        return left_s is not None and left_s <= 0

    def specs(self, point: Point) -> list[Any]:
        """The engines of a point (`EngineSpec`)."""
        from scripts.compression.exports import PYTORCH_INT8_FILE
        from scripts.compression.speeds import point_specs

        quantized = self.pytorch_int8()
        is_focus = point.name == self.plan.focus and quantized.is_done
        return point_specs(
            point.name,
            self.artifact(point).folder,
            self.checkpoint(point.training),
            point.name in self.chain,
            quantized.folder / PYTORCH_INT8_FILE if is_focus else None,
        )

    def scores_of(self, point: Point) -> list[tuple[Stage, str, str]]:
        """The scores of a point: stage, backend, set. In INT8 on all sets, otherwise on the first."""
        backends = [INT8, FP32]
        backends += ["openvino"] if self.options.openvino else []
        backends += [PYTORCH] if point.name in self.chain else []
        backends += ["pytorch_int8"] if point.name == self.plan.focus else []
        artifact = self.artifact(point).key
        found = []
        for backend in backends:
            for number, (name, data) in enumerate(self.hashes["sets"].items()):
                if number == 0 or backend == INT8:
                    inputs = [artifact, backend, data, self.options.eval_limit, self.options.language]
                    found.append((self.stage("scores", f"{point.name}.{backend}.{name}", inputs), backend, name))
        return found

    def evaluate(self, points: Sequence[Point]) -> None:
        """Transcribe the sets with all engines of points whose artifacts exist."""
        from app.models import open_model
        from scripts.benchmarking.engines import CTC, OWN_LOADER, EngineSpec
        from scripts.benchmarking.process import EngineFailed
        from scripts.common.model_files import model_files
        from scripts.compression.exports import FILES

        failed: dict[str, str] = dict(self.state.get("failed", {}).get("evaluate", {}))
        for point in points:
            artifact = self.artifact(point)
            if not artifact.is_done:
                continue
            family = open_model(artifact.folder, allow_unproven=True).family
            specs = {spec.key.partition(":")[2]: spec for spec in self.specs(point)}
            file = artifact.folder / FILES[FP32]
            specs.setdefault(FP32, EngineSpec(FP32, FP32, CTC, OWN_LOADER, artifact.folder, model_files(file), FP32))
            for stage, backend, name in self.scores_of(point):
                if stage.is_done or backend not in specs:
                    continue
                if self.used_up:
                    failed[stage.name] = "the budget was used up before its evaluation"
                    continue
                rows = self.rows(name)
                print(f"Evaluate: {point.name} on {backend}, {name}: {len(rows)} clips", flush=True)
                try:
                    self.score(stage, specs[backend], rows, family)
                    failed.pop(stage.name, None)
                except EngineFailed as error:
                    failed[stage.name] = f"its evaluation failed: {error}"
                    print(f"  FAILED: {error}", flush=True)
                self.state.tick()
        self.state.set(failed={**self.state.get("failed", {}), "evaluate": failed})

    def score(self, stage: Stage, spec: Any, rows: SpeechRows, family: Any) -> None:
        """Make the scores of one engine (`EngineSpec`) on one set. Raises EngineFailed."""
        from app.cores import available_cores
        from scripts.compression.evaluation import transcribe

        stage.made(lambda folder: transcribe(spec, rows, family, self.options.language, available_cores()))

    def speeds(self) -> Stage:
        """The latencies of all points whose artifacts exist."""
        options = self.options
        artifacts = {point.name: self.artifact(point) for point in self.plan.points}
        keys = {name: stage.key for name, stage in artifacts.items() if stage.is_done}
        first = next(iter(self.hashes["sets"].values()), "")
        settings = [options.runs, options.warm_up, options.threads, options.length_s, first, processor()]
        return self.stage("speeds", "all", [keys, settings, versions(EXPORT_TOOLS), self.chain])

    def measure(self) -> None:
        """Measure latency and memory of all points, in turns."""
        from app.models import open_model
        from scripts.compression.speeds import clips_to_time, measure_speeds

        options = self.options
        stage = self.speeds()
        specs = [spec for point in self.plan.points if self.artifact(point).is_done for spec in self.specs(point)]
        if stage.is_done or not specs:
            return
        rate_hz = open_model(self.artifact(self.plan.points[0]).folder, allow_unproven=True).family.rate_hz
        print(f"Measure: {len(specs)} engines, {options.runs} rounds", flush=True)
        rows = self.rows(next(iter(options.eval_sets))) if options.eval_sets else None
        clips = clips_to_time(rows, options.length_s, rate_hz)
        stage.made(
            lambda folder: {
                "engines": measure_speeds(specs, clips, options.runs, options.warm_up, options.threads, rate_hz),
                "processor": processor(),
                "length_s": options.length_s,
                "threads": options.threads,
                "runs": options.runs,
            }
        )
