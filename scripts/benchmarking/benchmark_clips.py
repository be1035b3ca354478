"""The clips of a benchmark: cut from one file, or utterances of a set of speech."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

import numpy as np

from app.audio import AudioLimits, decode
from app.errors import AsrError
from app.families.ctc.recognizer import SILENCE_STD
from app.recognizer import Samples

if TYPE_CHECKING:
    from scripts.speech.rows import SpeechRows

CLIP_LIMITS = AudioLimits(max_duration_s=3600.0, max_decoded_bytes=1 << 30, max_channels=8)

TOLERANCE = 0.15
"""Relative difference of an utterance from the length that it stands for."""

Clips = Mapping[float, Sequence[Samples]]
"""Nominal length in seconds -> clips of about that length, each shape (samples,), float32."""


class ClipsError(Exception):
    """There are no clips to measure with. The message says why."""


def cut_clips(path: Path, lengths_s: Sequence[float], rate_hz: int) -> Clips:
    """One clip of each length: the audio of the file, looped or cut.

    Raises ClipsError if the file cannot be read, or if a clip is silent.
    """
    try:
        with path.open("rb") as file:
            samples = decode(file, rate_hz, CLIP_LIMITS).samples
    except AsrError as error:
        raise ClipsError(f"{path}: {error.message}") from error
    except OSError as error:
        raise ClipsError(f"{path}: {error.strerror}") from error
    clips = {length_s: np.resize(samples, round(length_s * rate_hz)) for length_s in lengths_s}
    if any(clip.std() < SILENCE_STD for clip in clips.values()):
        raise ClipsError(f"{path} begins with silence, which the engines skip")
    return {length_s: [clip] for length_s, clip in clips.items()}


def speech_clips(rows: "SpeechRows", lengths_s: Sequence[float], count: int, rate_hz: int, seed: int) -> Clips:
    """`count` clips of each length: utterances of this length, within 15 %; if there are too few, joined utterances.

    Those are utterances in random order, one after the other, cut at the length. No utterance is in two clips of one
    length. Raises ClipsError if the set has too few, and DataError for one that cannot be read.
    """

    def clip(indices: Sequence[int], length_s: float) -> Samples:
        samples = np.concatenate([rows.samples(index, rate_hz) for index in indices])
        near = len(indices) == 1 and len(samples) <= length_s * (1 + TOLERANCE) * rate_hz
        return samples if near else samples[: round(length_s * rate_hz)]

    return {
        length_s: [clip(indices, length_s) for indices in choose_rows(rows.durations_s, length_s, count, seed)]
        for length_s in lengths_s
    }


def choose_rows(durations_s: Sequence[float], length_s: float, count: int, seed: int) -> list[list[int]]:
    """For each of `count` clips, the indices of its utterances. Raises ClipsError if there are too few."""
    distances = np.abs(np.array(durations_s) - length_s)
    near = [
        [int(index)]
        for index in np.argsort(distances, kind="stable")[:count]
        if distances[index] <= TOLERANCE * length_s
    ]
    if len(near) == count:
        return near
    order = list(range(len(durations_s)))
    Random(seed).shuffle(order)
    chosen: list[list[int]] = [[]]
    for index in order:
        if sum(durations_s[other] for other in chosen[-1]) >= length_s:
            if len(chosen) == count:
                break
            chosen.append([])
        chosen[-1].append(index)
    if len(chosen) == count and sum(durations_s[index] for index in chosen[-1]) >= length_s:
        return chosen
    raise ClipsError(f"the speech is too short for {count} clips of {length_s:g} s")
