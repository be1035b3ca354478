"""Search for the options of distillation that give a student the lowest word error rate, with Optuna.

    python scripts/tune.py --model_name models/student --teacher models/checkpoint \\
      --dataset_name data/train/manifest.jsonl --augment --steps 500 --trials 20 --out models/tuned
    optuna-dashboard sqlite:///models/tuned/study.db          (pip install optuna-dashboard)
    tensorboard --logdir runs
    python scripts/compress.py ... --tuned models/tuned/study.db

Each trial is a short training, as of `train.py`, on the same rows: its WER is that on the rows to evaluate on, not on a
test set. Trials that do worse than others at the same step end early. After an interruption, the same command goes on,
and an interrupted trial resumes from its last checkpoint. The shape of the student is fixed; `compress.py` compares
shapes.
"""

import argparse
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any, get_args

import optuna
from transformers import set_seed

from scripts.common.arguments import count
from scripts.common.command import ending_cleanly
from scripts.compression.stage_folders import write_json
from scripts.compression.students_of_teacher import StudyError
from scripts.compression.tuning import OPTIONS, ReportToTrial, best_of, open_study, pruner_named, search, suggest
from scripts.speech.data import DataError
from scripts.training.ctc_objective import CtcOptions
from scripts.training.distillation import DistillationOptions
from scripts.training.objectives import load_objective
from scripts.training.training_config import Precision, TrainingConfig
from scripts.training.training_rows import TrainingRows, load_rows
from scripts.training.training_run import train
from scripts.training.whisper_objective import WhisperOptions

DATABASE, BEST = "study.db", "best.json"


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--model_name", required=True, help="the student: checkpoint folder or hub id")
    add("--teacher", required=True, help="a trained CTC checkpoint")
    for name in ("layers", "feed_forward", "conv_channels"):
        add(f"--keep_{name}", type=int, default=0, help="as in train.py")
    add("--dataset_name", required=True, help="hub id, local folder in the hub's formats, or manifest.jsonl")
    add("--out", type=Path, required=True, help="folder of the search")
    add("--trials", type=count, default=20, help="complete and pruned trials in all (default: %(default)s)")
    add("--steps", type=count, default=500, help="steps of a trial (default: %(default)s)")
    add("--search", nargs="+", choices=OPTIONS, default=list(OPTIONS), help="options to search for (default: all)")
    add("--pruner", choices=("median", "hyperband", "none"), default="median", help="which trials end early")
    add("--eval_steps", type=count, help="steps between evaluations (default: a fifth of the steps)")
    add("--eval_dataset_name", help="as in train.py")
    for name, default in (("train_percent", 1.0), ("eval_percent", 0.05), ("batch_s", 48.0), ("max_duration_s", 15.0)):
        add(f"--{name}", type=float, default=default, help="as in train.py")
    add("--dropout", type=float, help="as in train.py")
    add("--language", default=CtcOptions.language, help="ISO 639-1 code of the texts")
    add("--optimizer", choices=("adamw", "muon"), default="adamw", help="as in train.py")
    add("--precision", choices=get_args(Precision), default="auto", help="as in train.py")
    add("--augment", action="store_true", help="as in train.py")
    add("--num_workers", type=int, default=1, help="processes that decode and augment clips")
    add("--seed", type=int, default=0)
    return parser.parse_args(argv)


def config_of(arguments: argparse.Namespace, folder: Path, learning_rate: float | None) -> TrainingConfig:
    """The training of a trial."""
    return TrainingConfig(
        model_name=arguments.model_name,
        dataset_name=arguments.dataset_name,
        output_dir=folder,
        eval_dataset_name=arguments.eval_dataset_name,
        train_percent=arguments.train_percent,
        eval_percent=arguments.eval_percent,
        max_steps=arguments.steps,
        batch_s=arguments.batch_s,
        learning_rate=learning_rate,
        optimizer=arguments.optimizer,
        max_duration_s=arguments.max_duration_s,
        augment=arguments.augment,
        precision=arguments.precision,
        eval_steps=arguments.eval_steps or max(1, arguments.steps // 5),
        num_workers=arguments.num_workers,
        seed=arguments.seed,
    )


def run_trial(arguments: argparse.Namespace, rows: TrainingRows, trial: optuna.Trial, name: str) -> float:
    """Train with the options that a trial suggests. Returns the WER. Raises TrialPruned."""
    values = suggest(trial, tuple(arguments.search))
    print(f"Trial {trial.number}: {values}", flush=True)
    folder = arguments.out / f"{arguments.out.resolve().name}-{name}"  # also the name of its run in TensorBoard
    config = config_of(arguments, folder, values.pop("learning_rate", None))
    set_seed(config.seed)
    own = ("keep_layers", "keep_feed_forward", "keep_conv_channels", "dropout", "language")
    options: dict[str, Any] = {**asdict(WhisperOptions()), **asdict(DistillationOptions()), **asdict(CtcOptions())}
    options |= {option: getattr(arguments, option) for option in own} | {"teacher": arguments.teacher} | values
    callback = ReportToTrial(trial)
    metrics = train(config, load_objective(config.model_name, rows.train.texts(), options), rows, [callback])
    shutil.rmtree(folder)  # the options are the result; TensorBoard has the course of the training
    if callback.pruned_at is not None:
        raise optuna.TrialPruned(f"at step {callback.pruned_at}")
    return metrics["eval_wer"]


def main(argv: list[str] | None = None) -> None:
    arguments = parse_arguments(argv)
    with ending_cleanly("tune", StudyError, DataError):
        rows = load_rows(config_of(arguments, arguments.out, None))
        database = arguments.out / DATABASE
        study = open_study(database, pruner_named(arguments.pruner, arguments.steps), arguments.seed)
        search(study, arguments.trials, lambda trial, name: run_trial(arguments, rows, trial, name))
        best = best_of(database)
        write_json(
            arguments.out / BEST, {"options": best, "eval_wer": study.best_value, "trial": study.best_trial.number}
        )
        print(f"WER {study.best_value:.2%} in trial {study.best_trial.number}: {best}")
        print(f"Open it: optuna-dashboard sqlite:///{database}")
        print(f"Use it: python scripts/compress.py ... --tuned {database}")


if __name__ == "__main__":
    main()
