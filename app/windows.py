"""A long clip -> overlapping windows, and their emissions stitched back into one.

An engine sees at most a window at a time, so memory and time per step are bounded however long the clip is. Windows
start on the model's frame grid: frame i of a window is frame (start / hop + i) of the clip, and stitching only has to
choose, in each overlap, where to change from one window to the next. It changes where both are most sure of a blank,
so no letter is cut, doubled or lost.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app.decoding import Emissions

Samples = NDArray[np.float32]

WINDOW_S, OVERLAP_S = 20.0, 4.0
"""Of the service, as long as nothing else is set."""


@dataclass(frozen=True)
class Framing:
    """How a model cuts sound into frames, in samples: one frame sees `receptive_field` samples, the next starts
    `hop` samples later. A clip of fewer than `least_frames` frames is too short for the model."""

    hop: int
    receptive_field: int
    least_frames: int = 1

    def frames(self, samples: int) -> int:
        """Frames that a clip of so many samples has: convolutions without padding. None if it is too short."""
        frames = (samples - self.receptive_field) // self.hop + 1
        return frames if frames >= self.least_frames else 0


@dataclass(frozen=True)
class Window:
    """Part of a clip: `samples`, shape (samples,), float32, that begins with frame `first_frame` of the clip."""

    samples: Samples
    first_frame: int


def cut(samples: Samples, framing: Framing, window_frames: int, overlap_frames: int) -> list[Window]:
    """Windows of `window_frames` frames (the last may have less), each sharing `overlap_frames` with the one before.

    samples: the clip, shape (samples,). A clip shorter than one frame has no windows.
    """
    total = framing.frames(len(samples))
    step = window_frames - overlap_frames
    starts = range(0, max(1, total - overlap_frames), step) if total else ()
    length = (window_frames - 1) * framing.hop + framing.receptive_field
    return [Window(samples[start * framing.hop : start * framing.hop + length], start) for start in starts]


def stitch(windows: Sequence[Window], emissions: Iterable[Emissions], blank: int) -> Emissions:
    """The emissions of all windows as those of one clip, shape (frames, vocabulary).

    blank: id of the CTC blank, by which the seams are chosen.
    """
    parts: list[Emissions] = []
    end = 0  # frame of the clip up to which the parts reach
    for window, current in zip(windows, emissions, strict=True):
        overlap = end - window.first_frame
        end = window.first_frame + len(current)
        if parts and overlap > 0:
            seam = _seam(parts[-1][-overlap:, blank], current[:overlap, blank])
            parts[-1] = parts[-1][: len(parts[-1]) - overlap + seam]
            current = current[seam:]
        parts.append(current)
    return np.concatenate(parts) if parts else np.zeros((0, blank + 1), dtype=np.float32)


def _seam(before: NDArray[np.float32], after: NDArray[np.float32]) -> int:
    """Frame of the overlap at which the log-probabilities of a blank, of both windows together, are highest.

    Frames near a window's edge have little context, so the outer quarters of the overlap are left out.
    """
    margin = len(before) // 4
    return margin + int(np.argmax((before + after)[margin : len(before) - margin]))
