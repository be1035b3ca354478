"""PyTorch: an unmodified checkpoint, for comparison and for checkpoints that are not exported yet.

Needs torch, which is imported only for this backend.
"""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from app.runtimes.graph import Cache, Tensors, TorchModule


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

    def bind(self, fixed: Tensors, caches: Sequence[Cache], outputs: Sequence[str]) -> "BoundTorchGraph":
        """Bind inputs and outputs. The module must update the caches in place."""
        return BoundTorchGraph(self, fixed, caches, outputs)


class BoundTorchGraph:
    """A module with bound inputs. Tensors share the memory of the arrays."""

    def __init__(self, graph: TorchGraph, fixed: Tensors, caches: Sequence[Cache], outputs: Sequence[str]) -> None:
        self._graph = graph
        self._bound = {**fixed, **{cache.input: cache.values for cache in caches}}
        self._outputs = tuple(outputs)

    def __call__(self, feeds: Tensors) -> dict[str, NDArray[Any]]:
        """Compute the bound outputs and update the caches."""
        return self._graph({**self._bound, **feeds}, self._outputs)
