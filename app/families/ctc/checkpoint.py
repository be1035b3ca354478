"""Loads the weights of a CTC checkpoint: all that its model needs, or none."""

from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCTC

from app.checkpoints import Architecture, LoadedCheckpoint, load_weights

CTC = Architecture(
    AutoModelForCTC,
    head="lm_head.",  # in every model of that class
    ignored=frozenset(
        {
            # Not used in recognition (SpecAugment's mask, counters), or computed by the model itself (positions).
            *("masked_spec_embed", "position_ids", "inv_freq", "num_batches_tracked"),
            # Modules for pretraining; published checkpoints may still have them beside a CTC head: those of wav2vec
            # 2.0, those of UniSpeech and its SAT, and those of HuBERT and WavLM, as fairseq names them.
            *("quantizer", "project_hid", "project_q"),
            *("ctc_proj", "speaker_proj", "label_embeddings_concat", "layer_norm_for_extract"),
            *("final_proj", "label_embs_concat"),
        }
    ),
)


def load_checkpoint(
    folder: Path, dtype: torch.dtype = torch.float32, *, new_head: bool = False, **options: Any
) -> LoadedCheckpoint:
    """Load a CTC model from a checkpoint folder. Takes the arguments and raises the errors of `load_weights`."""
    return load_weights(folder, CTC, dtype, new_head=new_head, **options)
