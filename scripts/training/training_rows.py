"""The rows that a training uses: those to train on, and those to evaluate on."""

from random import Random
from typing import NamedTuple

from scripts.speech.data import DataError, SpeechRows, load_speech
from scripts.training.training_config import TrainingConfig


class TrainingRows(NamedTuple):
    """Rows to train on, and rows to evaluate on."""

    train: SpeechRows
    evaluation: SpeechRows


def load_rows(config: TrainingConfig) -> TrainingRows:
    """Load the data of a training. Prints the names of its columns. Raises DataError if it cannot be read."""
    splits = load_speech(config.dataset_name, None, config.audio_column, config.text_column)
    if config.eval_dataset_name:
        others = load_speech(config.eval_dataset_name, None, config.audio_column, config.text_column)
        splits["validation"] = others.get("validation") or others.get("test") or next(iter(others.values()))
    rows = split_rows(splits, config.train_percent, config.eval_percent, config.seed)
    print(f"Audio from column {rows.train.audio_column!r}, text from column {rows.train.text_column!r}")
    return rows


def split_rows(splits: dict[str, SpeechRows], train_percent: float, eval_percent: float, seed: int) -> TrainingRows:
    """Divide the splits of a data set.

    Evaluation uses the split "validation" if there is one. Otherwise it uses a part of "train", which is not trained
    on. The split "test" is not used, so that it remains for the final score. Raises DataError if there is no "train".
    """
    if "train" not in splits:
        raise DataError(f"there is no split 'train', only {', '.join(splits)}")
    train = splits["train"]
    order = list(range(len(train)))
    Random(seed).shuffle(order)
    if "validation" in splits:
        validation = splits["validation"]
        evaluation = validation.select(list(range(len(validation)))[: max(1, round(eval_percent * len(validation)))])
    else:
        held_out = max(1, round(eval_percent * len(train)))
        evaluation, order = train.select(order[:held_out]), order[held_out:]
    return TrainingRows(train.select(order[: max(1, round(train_percent * len(train)))]), evaluation)
