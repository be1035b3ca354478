"""Cuts a clip into windows that Whisper computes independently: at pauses, each with as much speech as fits.

Whisper takes at most 30 s at once. A cut through a word loses the word or doubles it, so windows end in pauses; pauses
that are not worth computing are left out.
"""

from collections.abc import Sequence

import numpy as np

from app.silero import CHUNK_SAMPLES
from app.voice_activity import Probabilities, Span

SMOOTHING_CHUNKS = 5
"""Chunks over which a probability is averaged to find the quietest place: 160 ms, so that a cut prefers the middle of a
pause to one quiet chunk within a word."""
MIN_LONGEST_SAMPLES = 2 * CHUNK_SAMPLES
"""Shortest limit of a window: half of it must hold the centre of a chunk."""


def cut(
    spans: Sequence[Span], probabilities: Probabilities, longest_samples: int, max_pause_samples: int
) -> list[Span]:
    """The windows of a clip: in order, without overlap, each of at most `longest_samples` samples.

    spans: the speech, in order and without overlap; all of it is in the windows. probabilities: of speech, shape
    (chunks,), float32. max_pause_samples: longest pause between spans that a window includes. A clip without speech has
    no windows.

    Neighbouring spans share a window while they fit. A span that is too long for one window is cut in the second half
    of what fits, where speech is least probable. Raises ValueError if `longest_samples` is under `MIN_LONGEST_SAMPLES`.
    """
    if longest_samples < MIN_LONGEST_SAMPLES:
        raise ValueError(f"a window of {longest_samples} samples is shorter than {MIN_LONGEST_SAMPLES}")
    windows: list[Span] = []
    for span in spans:
        start = span.start
        if windows and start - windows[-1].end <= max_pause_samples and span.end - windows[-1].start <= longest_samples:
            start = windows.pop().start
        while span.end - start > longest_samples:
            end = _quietest(probabilities, start + longest_samples // 2, start + longest_samples)
            windows.append(Span(start, end))
            start = end
        windows.append(Span(start, span.end))
    return windows


def _quietest(probabilities: Probabilities, first: int, last: int) -> int:
    """Where speech is least probable between two samples of a clip, at the centre of a chunk; the latest of equals.

    first, last: at least one chunk apart. probabilities: shape (chunks,), float32.
    """
    half = CHUNK_SAMPLES // 2
    first_chunk = -(-(first - half) // CHUNK_SAMPLES)
    last_chunk = min((last - half) // CHUNK_SAMPLES, len(probabilities) - 1)
    margin = SMOOTHING_CHUNKS // 2
    around = np.arange(first_chunk, last_chunk + 1)[:, np.newaxis] + np.arange(-margin, margin + 1)
    smoothed = probabilities[around.clip(0, len(probabilities) - 1)].mean(axis=1)
    chunk = last_chunk - int(smoothed[::-1].argmin())
    return chunk * CHUNK_SAMPLES + half
