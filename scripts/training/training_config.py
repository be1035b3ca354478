"""How a model of any family is trained: data, steps, batches; and the arguments of the transformers Trainer."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, Self

import torch
from transformers import TrainingArguments

LOGS = Path("runs")
"""The folder of TensorBoard's files, in the current directory."""
Precision = Literal["auto", "fp32", "bf16", "fp16"]


@dataclass(frozen=True)
class TrainingConfig:
    """Options of a training that do not depend on the model family.

    model_name: hub id, checkpoint folder, or a key of `SMALL_CONFIGS`; `load_objective` loads it. dataset_name: hub id,
    local folder in the hub's formats, or manifest. eval_dataset_name: another data set, to evaluate on instead of a
    part of it. output_dir: checkpoint folder to make. train_percent, eval_percent: shares of the data, above 0 and at
    most 1. audio_column, text_column: None to detect them. max_steps: stop after this many steps, whatever the number
    of epochs; -1 for no limit. batch_s: seconds of audio in a batch. learning_rate: its peak; None for the default of
    the objective. warmup_steps: None for a tenth of all steps. min_duration_s, max_duration_s: limits of the clips.
    augment: change voice, room, noise, band and codec at random. join: share of the clips that join several rows.
    eval_steps: steps between evaluations and saved checkpoints. num_workers: processes that decode and augment clips.
    restart: delete the checkpoints in `output_dir`, instead of resuming.
    """

    model_name: str
    dataset_name: str
    output_dir: Path
    eval_dataset_name: str | None = None
    train_percent: float = 1.0
    eval_percent: float = 0.05
    audio_column: str | None = None
    text_column: str | None = None
    epochs: float = 1.0
    max_steps: int = -1
    batch_s: float = 48.0
    gradient_accumulation_steps: int = 1
    learning_rate: float | None = None
    optimizer: Literal["adamw", "muon"] = "adamw"
    warmup_steps: int | None = None
    min_duration_s: float = 0.5
    max_duration_s: float = 15.0
    augment: bool = False
    join: float = 0.0
    precision: Precision = "auto"
    eval_steps: int = 500
    logging_steps: int = 25
    num_workers: int = 1
    seed: int = 0
    restart: bool = False

    def with_learning_rate(self, default: float) -> Self:
        """The same, with this learning rate if it has none."""
        return self if self.learning_rate is not None else replace(self, learning_rate=default)


def precision(wanted: Precision) -> str:
    """Resolve `auto`: bf16 if the hardware supports it, else fp16 on a GPU, else fp32."""
    if wanted != "auto":
        return wanted
    if torch.cuda.is_available():
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"
    return "bf16" if torch.cpu.get_capabilities().get("avx512_bf16", False) else "fp32"


def trainer_arguments(config: TrainingConfig, keeps_best: bool) -> TrainingArguments:
    """The arguments of the Trainer. keeps_best: end with the checkpoint of the lowest WER."""
    assert config.learning_rate is not None
    number = precision(config.precision)
    return TrainingArguments(
        output_dir=str(config.output_dir),
        num_train_epochs=config.epochs,
        max_steps=config.max_steps,
        gradient_accumulation_steps=config.gradient_accumulation_steps,
        learning_rate=config.learning_rate,
        warmup_steps=config.warmup_steps or 0,
        warmup_ratio=0.1 if config.warmup_steps is None else 0.0,
        lr_scheduler_type="cosine",
        weight_decay=0.01,
        max_grad_norm=1.0,
        bf16=number == "bf16",
        fp16=number == "fp16",
        eval_strategy="steps",
        eval_steps=config.eval_steps,
        save_steps=config.eval_steps,
        save_total_limit=2,
        load_best_model_at_end=keeps_best,
        metric_for_best_model="wer" if keeps_best else None,
        greater_is_better=False if keeps_best else None,
        logging_dir=str(LOGS / config.output_dir.name),
        logging_steps=config.logging_steps,
        logging_first_step=True,
        dataloader_num_workers=config.num_workers,
        remove_unused_columns=False,
        label_names=["labels"],
        report_to=[],
        seed=config.seed,
        use_cpu=not torch.cuda.is_available(),
    )
