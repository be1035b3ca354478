"""Calls of the clips in `samples/`: two voices that take turns, or talk at once."""

import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
import soundfile

from scripts.tools.call_recordings import Call, Recording, arrange, variants
from scripts.training.augment import Samples, rms

FOLDER = Path(__file__).resolve().parents[1] / "samples"
TURNS = ("sample.wav", "call.wav", "short.wav", "lesson.wav")
"""Clips whose speakers take turns: left, right, left, right."""


@cache
def clip(name: str) -> tuple[Samples, str]:
    """A clip at -20 dB of full scale, shape (samples,), float32, and its text."""
    samples = soundfile.read(FOLDER / name, dtype="float32")[0]
    lines = (FOLDER / "manifest.jsonl").read_text(encoding="utf-8").splitlines()
    texts = {entry["audio"]: entry["text"] for entry in map(json.loads, lines)}
    return samples * np.float32(0.1 / rms(samples)), texts[name]


@cache
def call(overlap: float = 0.2) -> Call:
    """The clips in turn. overlap: share of a turn that the next one covers; below 0 for pauses."""
    return arrange([(number % 2, *clip(name)) for number, name in enumerate(TURNS)], overlap)


@cache
def all_variants() -> Sequence[Recording]:
    """Of such calls, all recordings that `scripts/tools/call_recordings.py` makes."""
    return variants(call(0.2), call(0.5), call(-0.3))
