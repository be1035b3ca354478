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
import sys
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any, get_args

from transformers import set_seed

from scripts.speech.data import DataError
from scripts.training.batches import message_of
from scripts.training.checkpoints import SMALL_CONFIGS
from scripts.training.distillation import DistillationOptions
from scripts.training.objectives import chosen, load_objective
from scripts.training.pruning import PruningMethod
from scripts.training.training_config import TrainingConfig
from scripts.training.training_rows import load_rows
from scripts.training.training_run import train


def defaults_of(options: type[Any]) -> dict[str, Any]:
    """The defaults of a dataclass of options."""
    return {field.name: field.default for field in fields(options) if field.default is not MISSING}


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.set_defaults(**defaults_of(TrainingConfig), **defaults_of(DistillationOptions))
    add = parser.add_argument
    add("--model_name", required=True, help=f"hub id, checkpoint folder, or from scratch: {', '.join(SMALL_CONFIGS)}")
    add("--dataset_name", required=True, help="hub id, local folder in the hub's formats, or manifest.jsonl")
    add("--eval_dataset_name", help="another data set with the same columns, to evaluate on instead of a part of it")
    add("--output_dir", type=Path, required=True, help="checkpoint folder to make")
    add("--train_percent", type=float, help="share of the training split to use: 0.1 is a tenth")
    add("--eval_percent", type=float, help="share of the data to evaluate on")
    add("--audio_column", help="audio column (default: detected)")
    add("--text_column", help="text column (default: detected)")
    add("--language", help="ISO 639-1 code of the texts (default with CTC: tr; multilingual Whisper models need it)")
    add("--alphabet", default="", help="CTC: letters of a new tokenizer (default: those of the training text)")
    add("--epochs", type=float)
    add("--max_steps", type=int, help="stop after this many steps, whatever the number of epochs")
    add(
        "--batch_s",
        type=float,
        help="seconds of audio in a batch, with the padding to the longest clip, but not that to Whisper's window",
    )
    add("--gradient_accumulation_steps", type=int)
    add(
        "--learning_rate",
        type=float,
        help="peak (default: 1e-4 with CTC, where 1e-3 suits training from scratch; 1e-5 for Whisper, 1e-3 with LoRA)",
    )
    add("--optimizer", choices=("adamw", "muon"), help="muon needs fewer steps from scratch")
    add("--warmup_steps", type=int, help="steps to the peak learning rate (default: a tenth of all steps)")
    add("--min_duration_s", type=float, help="skip shorter clips")
    add("--max_duration_s", type=float, help="skip longer clips")
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
    add("--teacher", help="CTC: a trained checkpoint, whose outputs the model learns beside the texts")
    add("--temperature", type=float, help="--teacher: divides the logits of both models (default: 1)")
    add("--alpha", type=float, help="--teacher: share of the CTC loss (default: 0.5); the rest is the teacher's")
    add("--hidden_weight", type=float, help="--teacher: weight of the distance of hidden states (default: 1)")
    add("--blank_margin", type=int, help="--teacher: blank frames that count beside each letter (default: all)")
    add(
        "--quantize_bits",
        type=int,
        choices=(0, 4, 7, 8),
        default=0,
        help="CTC: round as the INT8 file of export.py --weight_bits will, so that the model learns to bear it",
    )
    for name, parts in (("layers", "layers"), ("feed_forward", "feed-forward units"), ("conv_channels", "channels")):
        add(f"--keep_{name}", type=int, default=0, help=f"CTC: train a student with this many {parts} (default: all)")
    add("--prune_to", type=float, default=0.0, help="CTC: share of the weights that become zero, such as 0.8")
    add("--pruning", choices=get_args(PruningMethod), help="CTC: how they are chosen (default: magnitude)")
    add("--prune_convolutions", action="store_true", help="CTC: prune the convolutions too")
    add("--augment", action="store_true", help="change voice, room, noise, band and codec at random")
    add("--join", type=float, help="share of clips that join several rows, up to max_duration_s")
    add("--dropout", type=float, help="dropout probability (default: that of the checkpoint)")
    add("--precision", choices=("auto", "fp32", "bf16", "fp16"))
    add("--eval_steps", type=int, help="steps between evaluations and saved checkpoints")
    add("--logging_steps", type=int)
    add("--num_workers", type=int, help="processes that decode and augment clips")
    add("--seed", type=int)
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
    options = vars(arguments)
    config = TrainingConfig(**chosen(options, TrainingConfig))
    set_seed(config.seed)
    rows = load_rows(config)
    metrics = train(config, load_objective(config.model_name, rows.train.texts(), options), rows)
    print(f"WER {metrics['eval_wer']:.2%}, CER {metrics['eval_cer']:.2%}: {config.output_dir}")


if __name__ == "__main__":
    try:
        main()
    except DataError as error:
        sys.exit(message_of(error))
