"""Join clips to long files, and compare how well recognizers transcribe them.

    python scripts/tools/long_files.py join data/en_calls/manifest.jsonl --minutes 8 --out data/long_calls
    python scripts/tools/long_files.py join data/en_calls/manifest.jsonl --minutes 0 --fastest 60 --tempo 1.5 \
        --pause_s 0 --out data/fast_calls
    python scripts/tools/long_files.py score data/long_calls/manifest.jsonl --model_dir models/whisper-base \
        --backends onnx_int8 onnx --windows_s 30 20 --language en

`join` writes FLAC files of whole clips and a `manifest.jsonl` with their texts; the order is random, by `--seed`. The
second command makes dense speech for `scripts/benchmark.py --speech`: the clips with the most words per second, each
alone, and 1.5 times as fast (`--tempo` needs sox).
`score` transcribes them with each backend and each length of windows, as the service does. It prints error rates with
95 % bootstrap intervals, and how much each system differs from the first one. The bootstrap draws the joined clips.

`--faster_whisper checkpoint` adds faster-whisper (requirements-peers.txt), greedy, which continues from timestamp to
timestamp: with the previous text as a prompt, and without it. `--times` adds what may be wrong in an hour of text
without much effect on error rates: the longest part without text, and the most repeats of words in a row.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from itertools import chain, islice
from pathlib import Path

import numpy as np
import soundfile
from tqdm import tqdm

from app.artifacts import ArtifactError
from app.models import find_model_folder, load_recognizer, open_model
from app.recognizer import AnyRecognizer, Options, Windowing, compute_windows, decode_windows
from app.runtimes.registry import BACKENDS, ONNX_INT8
from app.transcript import joined
from scripts.common.report import table
from scripts.speech.clips import DataError, Samples
from scripts.speech.eval_sets import load_eval_set, normalizer_for, options_for
from scripts.speech.joined_files import (
    EditCounts,
    edits_by_clip,
    faster,
    fastest_rows,
    join_clips,
    longest_gap_s,
    most_repeats,
)
from scripts.speech.rows import SpeechRows
from scripts.speech.scoring import word_error_increase, word_error_rate
from scripts.speech.text import TextNormalizer

RATE_HZ = 16_000
CLIPS_KEY = "clips"
"""Column of the manifest of long files: the texts of their clips."""
Spans = Sequence[tuple[float, float]]
Transcribe = Callable[[Samples], tuple[str, Spans]]
"""Samples -> the text, and the times of its parts."""


@dataclass(frozen=True)
class Result:
    """The figures of one system on all files.

    edits: of each clip, file by file. took_s: the sum of the times of the files. gap_s, repeats: the longest part
    without text, in seconds, and the most repeats of words in a row.
    """

    system: str
    edits: list[EditCounts]
    took_s: float
    gap_s: float
    repeats: int


def join(arguments: argparse.Namespace) -> None:
    """Write the long files and their manifest."""
    rows = load_eval_set(arguments.data)
    if arguments.fastest is not None:
        rows = rows.select(fastest_rows(rows, arguments.fastest))
    order = np.random.default_rng(arguments.seed).permutation(len(rows)).tolist() * arguments.repeats
    files = join_clips(rows, order, 60 * arguments.minutes, arguments.pause_s, RATE_HZ)
    arguments.out.mkdir(parents=True, exist_ok=True)
    manifest = arguments.out / "manifest.jsonl"
    lines = []
    for number, file in enumerate(islice(files, arguments.files), 1):
        name, texts = f"long-{number:02}.flac", [rows.text(index) for index in file.clips]
        samples = file.samples if arguments.tempo == 1 else faster(file.samples, arguments.tempo, RATE_HZ)
        soundfile.write(arguments.out / name, samples, RATE_HZ)
        row = {"audio": name, "text": " ".join(texts), "duration": round(len(samples) / RATE_HZ, 3)}
        lines.append(json.dumps(row | {CLIPS_KEY: texts}, ensure_ascii=False) + "\n")
    if not lines:
        hours = sum(rows.durations_s) / 3600
        raise DataError(f"{arguments.data} has {hours:.2f} hours, too little for a file; --repeats uses clips again")
    manifest.write_text("".join(lines), encoding="utf-8")
    print(f"{len(lines)} files: {manifest}")


def by_recognizer(recognizer: AnyRecognizer, options: Options) -> Transcribe:
    """A function that transcribes as the service does."""

    def transcribe(samples: Samples) -> tuple[str, Spans]:
        windows = recognizer.windows(samples, options)
        segments = decode_windows(recognizer, windows, compute_windows(recognizer, windows, options), options)
        return joined(segments), [(segment.start_s, segment.end_s) for segment in segments]

    return transcribe


def own_systems(arguments: argparse.Namespace, language: str) -> dict[str, Transcribe]:
    """The backends of an artifact with each length of windows. Raises ArtifactError if one cannot be loaded."""
    found: dict[str, Transcribe] = {}
    for backend in arguments.backends:
        model = open_model(find_model_folder(arguments.model_dir, backend))
        for window_s in arguments.windows_s or [None]:
            recognizer = load_recognizer(model, backend, threads=1, windowing=Windowing(window_s))
            options = replace(options_for(recognizer, language), segment_times=arguments.times)
            found[f"{backend}, windows of {recognizer.window_s:g} s"] = by_recognizer(recognizer, options)
    return found


def faster_whisper_systems(checkpoint: Path, compute_type: str, folder: Path, language: str) -> dict[str, Transcribe]:
    """faster-whisper with previous text as a prompt, which is its default, and without.

    folder: where the converted checkpoint is written.
    """
    from faster_whisper import WhisperModel

    from scripts.benchmarking.baselines import Source
    from scripts.benchmarking.whisper_baselines import convert_to_ctranslate2

    convert_to_ctranslate2(compute_type)(Source(checkpoint, folder, folder), folder / compute_type)
    model = WhisperModel(str(folder / compute_type), device="cpu", compute_type=compute_type, cpu_threads=1)

    def system(previous_text: bool) -> Transcribe:
        def transcribe(samples: Samples) -> tuple[str, Spans]:
            segments, _ = model.transcribe(
                samples, language=language, beam_size=1, condition_on_previous_text=previous_text
            )
            found = list(segments)
            return "".join(segment.text for segment in found), [(segment.start, segment.end) for segment in found]

        return transcribe

    return {
        f"faster-whisper {compute_type}, previous text": system(True),
        f"faster-whisper {compute_type}": system(False),
    }


def clip_texts(data: str, rows: SpeechRows) -> list[list[str]]:
    """The texts of the clips of each file; of a manifest that `join` did not write, the whole text."""
    if not data.endswith(".jsonl"):
        return [[text] for text in rows.texts()]
    lines = [json.loads(line) for line in Path(data).read_text(encoding="utf-8").splitlines() if line.strip()]
    return [line.get(CLIPS_KEY, [text]) for line, text in zip(lines, rows.texts(), strict=False)]


def measure(
    name: str,
    transcribe: Transcribe,
    rows: SpeechRows,
    texts: Sequence[Sequence[str]],
    normalizer: TextNormalizer,
    workers: int,
) -> Result:
    """Transcribe all files, `workers` at once, and count the errors of each clip. texts: see `clip_texts`."""

    def one(index: int) -> tuple[list[EditCounts], float, float, int]:
        samples = rows.samples(index, RATE_HZ)
        begin = time.perf_counter()
        text, spans = transcribe(samples)
        took_s = time.perf_counter() - begin
        hypothesis = normalizer(text)
        edits = edits_by_clip([normalizer(reference) for reference in texts[index]], hypothesis)
        return edits, took_s, longest_gap_s(spans, len(samples) / RATE_HZ), most_repeats(hypothesis.split())

    with ThreadPoolExecutor(workers) as pool:
        files = list(tqdm(pool.map(one, range(len(rows))), total=len(rows), unit="file", desc=name, disable=None))
    edits, took_s, gaps_s, repeats = zip(*files, strict=True)
    return Result(name, list(chain.from_iterable(edits)), sum(took_s), max(gaps_s), max(repeats))


def results_table(results: Sequence[Result], times: bool) -> str:
    """The figures of all systems, as Markdown."""
    head = ["system", "WER", "against the first", "substitutions", "deletions", "insertions", "seconds"]
    head += ["longest part without text, s", "repeats in a row"] if times else []
    first = [edits.clip_errors for edits in results[0].edits]
    lines = []
    for result in results:
        errors = [edits.clip_errors for edits in result.edits]
        words = sum(edits.words for edits in result.edits)
        shares = [
            sum(getattr(edits, kind) for edits in result.edits) / max(1, words)
            for kind in ("substitutions", "deletions", "insertions")
        ]
        increase = word_error_increase(first, errors)
        against = f"{100 * increase.rate:+.2f} points ({100 * increase.low:+.2f} to {100 * increase.high:+.2f})"
        line = [result.system, str(word_error_rate(errors)), "" if result is results[0] else against]
        line += [f"{share:.1%}" for share in shares] + [f"{result.took_s:.0f}"]
        lines.append(line + ([f"{result.gap_s:.1f}", str(result.repeats)] if times else []))
    return table(head, lines)


def score(arguments: argparse.Namespace) -> None:
    """Transcribe the long files with all systems, and print their figures."""
    rows = load_eval_set(arguments.data, arguments.limit)
    texts = clip_texts(arguments.data, rows)
    model = open_model(find_model_folder(arguments.model_dir, arguments.backends[0]))
    normalizer = normalizer_for(model.family, arguments.language)
    with tempfile.TemporaryDirectory(prefix="dikte-long-files-") as folder:
        systems = own_systems(arguments, arguments.language)
        if arguments.faster_whisper is not None:
            systems |= faster_whisper_systems(
                arguments.faster_whisper, arguments.compute_type, Path(folder), arguments.language
            )
        results = [
            measure(name, transcribe, rows, texts, normalizer, arguments.workers)
            for name, transcribe in systems.items()
        ]
    minutes = sum(rows.durations_s) / 60
    print(f"\n{len(rows)} files, {minutes:.1f} minutes, 95 % bootstrap intervals over {len(results[0].edits)} clips\n")
    print(results_table(results, arguments.times))
    if arguments.out is not None:
        record = [asdict(result) for result in results]
        arguments.out.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
        print(f"\nFigures: {arguments.out}")


def parse_arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    joining = commands.add_parser("join", help="write long files and their manifest")
    joining.set_defaults(run=join)
    joining.add_argument("data", help="manifest, local folder in the hub's formats, or hub id")
    joining.add_argument("--minutes", type=float, default=8.0, help="length of a file; 0: a file for each clip")
    joining.add_argument("--files", type=int, help="number of files (default: as many as there are clips for)")
    joining.add_argument("--pause_s", type=float, default=0.5, help="silence after each clip, seconds")
    joining.add_argument("--repeats", type=int, default=1, help="how often each clip is used, such as for an hour")
    joining.add_argument("--fastest", type=int, metavar="N", help="only the N clips with the most words per second")
    joining.add_argument("--tempo", type=float, default=1.0, help="how much faster the files are, at the same pitch")
    joining.add_argument("--seed", type=int, default=0, help="seed of the order of the clips")
    joining.add_argument("--out", type=Path, required=True, help="folder for the files and manifest.jsonl")
    scoring = commands.add_parser("score", help="transcribe long files, and count the errors")
    scoring.set_defaults(run=score)
    scoring.add_argument("data", help="manifest that `join` wrote, or any other")
    scoring.add_argument("--model_dir", required=True, help="artifact folder")
    scoring.add_argument("--backends", nargs="+", choices=tuple(BACKENDS), default=[ONNX_INT8])
    scoring.add_argument("--windows_s", nargs="+", type=float, help="lengths of windows (default: that of the model)")
    scoring.add_argument("--language", default="tr", help="ISO 639-1 code of the speech")
    scoring.add_argument("--faster_whisper", type=Path, metavar="CHECKPOINT", help="checkpoint for faster-whisper")
    scoring.add_argument("--compute_type", default="float32", help="CTranslate2's type of weights and products")
    scoring.add_argument("--times", action="store_true", help="time the words, and look for gaps and repeats")
    scoring.add_argument("--limit", type=int, help="use only the first LIMIT files")
    scoring.add_argument(
        "--workers", type=int, default=len(os.sched_getaffinity(0)), help="files that are transcribed at once"
    )
    scoring.add_argument("--out", type=Path, help="JSON file for the figures")
    return parser.parse_args(words)


def main(argv: list[str] | None = None) -> None:
    arguments = parse_arguments(argv)
    try:
        arguments.run(arguments)
    except (ArtifactError, DataError) as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
