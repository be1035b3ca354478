"""Measure whether a batch of clips is faster than the same clips one after the other, by clip length.

    python scripts/tools/batch_gain.py --model_dir models/tr-small --backend onnx

This needs a backend that computes clips independently (FP32 and static INT8 in the matrix form). Prints the time of a
batch as a share of the time of the same clips alone, on one thread, as the service computes under load.
"""

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median

import numpy as np

from app.artifacts import ArtifactError
from app.models import load_recognizer, open_model
from app.recognizer import AnyRecognizer, Options, Samples, Window
from app.runtimes.registry import BACKENDS, ONNX
from scripts.common.machine import processor


def seconds_of(recognizer: AnyRecognizer, batches: Sequence[Sequence[Samples]]) -> float:
    """Wall time of all batches, one after the other, in seconds."""
    begin = time.perf_counter()
    for batch in batches:
        recognizer.compute([Window(samples) for samples in batch], Options())
    return time.perf_counter() - begin


def gain(recognizer: AnyRecognizer, clips: Sequence[Samples], rounds: int) -> float:
    """Time of `clips` in one batch divided by their time one by one: the median of the ratios of `rounds` rounds."""
    alone = [[clip] for clip in clips]
    seconds_of(recognizer, [clips, *alone])
    return median(seconds_of(recognizer, [clips]) / seconds_of(recognizer, alone) for _ in range(rounds))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model_dir", type=Path, required=True)
    parser.add_argument("--backend", choices=tuple(BACKENDS), default=ONNX)
    parser.add_argument("--batch", type=int, default=8, help="clips per batch")
    parser.add_argument("--lengths_s", type=float, nargs="+", default=[0.5, 1.0, 2.0, 4.0])
    parser.add_argument("--rounds", type=int, default=7)
    arguments = parser.parse_args()
    try:
        model = open_model(arguments.model_dir)
        recognizer = load_recognizer(model, arguments.backend, threads=1)
    except ArtifactError as error:
        sys.exit(str(error))
    if not recognizer.batches:
        sys.exit(f"{arguments.backend} of {model.artifact.name} computes one clip at a time")
    print(f"{model.artifact.name} on {arguments.backend}, {arguments.batch} clips at once, one thread, {processor()}\n")
    print("| clip length | time of a batch / one by one |\n|---|---|")
    random = np.random.default_rng(0)
    for length_s in arguments.lengths_s:
        samples = int(length_s * recognizer.rate_hz)
        clips = [random.normal(0, 0.1, samples).astype(np.float32) for _ in range(arguments.batch)]
        print(f"| {length_s:g} s | {gain(recognizer, clips, arguments.rounds):.2f} |", flush=True)


if __name__ == "__main__":
    main()
