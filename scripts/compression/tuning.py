"""The search of `scripts/tune.py`: Optuna proposes options of distillation, a short training answers with its WER.

The shape is fixed, and there is one objective, because pruners do not support several ones: the trade-off of errors and
speed is the study of `scripts/compress.py`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from optuna.pruners import BasePruner, HyperbandPruner, MedianPruner
from optuna.samplers import TPESampler
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, Trial, TrialState
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from scripts.compression.students_of_teacher import StudyError

FOLDER = "folder"
"""The attribute of a trial that names its folder. A trial that is repeated after an interruption has the same one."""
METRIC = "eval_wer"
STUDY_NAME = "distillation"


@dataclass(frozen=True)
class Range:
    """A range of numbers to search in. logarithmic: by their ratio."""

    low: float
    high: float
    logarithmic: bool = False


SEARCHED: Mapping[str, Range] = {
    "learning_rate": Range(2e-5, 1e-3, logarithmic=True),
    "temperature": Range(1.0, 4.0, logarithmic=True),
    "alpha": Range(0.0, 1.0),
    "hidden_weight": Range(0.05, 5.0, logarithmic=True),
}
"""Options of numbers, with the range of each. `BLANK_MARGINS` are searched besides."""
BLANK_MARGINS = (None, 1, 3, 10)
ALL_FRAMES = "all"
BLANK_MARGIN = "blank_margin"
OPTIONS = (*SEARCHED, BLANK_MARGIN)


def suggest(trial: Trial, names: tuple[str, ...]) -> dict[str, Any]:
    """The options of a trial. names: of those that are searched."""
    found: dict[str, Any] = {
        name: trial.suggest_float(name, wanted.low, wanted.high, log=wanted.logarithmic)
        for name, wanted in SEARCHED.items()
        if name in names
    }
    if BLANK_MARGIN in names:
        choices = [ALL_FRAMES if margin is None else margin for margin in BLANK_MARGINS]
        found[BLANK_MARGIN] = trial.suggest_categorical(BLANK_MARGIN, choices)
    return options_of(found)


def options_of(params: Mapping[str, Any]) -> dict[str, Any]:
    """The options of training with these parameters of a trial."""
    return {name: None if value == ALL_FRAMES else value for name, value in params.items()}


class ReportToTrial(TrainerCallback):
    """Reports the WER of each evaluation to a trial, and ends the training if the trial is pruned.

    After a resumption, it first reports the evaluations that are in the checkpoint. `pruned_at` is the step at which
    the trial was pruned, if it was.
    """

    def __init__(self, trial: Trial) -> None:
        self._trial = trial
        self.pruned_at: int | None = None

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> TrainerControl:
        for entry in state.log_history:
            if METRIC in entry:
                self._trial.report(entry[METRIC], int(entry["step"]))
        return control

    def on_evaluate(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, metrics: Any = None, **_: Any
    ) -> TrainerControl:
        if self.pruned_at is not None or state.global_step >= state.max_steps:
            return control  # `train` evaluates once more when it ends
        self._trial.report(metrics[METRIC], state.global_step)
        if self._trial.should_prune():
            self.pruned_at = state.global_step
            control.should_training_stop = True
        return control


def pruner_named(name: str, steps: int) -> BasePruner:
    """The pruner of this name: "median", "hyperband" or "none". steps: of a whole trial."""
    if name == "median":
        return MedianPruner(n_startup_trials=4, n_warmup_steps=steps // 5)
    if name == "hyperband":
        return HyperbandPruner(min_resource=max(1, steps // 9), max_resource=steps)
    return optuna.pruners.NopPruner()


def storage_of(path: Path) -> RDBStorage:
    """The SQLite file of a study, which optuna-dashboard opens."""
    path.parent.mkdir(parents=True, exist_ok=True)
    return RDBStorage(f"sqlite:///{path.resolve()}")


def open_study(path: Path, pruner: BasePruner, seed: int) -> optuna.Study:
    """Open a study, or make a new one. Trials that were interrupted are enqueued again, with their folders.

    seed: of the options that are proposed. A study that goes on draws others than before. Only one process may run it
    at a time: a trial that another one runs would look interrupted.
    """
    storage = storage_of(path)
    study = optuna.create_study(
        storage=storage,
        study_name=STUDY_NAME,
        direction="minimize",
        load_if_exists=True,
        pruner=pruner,
    )
    study.sampler = TPESampler(seed=seed + len(study.get_trials(deepcopy=False)))  # else the first options come again
    last = {trial.user_attrs.get(FOLDER, folder_of(trial.number)): trial for trial in study.get_trials(deepcopy=False)}
    for folder, trial in last.items():
        if trial.state == TrialState.RUNNING:  # its process was killed
            study.tell(trial.number, state=TrialState.FAIL)
        if trial.state in (TrialState.RUNNING, TrialState.FAIL):
            study.enqueue_trial(trial.params, user_attrs={FOLDER: folder})
    return study


def folder_of(number: int) -> str:
    """The name of the folder of a trial."""
    return f"trial-{number:03d}"


def search(study: optuna.Study, trials: int, run: Callable[[Trial, str], float]) -> None:
    """Run trials until there are `trials` complete or pruned ones. run: trial, name of its folder -> WER.

    `run` raises `optuna.TrialPruned` for a trial that was pruned.
    """

    def objective(trial: Trial) -> float:
        if FOLDER not in trial.user_attrs:
            trial.set_user_attr(FOLDER, folder_of(trial.number))
        return run(trial, trial.user_attrs[FOLDER])

    done = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED))
    if (left := trials - len(done)) > 0:
        study.optimize(objective, n_trials=left)


def best_of(path: Path) -> dict[str, Any]:
    """The options of the best trial of a study. path: of its SQLite file. Raises StudyError if there is none."""
    if not path.is_file():
        raise StudyError(f"there is no study {path}: make one with scripts/tune.py")
    try:
        study = optuna.load_study(study_name=STUDY_NAME, storage=storage_of(path))
        best: FrozenTrial = study.best_trial
    except (KeyError, ValueError) as error:
        raise StudyError(f"{path} has no complete trial: go on with scripts/tune.py") from error
    return options_of(best.params)
