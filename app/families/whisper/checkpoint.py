"""Loads the weights of a Whisper checkpoint: all that its model needs, or none."""

from pathlib import Path
from typing import Any, cast

import torch
from transformers import WhisperForConditionalGeneration

from app.checkpoints import Architecture, load_weights

WHISPER = Architecture(WhisperForConditionalGeneration, head="proj_out.", ignored=frozenset())


def load_checkpoint(
    folder: Path, dtype: torch.dtype = torch.float32, **options: Any
) -> WhisperForConditionalGeneration:
    """Load a Whisper model from a checkpoint folder. Takes the options and raises the errors of `load_weights`."""
    model = load_weights(folder, WHISPER, dtype, new_head=False, **options).model
    return cast(WhisperForConditionalGeneration, model)
