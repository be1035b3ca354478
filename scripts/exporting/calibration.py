"""Calibration clips, from which the ranges of INT8 activations are taken."""

import numpy as np
from tqdm import tqdm

from app.artifacts import ArtifactError
from app.families.ctc.graph import LENGTHS_INPUT, WAVEFORM_INPUT
from app.families.ctc.recognizer import input_values, is_audible
from app.families.ctc.settings import CtcSettings
from app.recognizer import WINDOW_S
from scripts.common import SAMPLES
from scripts.exporting.quantization import Feed
from scripts.speech.data import load_speech


def calibration_feeds(calibration: str, settings: CtcSettings, most: int) -> list[Feed]:
    """`input_values` (1, samples) float32 and `lengths` (1,) int64 of clips that are spread evenly over the data.

    calibration: speech data for `load_speech`, or a folder of audio files; if empty, the bundled samples, which suffice
    to try a model. The split "train" is used if there is one. most: maximum number of clips. Only the first window of
    each clip is used, because an engine computes no more in one call. Clips that are silent or shorter than a frame are
    skipped, because engines do not compute them. Raises DataError if the data does not exist or cannot be read, and
    ArtifactError if no clip is left.
    """
    name = calibration or str(SAMPLES / "manifest.jsonl")
    splits = load_speech(name, with_text=False)
    rows = splits.get("train") or next(iter(splits.values()))
    rate_hz = settings.features.sample_rate_hz
    feeds: list[Feed] = []
    spread = range(0, len(rows), -(-len(rows) // most) or 1)
    for index in tqdm(spread, desc="calibrating", unit="clip", disable=None):
        samples = rows.samples(index, rate_hz)[: int(WINDOW_S * rate_hz)]
        if is_audible(samples, settings.framing):
            values = input_values(samples, settings.features)
            feeds.append({WAVEFORM_INPUT: values[np.newaxis], LENGTHS_INPUT: np.array([len(samples)])})
    if not feeds:
        raise ArtifactError(f"there is nothing to calibrate on in {name}")
    return feeds
