"""Trains a model: `train(config, objective, rows)`, which `train.py` calls for its command line."""

import os
import shutil
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "20000")  # by default, it holds the kernels of ten shapes

from torch.utils.tensorboard import SummaryWriter
from transformers import PreTrainedModel, TrainerCallback
from transformers.integrations.integration_utils import TensorBoardCallback
from transformers.trainer_utils import get_last_checkpoint

from scripts.speech.data import DataError
from scripts.training.augment import AugmentationPolicy
from scripts.training.batches import join_rows
from scripts.training.objective import Objective
from scripts.training.training_config import LOGS, TrainingConfig, precision, trainer_arguments
from scripts.training.training_record import check_complete, check_same_training, write_record
from scripts.training.training_rows import TrainingRows


def train(
    config: TrainingConfig, objective: Objective, rows: TrainingRows, callbacks: Sequence[TrainerCallback] = ()
) -> dict[str, float]:
    """Train a model, or resume its training. Returns the metrics of the last evaluation: `eval_wer`, `eval_cer`, ...

    Writes the checkpoint to `config.output_dir`, with a record of all options, and logs for TensorBoard to `runs`.
    Prints what it does. Call `transformers.set_seed` before the objective is made: it may draw new weights. The model
    of the objective is trained in place. callbacks: of transformers' Trainer, such as one that stops early. Raises
    DataError if no usable rows are left, or if the folder has another training or an incomplete checkpoint.
    """
    config = config.with_learning_rate(objective.learning_rate)
    limits = (config.min_duration_s, config.max_duration_s)
    rows = TrainingRows(
        rows.train.select(objective.usable(rows.train, *limits)),
        rows.evaluation.select(objective.usable(rows.evaluation, *limits, evaluation=True)),
    )
    if not (len(rows.train) and len(rows.evaluation)):
        raise DataError(
            f"{len(rows.train)} clips are left to train on and {len(rows.evaluation)} to evaluate on; both need at "
            f"least one clip of {limits[0]:g} to {limits[1]:g} s with letters that the model can output"
        )
    hours = sum(rows.train.durations_s) / 3600
    print(f"Training on {len(rows.train)} clips ({hours:.2f} hours), evaluating on {len(rows.evaluation)}")
    options = asdict(config) | dict(objective.options)
    print(f"{config.model_name}: {describe(objective.model)}, {precision(config.precision)}")

    writer = SummaryWriter(str(LOGS / config.output_dir.name))
    policy = AugmentationPolicy() if config.augment else None
    groups = join_rows(rows.train.durations_s, config.join, config.max_duration_s, config.seed)
    trainer = objective.trainer(
        writer,
        args=trainer_arguments(config, objective.keeps_best),
        batch_s=config.batch_s,
        muon=config.optimizer == "muon",
        train_dataset=objective.dataset(rows.train, policy, config.seed, groups),
        eval_dataset=objective.dataset(rows.evaluation),
        callbacks=[TensorBoardCallback(writer), *callbacks],
    )
    last = prepare_folder(config, options)
    write_record(config.output_dir, options, {})
    print(f"Resuming from {last}" if last else "Starting", f"- follow it with: tensorboard --logdir {LOGS}")
    trainer.train(resume_from_checkpoint=None if last is None else str(last))
    metrics = trainer.evaluate()
    writer.close()
    objective.save(config.output_dir)
    write_record(config.output_dir, options, metrics)
    return metrics


def prepare_folder(config: TrainingConfig, options: dict[str, object]) -> Path | None:
    """Make the output folder. Returns the checkpoint in it to resume from, if there is one.

    Raises DataError if that checkpoint is of another training, or incomplete.
    """
    config.output_dir.mkdir(parents=True, exist_ok=True)
    if config.restart:  # otherwise, if this run is interrupted, the next one would resume from the old checkpoints
        for old in config.output_dir.glob("checkpoint-*"):
            shutil.rmtree(old)
    last = get_last_checkpoint(str(config.output_dir))
    if last is None:
        return None
    check_same_training(config.output_dir, options)
    check_complete(Path(last))
    return Path(last)


def describe(model: PreTrainedModel) -> str:
    """The number of parameters, and how many of them are trained if not all are."""
    count, trained = model.num_parameters(), model.num_parameters(only_trainable=True)
    return f"{count / 1e6:.1f} M parameters" + (f", {trained / 1e6:.1f} M trained" if trained < count else "")
