"""PyTorch: an unmodified checkpoint, for comparison and for checkpoints that are not exported yet.

Needs torch, which is imported only for this backend.
"""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from app.runtimes.graph import Tensors, TorchModule


class TorchGraph:
    """A module in evaluation mode, with `threads` threads per call."""

    compiles_shapes = False
    metadata: ClassVar[Mapping[str, str]] = {}

    def __init__(self, source: TorchModule, threads: int) -> None:
        self._module, self.inputs, self.outputs = source
        self._threads = threads

    @torch.inference_mode()
    def __call__(self, feeds: Tensors, outputs: Sequence[str]) -> dict[str, NDArray[Any]]:
        """Compute the outputs with these names."""
        torch.set_num_threads(self._threads)  # affects only the calling thread
        computed = self._module(**{name: torch.from_numpy(feed) for name, feed in feeds.items()})
        return {name: np.asarray(computed[name].numpy()) for name in outputs}
