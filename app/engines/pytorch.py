"""PyTorch: a checkpoint as it is, for comparison and for checkpoints that were not exported yet.

The only file of the service that needs torch and transformers; it is imported only when this backend is chosen.
"""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import AutoModelForCTC


class PyTorchRuntime:
    """A checkpoint folder's CTC model in float32, to be called from several threads at once."""

    ragged = False

    def __init__(self, folder: Path, threads: int) -> None:
        torch.set_num_threads(threads)
        self._model = AutoModelForCTC.from_pretrained(folder, dtype=torch.float32).eval()

    @torch.inference_mode()
    def __call__(self, input_values: NDArray[np.float32], lengths: NDArray[np.int64]) -> NDArray[np.float32]:
        """(1, samples) float32 -> logits (1, frames, vocabulary) float32; there is no padding to know of."""
        logits = self._model(torch.from_numpy(input_values)).logits
        return np.asarray(logits.numpy(), dtype=np.float32)
