"""What a training leaves in its folder besides the weights, and whether another training may go on from it."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from transformers.trainer import TRAINER_STATE_NAME

from app.artifacts import ArtifactError
from app.checkpoints import check_weights_files
from scripts.speech.data import DataError

ADAPTERS = "adapter_model.safetensors"
"""The weights in a checkpoint of a training with LoRA."""
RECORD = "training.json"
"""The file in the output folder that has the options and, at the end, the error rates."""
DECISIVE = (
    *("model_name", "dataset_name", "teacher", "optimizer", "freeze_encoder", "lora_rank", "quantize_bits"),
    *("keep_layers", "keep_feed_forward", "keep_conv_channels", "prune_to", "pruning", "prune_convolutions"),
)
"""The options that must not change when a training is resumed: what it began from, its data, and what it trains."""


def write_record(folder: Path, options: Mapping[str, Any], metrics: Mapping[str, float]) -> None:
    """Write the record of the training: its options and its metrics."""
    made_by = {key: str(value) if isinstance(value, Path) else value for key, value in options.items()}
    record = json.dumps({"arguments": made_by, "metrics": metrics}, indent=2, ensure_ascii=False)
    (folder / RECORD).write_text(record + "\n", encoding="utf-8")


def check_same_training(folder: Path, options: Mapping[str, Any]) -> None:
    """Raise DataError if the training in a folder differs from these options in one that is `DECISIVE`."""
    try:
        record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return
    previous = record["arguments"]
    for key in DECISIVE:
        before, now = previous.get(key) or None, options.get(key) or None  # not every family has every option
        if before != now:
            given = f"without --{key}" if before is None else f"with --{key} {before}"
            raise DataError(f"{folder} has a training {given}: use another --output_dir, or --restart to delete it")


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
