"""Whether clips are computed faster together than one after the other, by their length.

    python scripts/batch_gain.py --model_dir models/tr-small --backend onnx

Only engines whose clips do not depend on each other can be asked (FP32 and static INT8 in the matrix form). Prints the
time of a batch as a share of the time of the same clips alone, on one thread, as the service computes under load.
"""

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median

import numpy as np

from app.artifacts import ArtifactError, open_artifact
from app.asr import BACKENDS, Engine, load_engine
from app.engines.ctc import CtcEngine
from app.windows import Samples
from scripts.common.machine import processor


def seconds_of(engine: Engine, batches: Sequence[Sequence[Samples]]) -> float:
    """Time to compute all batches, one after the other."""
    begin = time.perf_counter()
    for batch in batches:
        engine.emissions(batch)
    return time.perf_counter() - begin


def gain(engine: Engine, clips: Sequence[Samples], rounds: int) -> float:
    """Time of `clips` computed at once over that of each alone: the median of the ratios of `rounds` rounds."""
    alone = [[clip] for clip in clips]
    seconds_of(engine, [clips, *alone])
    return median(seconds_of(engine, [clips]) / seconds_of(engine, alone) for _ in range(rounds))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model_dir", type=Path, required=True)
    parser.add_argument("--backend", choices=tuple(BACKENDS), default="onnx")
    parser.add_argument("--batch", type=int, default=8, help="clips at once")
    parser.add_argument("--lengths_s", type=float, nargs="+", default=[0.5, 1.0, 2.0, 4.0])
    parser.add_argument("--rounds", type=int, default=7)
    arguments = parser.parse_args()
    try:
        artifact = open_artifact(arguments.model_dir)
        engine = load_engine(artifact, arguments.backend, threads=1)
    except ArtifactError as error:
        sys.exit(str(error))
    if not (isinstance(engine, CtcEngine) and engine.batches):
        sys.exit(f"{arguments.backend} of {artifact.name} computes one clip at a time")
    print(f"{artifact.name} on {arguments.backend}, {arguments.batch} clips at once, one thread, {processor()}\n")
    print("| clips of | time together / alone |\n|---|---|")
    random = np.random.default_rng(0)
    for length_s in arguments.lengths_s:
        samples = int(length_s * artifact.features.sample_rate_hz)
        clips = [random.normal(0, 0.1, samples).astype(np.float32) for _ in range(arguments.batch)]
        print(f"| {length_s:g} s | {gain(engine, clips, arguments.rounds):.2f} |", flush=True)


if __name__ == "__main__":
    main()
