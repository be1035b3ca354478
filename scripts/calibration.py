"""Clips on which the ranges of INT8 activations are taken."""

from pathlib import Path

import numpy as np
from tqdm import tqdm

from app.artifacts import Artifact, ArtifactError
from app.engines.ctc import LENGTHS_INPUT, input_values, is_audible
from app.errors import AsrError
from scripts.data import DataError, load_speech
from scripts.quantization import Feed

SAMPLES = Path(__file__).resolve().parents[1] / "samples" / "manifest.jsonl"
"""What is taken where nothing else is named; enough to try a model with."""


def calibration_feeds(calibration: str, artifact: Artifact, most: int) -> list[Feed]:
    """`input_values` (1, samples) float32 and `lengths` (1,) int64 of some clips, spread evenly over the data.

    most: how many clips at most.
    calibration: speech data as `scripts.data.load_speech` takes it, its split "train" if it has one; "" for `SAMPLES`.
    Clips that are silent or shorter than a frame are left out, for engines do not compute them. Raises DataError if
    there is no such data or it cannot be read, ArtifactError if a clip cannot be decoded or none is left.
    """
    name = calibration or str(SAMPLES)
    try:
        splits = load_speech(name)
    except (AsrError, OSError) as error:
        raise DataError(f"{name}: {error}") from error
    rows = splits.get("train") or next(iter(splits.values()))
    feeds: list[Feed] = []
    spread = range(0, len(rows), -(-len(rows) // most) or 1)
    for index in tqdm(spread, desc="calibrating", unit="clip", disable=None):
        try:
            samples = rows.samples(index, artifact.features.sample_rate_hz)
        except (AsrError, OSError) as error:
            raise ArtifactError(f"{rows.name(index)} cannot be calibrated on: {error}") from error
        if is_audible(samples, artifact.framing):
            values = input_values(samples, artifact.features)
            feeds.append({"input_values": values[np.newaxis], LENGTHS_INPUT: np.array([len(samples)])})
    if not feeds:
        raise ArtifactError(f"there is nothing to calibrate on in {name}")
    return feeds
