"""A compression study: its inputs, its plan, and what the result of each stage depends on.

Each result is made once and kept (`stage_folders.py`): by `probe_stage.py`, `train_stage.py`, `export_stage.py`,
`evaluate_stage.py` and `measure_stage.py`.
"""

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from app.families.ctc.language_model import FOLDER as LANGUAGE_MODEL_FOLDER
from scripts.common.machine import processor, versions
from scripts.compression.budget import wanted_steps
from scripts.compression.plan import TEACHER, Plan, Point, Training, make_plan
from scripts.compression.stage_folders import Stage, hash_of_checkpoint, hash_of_data, key_of
from scripts.compression.students_of_teacher import StudyError, find_teacher
from scripts.compression.study_options import StudyOptions
from scripts.compression.study_state import StudyState
from scripts.speech.eval_sets import load_eval_set
from scripts.speech.rows import SpeechRows

VERSIONS = {"importance": 1, "student": 3, "trained": 1, "pace": 1, "probe": 1, "artifact": 1, "scores": 1, "speeds": 1}
"""Kind of stage -> a number that grows when its code changes its result. It is part of the hash."""
EXPORT_TOOLS = ("onnx", "onnxruntime", "optimum-onnx", "openvino", "nncf")
"""Packages whose versions an artifact depends on."""
INT8, FP32, PYTORCH = "onnx_int8", "onnx", "pytorch"
GREEDY = "greedy"


@dataclass(frozen=True)
class Scores:
    """A stage whose result is the errors of one backend of a point on a set, with or without the language model."""

    stage: Stage
    backend: str
    set_name: str
    language_model: bool = True


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

    @property
    def used_up(self) -> bool:
        """Whether nothing of the budget is left."""
        left_s = self.left_s()
        return left_s is not None and left_s <= 0

    # Shapes

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

    @property
    def has_language_model(self) -> bool:
        """Whether the teacher, and so its students, have a language model."""
        return (self.teacher / LANGUAGE_MODEL_FOLDER).is_dir()

    def scores_of(self, point: Point) -> list[Scores]:
        """The scores of a point: in INT8 on all sets, otherwise on the first.

        They are of the texts that the service writes, so with the language model, if there is one; those in INT8 then
        also of greedy decoding.
        """
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
                    label = f"{point.name}.{backend}.{name}"
                    found.append(Scores(self.stage("scores", label, inputs), backend, name))
                    if backend == INT8 and self.has_language_model:
                        greedy = self.stage("scores", f"{label}.greedy", [*inputs, GREEDY])
                        found.append(Scores(greedy, backend, name, language_model=False))
        return found

    def speeds(self) -> Stage:
        """The latencies of all points whose artifacts exist."""
        options = self.options
        artifacts = {point.name: self.artifact(point) for point in self.plan.points}
        keys = {name: stage.key for name, stage in artifacts.items() if stage.is_done}
        first = next(iter(self.hashes["sets"].values()), "")
        settings = [options.runs, options.warm_up, options.threads, options.length_s, first, processor()]
        return self.stage("speeds", "all", [keys, settings, versions(EXPORT_TOOLS), self.chain])
