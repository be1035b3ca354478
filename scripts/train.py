"""Fine-tune a wav2vec2 checkpoint with CTC or a Whisper checkpoint, or train a small CTC model from scratch.

    python scripts/train.py --model_name facebook/wav2vec2-base --dataset_name ysdede/khanacademy-turkish \\
      --train_percent 0.1 --eval_percent 0.05 --epochs 1 --output_dir models/checkpoint
    python scripts/train.py --model_name tr-small --dataset_name data/train/manifest.jsonl --augment \\
      --epochs 2 --output_dir models/checkpoint
    python scripts/train.py --model_name openai/whisper-small --language tr --dataset_name data/train/manifest.jsonl \\
      --max_steps 500 --eval_steps 100 --output_dir models/whisper-tr
    tensorboard --logdir runs

`--dataset_name` is a hub id, a local folder in the hub's formats, or a manifest of `synthesize.py`. After an
interruption, the same command resumes from the last checkpoint. The result is a checkpoint folder for `export.py`,
`evaluate.py` and `ASR_BACKEND=pytorch`.
"""

import argparse
import json
import os
import shutil
import sys
from pathlib import Path
from random import Random

os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "20000")  # by default, it holds the kernels of ten shapes

import torch
from safetensors import SafetensorError, safe_open
from torch.utils.tensorboard import SummaryWriter
from transformers import PreTrainedModel, TrainingArguments, set_seed
from transformers.integrations.integration_utils import TensorBoardCallback
from transformers.trainer import TRAINER_STATE_NAME
from transformers.trainer_utils import get_last_checkpoint

from app.artifacts import ArtifactError
from app.checkpoints import check_weights_files
from scripts.speech.data import DataError, SpeechRows, load_speech
from scripts.training.augment import AugmentationPolicy
from scripts.training.batches import join_rows, message_of
from scripts.training.checkpoints import SMALL_CONFIGS
from scripts.training.objectives import load_objective

ADAPTERS = "adapter_model.safetensors"
"""The weights in a checkpoint of a training with LoRA."""
RECORD = "training.json"
"""The file in the output folder that has the arguments and, at the end, the error rates."""


