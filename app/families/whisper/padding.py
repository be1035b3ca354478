"""Windows shorter than those that a model was trained on: the silence behind a clip is condensed.

Whisper is trained on windows of 30 s, and every clip is padded to that length: the encoder and cross-attention of a 5 s
clip spend five sixths of their time on silence. If the window is just cut, the softmax of attention lacks the weight of
the silence, and stock models repeat sentences or run into loops.

So a few positions stand for all the silence. Silent positions differ only in their positional embedding, and their keys
and values are nearly the same. One of every n of them is kept, with its own positional embedding, and log n is added to
its attention scores: it weighs as much as the n positions that it stands for.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

KEPT_POSITIONS = 16
"""Silent positions that are kept after a clip, where the encoder still sees its end."""
CONDENSED_POSITIONS = 48
"""Positions that stand for the rest of the silence. Fewer are worse, more are not better (measured: 48, 64, 96)."""


@dataclass(frozen=True)
class Layout:
    """The positions of the encoder for one window.

    positions: indices of positional embeddings, shape (positions,), int64. log_weights: what is added to the attention
    scores of each position, shape (positions,), float32.
    """

    positions: NDArray[np.int64]
    log_weights: NDArray[np.float32]

    @property
    def is_full(self) -> bool:
        """Whether no position stands for others."""
        return not self.log_weights.any()


def full_layout(longest: int) -> Layout:
    """The layout of the window that a model was trained on. longest: its number of positions."""
    return Layout(np.arange(longest), np.zeros(longest, dtype=np.float32))


def condensed_layout(audible: int, longest: int) -> Layout:
    """The layout of a clip of `audible` positions; full if nothing would be saved."""
    kept = audible + KEPT_POSITIONS
    silent = longest - kept
    if silent <= CONDENSED_POSITIONS:
        return full_layout(longest)
    edges = np.linspace(kept, longest, CONDENSED_POSITIONS + 1)
    centers = ((edges[:-1] + edges[1:] - 1) / 2).round().astype(np.int64)
    log_weights = np.zeros(kept + CONDENSED_POSITIONS, dtype=np.float32)
    log_weights[kept:] = np.log(silent / CONDENSED_POSITIONS)
    return Layout(np.concatenate([np.arange(kept), centers]), log_weights)
