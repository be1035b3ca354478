"""Words without the silence at their edges.

Cross-attention says which word is spoken when, but not where the silence before it ends: the first word of a window
begins with the window, and a word after a pause begins within the pause.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from app.recognizer import Samples
from app.transcript import Word

FRAME_S = 0.01
NOISE, SPEECH = 5, 95
"""Percentiles of the levels of a window that are taken for the levels of its noise and of its speech."""
MOST_DB = 45.0
"""The noise counts as at most this far below the speech: digital silence has no level."""
LEAST_DB = 12.0
"""If the noise is less far below, nothing is trimmed: silence cannot be told from weak speech."""
SILENT_SHARE = 0.3
"""Frames are silent whose levels are in this lower part of the range from noise to speech, in dB."""
MARGIN_S = 0.02
"""Time that stays before and after the frames that are not silent."""


def trimmed(words: Sequence[Word], samples: Samples, rate_hz: int) -> tuple[Word, ...]:
    """The words of a window, without the silence at their edges. A word without any sound keeps its times.

    samples: of the window, shape (samples,), float32. The times of the words are in seconds from its start.
    """
    silent = silent_frames(samples, rate_hz)
    found = []
    for word in words:
        first = int(word.start_s / FRAME_S)
        heard = np.flatnonzero(~silent[first : int(np.ceil(word.end_s / FRAME_S))])
        if len(heard):
            start_s = (first + heard[0]) * FRAME_S - MARGIN_S
            end_s = (first + heard[-1] + 1) * FRAME_S + MARGIN_S
            word = replace(word, start_s=max(word.start_s, float(start_s)), end_s=min(word.end_s, float(end_s)))
        found.append(word)
    return tuple(found)


def silent_frames(samples: Samples, rate_hz: int) -> NDArray[np.bool_]:
    """Whether each frame of `FRAME_S` is silent, shape (frames,); a rest at the end is no frame."""
    length = round(FRAME_S * rate_hz)
    frames = samples[: len(samples) // length * length].reshape(-1, length)
    if not len(frames):
        return np.zeros(0, dtype=np.bool_)
    levels_db = 10 * np.log10(np.square(frames, dtype=np.float64).mean(axis=1) + 1e-12)
    noise_db, speech_db = np.percentile(levels_db, [NOISE, SPEECH])
    noise_db = max(noise_db, speech_db - MOST_DB)
    if speech_db - noise_db < LEAST_DB:
        return np.zeros(len(frames), dtype=np.bool_)
    return np.asarray(levels_db < noise_db + SILENT_SHARE * (speech_db - noise_db))
