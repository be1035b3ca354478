"""Cuts a long clip into overlapping windows, and stitches their emissions back together.

A model computes at most one window at a time, so memory and time per step are bounded for clips of any length. Windows
start on the model's frame grid: frame i of a window is frame (start / hop + i) of the clip, so stitching only has to
choose, in each overlap, where to switch from one window to the next. It switches where both windows together are most
certain of a blank, so no letter is cut, doubled or lost.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app.families.ctc.decoding import Emissions
from app.recognizer import Samples, Window


@dataclass(frozen=True)
class Framing:
    """How a model cuts audio into frames, in samples.

    One frame covers `receptive_field` samples, the next starts `hop` samples later. A clip with fewer than `min_frames`
    frames is too short for the model.
    """

    hop: int
    receptive_field: int
    min_frames: int = 1

    def frames(self, samples: int) -> int:
        """Number of frames of a clip with `samples` samples: convolutions without padding. 0 if it is too short."""
        frames = (samples - self.receptive_field) // self.hop + 1
        return frames if frames >= self.min_frames else 0


def cut(samples: Samples, framing: Framing, window_frames: int, overlap_frames: int) -> list[Window]:
    """Cut a clip into windows of `window_frames` frames; the last may have fewer.

    samples: the clip, shape (samples,), float32. overlap_frames: frames that each window shares with the previous one.
    A clip shorter than one frame has no windows.
    """
    total = framing.frames(len(samples))
    step = window_frames - overlap_frames
    starts = range(0, max(1, total - overlap_frames), step) if total else ()
    length = (window_frames - 1) * framing.hop + framing.receptive_field
    first_samples = (start * framing.hop for start in starts)
    return [Window(samples[first : first + length], first) for first in first_samples]


class Stitcher:
    """Joins the emissions of one clip's windows as they arrive; it keeps only what the next window may change.

    overlap_frames: overlap of neighbouring windows. blank: id of the CTC blank, which decides where the seams are.
    """

    def __init__(self, overlap_frames: int, blank: int) -> None:
        self._overlap_frames = overlap_frames
        self._blank = blank
        self._tail: Emissions | None = None
        self._end = 0  # frame of the clip at which the last window ends

    def add(self, first_frame: int, emissions: Emissions) -> list[Emissions]:
        """Take the emissions of the next window, shape (frames, vocabulary).

        first_frame: where the window starts in the clip. Returns the frames that are final, in order, as parts of shape
        (frames, vocabulary).
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
        """The remaining frames after the last window."""
        tail, self._tail = self._tail, None
        return [] if tail is None else [tail]


def stitch(
    windows: Sequence[Window], emissions: Sequence[Emissions], hop: int, overlap_frames: int, blank: int
) -> Emissions:
    """The emissions of a clip from those of its windows, shape (frames, vocabulary). Arguments as in `Stitcher`."""
    stitcher = Stitcher(overlap_frames, blank)
    parts = [
        part
        for window, current in zip(windows, emissions, strict=True)
        for part in stitcher.add(window.start // hop, current)
    ]
    parts += stitcher.finish()
    return np.concatenate(parts) if parts else np.zeros((0, blank + 1), dtype=np.float32)


def _seam(before: NDArray[np.float32], after: NDArray[np.float32]) -> int:
    """Frame of the overlap at which the sum of both windows' blank log-probabilities is highest.

    Frames near a window's edge have little context, so the outer quarters of the overlap are left out.
    """
    margin = len(before) // 4
    return margin + int(np.argmax((before + after)[margin : len(before) - margin]))
