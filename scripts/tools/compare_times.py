"""Measure how long several models take for the same clip, side by side.

    python scripts/tools/compare_times.py models/base models/squeezed --backends onnx_int8 openvino --length_s 10

Speed does not depend on the values of the weights, so shapes can be compared before anything is trained: see
`random_checkpoint.py`. The models take turns, so that noise of the machine affects all of them equally. Needs the files
of the backends only; no proofs. Prints the median, the mean and its standard deviation, and the time in relation to the
first model's on the same backend.
"""

import argparse
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from statistics import mean, median, stdev

import numpy as np
from tqdm import tqdm

from app.artifacts import ArtifactError
from app.models import load_recognizer, open_model
from app.recognizer import AnyRecognizer, Options, Window
from app.runtimes.registry import BACKENDS, ONNX_INT8
from scripts.common.machine import processor

Key = tuple[str, str]
"""Model folder and backend."""


def measure(recognizers: Mapping[Key, AnyRecognizer], length_s: float, rounds: int) -> dict[Key, list[float]]:
    """The times of each recognizer for a clip of noise, in seconds: one for each round, after one that does not count.

    rounds: two or more.
    """
    seconds: dict[Key, list[float]] = {key: [] for key in recognizers}
    random = np.random.default_rng(0)
    for number in tqdm(range(rounds + 1), desc="measuring", unit="round", disable=None):
        for key, recognizer in recognizers.items():
            clip = random.normal(0, 0.1, int(length_s * recognizer.rate_hz)).astype(np.float32)
            begin = time.perf_counter()
            recognizer.compute([Window(clip)], Options())
            if number:
                seconds[key].append(time.perf_counter() - begin)
    return seconds


def table(seconds: Mapping[Key, list[float]]) -> str:
    """A Markdown table of what `measure` returns."""
    lines = ["| model | backend | p50 ms | mean ms | of the first |", "|---|---|---|---|---|"]
    first: dict[str, float] = {}
    for (folder, backend), values in seconds.items():
        middle = median(values)
        share = middle / first.setdefault(backend, middle)
        spread = f"{1e3 * mean(values):.1f} ± {1e3 * stdev(values):.1f}"
        lines.append(f"| {Path(folder).name} | {backend} | {1e3 * middle:.1f} | {spread} | {share:.2f} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model_dirs", nargs="+", type=Path, help="artifact folders; the first is what others relate to")
    parser.add_argument("--backends", nargs="+", choices=tuple(BACKENDS), default=[ONNX_INT8])
    parser.add_argument("--length_s", type=float, default=10.0, help="length of the clip, in seconds")
    parser.add_argument("--threads", type=int, default=1, help="threads of each model")
    parser.add_argument("--rounds", type=int, default=20)
    arguments = parser.parse_args()
    if arguments.rounds < 2:
        parser.error("--rounds is two or more")
    try:
        recognizers = {
            (str(folder), backend): load_recognizer(open_model(folder, allow_unproven=True), backend, arguments.threads)
            for folder in arguments.model_dirs
            for backend in arguments.backends
        }
    except ArtifactError as error:
        sys.exit(str(error))
    print(f"A clip of {arguments.length_s:g} s, {arguments.threads} threads, {processor()}\n")
    print(table(measure(recognizers, arguments.length_s, arguments.rounds)))


if __name__ == "__main__":
    main()
