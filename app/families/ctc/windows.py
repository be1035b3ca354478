"""A long clip -> overlapping windows, and their emissions stitched back into one.

A model sees at most a window at a time, so memory and time per step are bounded however long the clip is. Windows
start on the model's frame grid: frame i of a window is frame (start / hop + i) of the clip, and stitching only has to
choose, in each overlap, where to change from one window to the next. It changes where both are most sure of a blank,
so no letter is cut, doubled or lost.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app.families.ctc.decoding import Emissions
from app.recognizer import Samples, Window


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


def cut(samples: Samples, framing: Framing, window_frames: int, overlap_frames: int) -> list[Window]:
    """Windows of `window_frames` frames (the last may have less), each sharing `overlap_frames` with the one before.

    samples: the clip, shape (samples,). A clip shorter than one frame has no windows.
    """
    total = framing.frames(len(samples))
    step = window_frames - overlap_frames
    starts = range(0, max(1, total - overlap_frames), step) if total else ()
    length = (window_frames - 1) * framing.hop + framing.receptive_field
    first_samples = (start * framing.hop for start in starts)
    return [Window(samples[first : first + length], first) for first in first_samples]


class Stitcher:
    """Joins the emissions of one clip's windows as they come; it keeps only what the next window may change.

    overlap_frames: that neighbouring windows share. blank: id of the CTC blank, by which the seams are chosen.
    """

    def __init__(self, overlap_frames: int, blank: int) -> None:
        self._overlap_frames = overlap_frames
        self._blank = blank
        self._tail: Emissions | None = None
        self._end = 0  # frame of the clip up to which the windows reach

    def add(self, first_frame: int, emissions: Emissions) -> list[Emissions]:
        """Take the next window, which begins with frame `first_frame` of the clip. Returns frames that are final.

        emissions: shape (frames, vocabulary). What is returned are parts of that shape, in their order.
        """
        final: list[Emissions] = []
        overlap = self._end - first_frame
        self._end = first_frame + len(emissions)
        if self._tail is not None:
            seam = 0
            if overlap > 0:
                seam = _seam(self._tail[-overlap:, self._blank], emissions[:overlap, self._blank])
            final.append(self._tail[: len(self._tail) - overlap + seam])
            emissions = emissions[seam:]
        kept = min(self._overlap_frames, len(emissions))
        final.append(emissions[: len(emissions) - kept])
        self._tail = emissions[len(emissions) - kept :].copy()  # a view would keep the whole window
        return final

    def finish(self) -> list[Emissions]:
        """The frames that are left after the last window."""
        tail, self._tail = self._tail, None
        return [] if tail is None else [tail]


def stitch(
    windows: Sequence[Window], emissions: Sequence[Emissions], hop: int, overlap_frames: int, blank: int
) -> Emissions:
    """The emissions of all windows as those of one clip, shape (frames, vocabulary). The arguments are `Stitcher`'s."""
    stitcher = Stitcher(overlap_frames, blank)
    parts = [
        part
        for window, current in zip(windows, emissions, strict=True)
        for part in stitcher.add(window.start // hop, current)
    ]
    parts += stitcher.finish()
    return np.concatenate(parts) if parts else np.zeros((0, blank + 1), dtype=np.float32)


def _seam(before: NDArray[np.float32], after: NDArray[np.float32]) -> int:
    """Frame of the overlap at which the log-probabilities of a blank, of both windows together, are highest.

    Frames near a window's edge have little context, so the outer quarters of the overlap are left out.
    """
    margin = len(before) // 4
    return margin + int(np.argmax((before + after)[margin : len(before) - margin]))
