"""Augment a data set once, for many trainings on it: clips as `train.py --augment --join 0.3` would draw them.

    python scripts/tools/augment_corpus.py --dataset_name data/train/manifest.jsonl --join 0.3 --out data/augmented
    python scripts/train.py --model_name models/checkpoint --dataset_name data/augmented/manifest.jsonl \\
      --output_dir data/student

A training that augments on the fly never sees a clip twice, which is better for a long training. A study of many short
ones, such as scripts/compress.py, spends a large share of its time on it. Needs 115 MB of disk for each hour of speech.
"""

import argparse
import json
import os
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from tqdm import tqdm

from scripts.speech.data import SpeechRows, load_speech
from scripts.training.augment import RATE_HZ, AugmentationPolicy, Samples
from scripts.training.batches import ClipDataset, join_rows

CLIPS_OF_A_JOB = 400


class PlainClips(ClipDataset):
    """Augmented clips with their samples only; the labels of a clip are the numbers of its rows."""

    def item(self, samples: Samples, labels: list[int]) -> dict[str, Any]:
        return {"samples": samples, "rows": labels}


@dataclass(frozen=True)
class Job:
    """Clips of one epoch to augment in one process, with a random generator of their own.

    clips: the rows of each clip. first: number of the first clip, for its name.
    """

    dataset_name: str
    clips: list[tuple[int, ...]]
    first: int
    seed: int
    out: Path


@cache
def rows_of(dataset_name: str) -> SpeechRows:
    """The rows to augment: the split `train`. Each process loads them once."""
    return load_speech(dataset_name, None, None, None)["train"]


def augment(job: Job) -> list[dict[str, Any]]:
    """Write the clips of a job as WAV files. Returns their rows for the manifest."""
    rows = rows_of(job.dataset_name)
    texts = rows.texts()
    numbers = [str(number) for number in range(len(rows))]
    dataset = PlainClips(
        rows,
        numbers,
        lambda text: [int(number) for number in text.split()],
        RATE_HZ,
        AugmentationPolicy(),
        job.seed,
        job.clips,
    )
    written = []
    for index in range(len(dataset)):
        item = dataset[index]
        number = job.first + index
        path = Path("clips") / f"{number // 1000:03d}" / f"{number:06d}.wav"
        (job.out / path).parent.mkdir(parents=True, exist_ok=True)
        samples = item["samples"] / max(1.0, float(np.abs(item["samples"]).max(initial=0.0)))
        soundfile.write(job.out / path, samples, RATE_HZ, subtype="PCM_16")
        text = " ".join(texts[row] for row in item["rows"])
        written.append({"audio": str(path), "text": text, "duration": round(len(samples) / RATE_HZ, 3)})
    return written


def jobs_of(arguments: argparse.Namespace) -> list[Job]:
    """All jobs of all epochs. Each epoch joins other rows."""
    durations_s = rows_of(arguments.dataset_name).durations_s
    jobs: list[Job] = []
    first = 0
    for epoch in range(arguments.epochs):
        clips = join_rows(durations_s, arguments.join, arguments.max_duration_s, arguments.seed + epoch)
        for begin in range(0, len(clips), CLIPS_OF_A_JOB):
            some = clips[begin : begin + CLIPS_OF_A_JOB]
            seed = int(np.random.default_rng((arguments.seed, epoch, begin)).integers(2**31))
            jobs.append(Job(arguments.dataset_name, some, first, seed, arguments.out))
            first += len(some)
    return jobs


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset_name", required=True, help="hub id, local folder in the hub's formats, or manifest")
    parser.add_argument("--out", type=Path, required=True, help="folder for clips/ and manifest.jsonl")
    parser.add_argument("--epochs", type=int, default=1, help="copies of each row, augmented differently")
    parser.add_argument("--join", type=float, default=0.0, help="share of clips that join several rows")
    parser.add_argument("--max_duration_s", type=float, default=20.0, help="longest joined clip")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)), help="processes")
    arguments = parser.parse_args(argv)
    arguments.out.mkdir(parents=True, exist_ok=True)
    jobs = jobs_of(arguments)
    print(f"Augmenting {sum(len(job.clips) for job in jobs)} clips to {arguments.out}")
    with ProcessPoolExecutor(arguments.workers) as pool:
        written = [row for rows in tqdm(pool.map(augment, jobs), total=len(jobs), unit="job") for row in rows]
    manifest = arguments.out / "manifest.jsonl"
    with manifest.open("w", encoding="utf-8") as lines:
        for row in written:
            lines.write(json.dumps(row, ensure_ascii=False) + "\n")
    print(f"{len(written)} clips, {sum(row['duration'] for row in written) / 3600:.2f} hours: {manifest}")


if __name__ == "__main__":
    main()
