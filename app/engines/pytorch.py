"""PyTorch: a checkpoint as it is, for comparison and for checkpoints that were not exported yet.

Needs torch and transformers, as `app.engines.checkpoint` does; both are imported only when this backend is chosen.
"""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import PreTrainedModel

from app.engines.checkpoint import load_checkpoint
from app.memory import keep_freed_memory, return_freed_memory


def load_model(folder: Path) -> PreTrainedModel:
    """A checkpoint folder's CTC model in float32. Raises the errors of `load_checkpoint`."""
    keep_freed_memory()
    model = load_checkpoint(folder).model
    return_freed_memory()
    return model


class PyTorchRuntime:
    """A CTC model on so many threads per call, to be called from several threads at once."""

    ragged = False

    def __init__(self, model: PreTrainedModel, threads: int) -> None:
        self._model = model
        self._threads = threads

    @torch.inference_mode()
    def __call__(self, input_values: NDArray[np.float32], lengths: NDArray[np.int64]) -> NDArray[np.float32]:
        """(1, samples) float32 -> logits (1, frames, vocabulary) float32; there is no padding to know of."""
        torch.set_num_threads(self._threads)  # counts for the calling thread only
        logits = self._model(torch.from_numpy(input_values)).logits
        return np.asarray(logits.numpy(), dtype=np.float32)