def split_rows(
    splits: dict[str, SpeechRows], train_percent: float, eval_percent: float, seed: int
) -> tuple[SpeechRows, SpeechRows]:
    """Return training rows and evaluation rows.

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
    return train.select(order[: max(1, round(train_percent * len(train)))]), evaluation


def precision(wanted: str) -> str:
    """Resolve `auto`: bf16 if the hardware supports it, else fp16 on a GPU, else fp32."""
    if wanted != "auto":
        return wanted
    if torch.cuda.is_available():
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"
    return "bf16" if torch.cpu.get_capabilities().get("avx512_bf16", False) else "fp32"


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--model_name", required=True, help=f"hub id, checkpoint folder, or from scratch: {', '.join(SMALL_CONFIGS)}")
    add("--dataset_name", required=True, help="hub id, local folder in the hub's formats, or manifest.jsonl")
    add("--eval_dataset_name", help="another data set with the same columns, to evaluate on instead of a part of it")
    add("--output_dir", type=Path, required=True, help="checkpoint folder to make")
    add("--train_percent", type=float, default=1.0, help="share of the training split to use: 0.1 is a tenth")
    add("--eval_percent", type=float, default=0.05, help="share of the data to evaluate on")
    add("--audio_column", help="audio column (default: detected)")
    add("--text_column", help="text column (default: detected)")
    add("--language", help="ISO 639-1 code of the texts (default with CTC: tr; multilingual Whisper models need it)")
    add("--alphabet", default="", help="CTC: letters of a new tokenizer (default: those of the training text)")
    add("--epochs", type=float, default=1.0)
    add("--max_steps", type=int, default=-1, help="stop after this many steps, whatever the number of epochs")
    add(
        "--batch_s",
        type=float,
        default=48.0,
        help="seconds of audio in a batch, with the padding to the longest clip, but not that to Whisper's window",
    )
    add("--gradient_accumulation_steps", type=int, default=1)
    add(
        "--learning_rate",
        type=float,
        help="peak (default: 1e-4 with CTC, where 1e-3 suits training from scratch; 1e-5 for Whisper, 1e-3 with LoRA)",
    )
    add("--optimizer", choices=("adamw", "muon"), default="adamw", help="muon needs fewer steps from scratch")
    add("--warmup_steps", type=int, help="steps to the peak learning rate (default: a tenth of all steps)")
    add("--min_duration_s", type=float, default=0.5, help="skip shorter clips")
    add("--max_duration_s", type=float, default=15.0, help="skip longer clips")
    add("--freeze_feature_encoder", action="store_true", help="CTC: do not train the convolutions")
    add("--freeze_encoder", action="store_true", help="Whisper: train the decoder only")
    add("--lora_rank", type=int, default=0, help="Whisper: train adapters of this rank instead of the weights")
    add("--spec_augment", action="store_true", help="Whisper: mask times and mel bins, as much as config.json says")
    add(
        "--condense_silence",
        type=float,
        default=0.0,
        help="Whisper: share of the batches whose silence is condensed, as the service does; their steps are faster",
    )
    add("--augment", action="store_true", help="change voice, room, noise, band and codec at random")
    add("--join", type=float, default=0.0, help="share of clips that join several rows, up to max_duration_s")
    add("--dropout", type=float, help="dropout probability (default: that of the checkpoint)")
    add("--precision", choices=("auto", "fp32", "bf16", "fp16"), default="auto")
    add("--eval_steps", type=int, default=500, help="steps between evaluations and saved checkpoints")
    add("--logging_steps", type=int, default=25)
    add("--num_workers", type=int, default=1, help="processes that decode and augment clips")
    add("--seed", type=int, default=0)
    add("--restart", action="store_true", help="start again: delete the checkpoints in output_dir")
    arguments = parser.parse_args(argv)
    for share in ("train_percent", "eval_percent"):
        if not 0 < getattr(arguments, share) <= 1:
            parser.error(f"--{share} is a share of the data, above 0 and at most 1 (0.1 is a tenth)")
    if not 0 <= arguments.condense_silence <= 1:
        parser.error("--condense_silence is a share of the batches, from 0 to 1")
    if arguments.lora_rank < 0:
        parser.error("--lora_rank is the rank of the adapters, or 0 for none")
    return arguments


def main(argv: list[str] | None = None) -> None:
    arguments = parse_arguments(argv)
    set_seed(arguments.seed)
    splits = load_speech(arguments.dataset_name, None, arguments.audio_column, arguments.text_column)
    if arguments.eval_dataset_name:
        others = load_speech(arguments.eval_dataset_name, None, arguments.audio_column, arguments.text_column)
        splits["validation"] = others.get("validation") or others.get("test") or next(iter(others.values()))
    train_rows, eval_rows = split_rows(splits, arguments.train_percent, arguments.eval_percent, arguments.seed)
    print(f"Audio from column {train_rows.audio_column!r}, text from column {train_rows.text_column!r}")

    objective = load_objective(arguments.model_name, train_rows.texts(), vars(arguments))
    arguments.language = objective.language
    if arguments.learning_rate is None:
        arguments.learning_rate = objective.learning_rate
    limits = (arguments.min_duration_s, arguments.max_duration_s)
    train_rows, eval_rows = (rows.select(objective.usable(rows, *limits)) for rows in (train_rows, eval_rows))
    hours = sum(train_rows.durations_s) / 3600
    if not (len(train_rows) and len(eval_rows)):
        raise DataError(
            f"{len(train_rows)} clips are left to train on and {len(eval_rows)} to evaluate on; both need at least one "
            f"clip of {limits[0]:g} to {limits[1]:g} s with letters that the model can output"
        )
    print(f"Training on {len(train_rows)} clips ({hours:.2f} hours), evaluating on {len(eval_rows)}")
    print(f"{arguments.model_name}: {describe(objective.model)}, {precision(arguments.precision)}")

    options = training_arguments(arguments, objective.keeps_best)
    writer = SummaryWriter(options.logging_dir)
    policy = AugmentationPolicy() if arguments.augment else None
    groups = join_rows(train_rows.durations_s, arguments.join, arguments.max_duration_s, arguments.seed)
    trainer = objective.trainer(
        writer,
        args=options,
        batch_s=arguments.batch_s,
        muon=arguments.optimizer == "muon",
        train_dataset=objective.dataset(train_rows, policy, arguments.seed, groups),
        eval_dataset=objective.dataset(eval_rows),
        callbacks=[TensorBoardCallback(writer)],
    )
    arguments.output_dir.mkdir(parents=True, exist_ok=True)
    if arguments.restart:  # otherwise, if this run is interrupted, the next one would resume from the old checkpoints
        for old in arguments.output_dir.glob("checkpoint-*"):
            shutil.rmtree(old)
    last = get_last_checkpoint(str(arguments.output_dir))
    if last:
        check_same_training(arguments)
        check_complete(Path(last))
    write_record(arguments, {})
    print(f"Resuming from {last}" if last else "Starting", "- follow it with: tensorboard --logdir runs")
    trainer.train(resume_from_checkpoint=last)
    metrics = trainer.evaluate()
    writer.close()
    objective.save(arguments.output_dir)
    write_record(arguments, metrics)
    print(f"WER {metrics['eval_wer']:.2%}, CER {metrics['eval_cer']:.2%}: {arguments.output_dir}")


def describe(model: PreTrainedModel) -> str:
    """The number of parameters, and how many of them are trained if not all are."""
    count, trained = model.num_parameters(), model.num_parameters(only_trainable=True)
    return f"{count / 1e6:.1f} M parameters" + (f", {trained / 1e6:.1f} M trained" if trained < count else "")


def training_arguments(arguments: argparse.Namespace, keeps_best: bool) -> TrainingArguments:
    """The arguments of the Trainer. keeps_best: end with the checkpoint of the lowest WER."""
    number = precision(arguments.precision)
    return TrainingArguments(
        output_dir=str(arguments.output_dir),
        num_train_epochs=arguments.epochs,
        max_steps=arguments.max_steps,
        gradient_accumulation_steps=arguments.gradient_accumulation_steps,
        learning_rate=arguments.learning_rate,
        warmup_steps=arguments.warmup_steps or 0,
        warmup_ratio=0.1 if arguments.warmup_steps is None else 0.0,
        lr_scheduler_type="cosine",
        weight_decay=0.01,
        max_grad_norm=1.0,
        bf16=number == "bf16",
        fp16=number == "fp16",
        eval_strategy="steps",
        eval_steps=arguments.eval_steps,
        save_steps=arguments.eval_steps,
        save_total_limit=2,
        load_best_model_at_end=keeps_best,
        metric_for_best_model="wer" if keeps_best else None,
        greater_is_better=False if keeps_best else None,
        logging_dir=str(Path("runs") / arguments.output_dir.name),
        logging_steps=arguments.logging_steps,
        logging_first_step=True,
        dataloader_num_workers=arguments.num_workers,
        remove_unused_columns=False,
        label_names=["labels"],
        report_to=[],
        seed=arguments.seed,
        use_cpu=not torch.cuda.is_available(),
    )


def write_record(arguments: argparse.Namespace, metrics: dict[str, float]) -> None:
    """Write the record of the training: its arguments and its metrics."""
    made_by = {key: str(value) if isinstance(value, Path) else value for key, value in vars(arguments).items()}
    record = json.dumps({"arguments": made_by, "metrics": metrics}, indent=2, ensure_ascii=False)
    (arguments.output_dir / RECORD).write_text(record + "\n", encoding="utf-8")


def check_same_training(arguments: argparse.Namespace) -> None:
    """Raise DataError if the training in the output folder has another model, data set, optimizer or other weights."""
    try:
        record = json.loads((arguments.output_dir / RECORD).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return
    previous = record["arguments"]
    for key in ("model_name", "dataset_name", "optimizer", "freeze_encoder", "lora_rank"):
        if key in previous and previous[key] != getattr(arguments, key):
            raise DataError(
                f"{arguments.output_dir} has a training with --{key} {previous[key]}: use another --output_dir, or "
                "--restart to delete it"
            )


def check_complete(checkpoint: Path) -> None:
    """Raise DataError if a checkpoint to resume from is incomplete, for example after a power failure."""
    adapters = checkpoint / ADAPTERS
    try:
        if adapters.is_file():
            with safe_open(adapters, framework="pt"):  # checks the file size against the header
                pass
        else:
            check_weights_files(checkpoint)
        complete = (checkpoint / TRAINER_STATE_NAME).is_file()  # the Trainer writes this file last
    except (ArtifactError, SafetensorError):
        complete = False
    if not complete:
        raise DataError(f"{checkpoint} is incomplete: delete it to resume from the one before, or use --restart")


if __name__ == "__main__":
    try:
        main()
    except DataError as error:
        sys.exit(message_of(error))
