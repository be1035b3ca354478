"""Word and character error rate of any engine on any speech data, with 95 % intervals.

    python scripts/evaluate.py --model_dir models/tr-small data/eval/seen/manifest.jsonl data/eval/noisy/manifest.jsonl
    python scripts/evaluate.py --model_dir models/checkpoint --backend pytorch ysdede/khanacademy-turkish --split test

Both the reference and the transcript are normalized by `scripts/text.py` to the letters of the model's vocabulary.
Prints a table of the sets and the worst clips; `--out` writes the figures as JSON.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run as a file: make the packages importable

import argparse
import json
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import NamedTuple

from tqdm import tqdm

from app.artifacts import Artifact, ArtifactError, open_artifact
from app.asr import BACKENDS, Engine, find_model_folder, load_engine
from app.decoding import decode_ctc
from scripts.data import DataError, SpeechRows, load_speech
from scripts.scoring import ClipErrors, ErrorRate, character_error_rate, count_errors, word_error_rate
from scripts.text import TextNormalizer


class Scored(NamedTuple):
    """One clip with what was said and what was heard, both normalized."""

    name: str
    reference: str
    hypothesis: str
    errors: ClipErrors


def normalizer_for(artifact: Artifact, language: str) -> TextNormalizer:
    """Brings texts to the letters that the model can say."""
    return TextNormalizer.for_tokens(artifact.vocabulary.tokens, language)


def transcribe(engine: Engine, artifact: Artifact, rows: SpeechRows, index: int) -> str:
    """The text of one row, as the engine hears it."""
    samples = rows.samples(index, artifact.features.sample_rate_hz)
    (emissions,) = engine.emissions([samples])
    return " ".join(word.text for word in decode_ctc(emissions, artifact.vocabulary, artifact.frame_s))


def score(
    engine: Engine, artifact: Artifact, rows: SpeechRows, normalizer: TextNormalizer, workers: int
) -> list[Scored]:
    """Transcribe and score every row, several at a time."""

    def one(index: int) -> Scored:
        reference = normalizer(rows.text(index))
        hypothesis = normalizer(transcribe(engine, artifact, rows, index))
        return Scored(rows.name(index), reference, hypothesis, count_errors(reference, hypothesis))

    with ThreadPoolExecutor(workers) as pool:
        return list(tqdm(pool.map(one, range(len(rows))), total=len(rows), unit="clip", disable=None))


@dataclass(frozen=True)
class Figures:
    """The figures of one set."""

    clips: int
    hours: float
    wer: ErrorRate
    cer: ErrorRate


def figures_of(scored: list[Scored], rows: SpeechRows) -> Figures:
    """The error rates of one set, with what it holds."""
    errors = [clip.errors for clip in scored]
    hours = sum(rows.durations_s) / 3600
    return Figures(len(scored), round(hours, 3), word_error_rate(errors), character_error_rate(errors))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="+", help="manifests, local folders in the hub's formats, or hub ids")
    parser.add_argument("--model_dir", required=True, help="artifact folder; for pytorch a checkpoint folder or hub id")
    parser.add_argument("--backend", choices=tuple(BACKENDS), default="onnx_int8")
    parser.add_argument("--split", help="split of the data (default: the only one, else test)")
    parser.add_argument("--audio_column")
    parser.add_argument("--text_column")
    parser.add_argument("--language", default="tr", help="ISO 639-1 code, for lower-casing and numbers")
    parser.add_argument("--limit", type=int, help="score only the first LIMIT clips of each set")
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)), help="clips at a time")
    parser.add_argument("--worst", type=int, default=5, help="how many of the worst clips to show")
    parser.add_argument("--out", type=Path, help="JSON file for the figures")
    arguments = parser.parse_args()
    try:
        artifact = open_artifact(find_model_folder(arguments.model_dir, arguments.backend))
        engine = load_engine(artifact, arguments.backend, threads=1)
        normalizer = normalizer_for(artifact, arguments.language)
        results: dict[str, Figures] = {}
        for name in arguments.data:
            splits = load_speech(name, arguments.split, arguments.audio_column, arguments.text_column)
            rows = splits.get("test") or next(iter(splits.values()))
            rows = rows.select(list(range(len(rows)))[: arguments.limit])
            scored = score(engine, artifact, rows, normalizer, arguments.workers)
            results[name] = figures_of(scored, rows)
            scored.sort(key=lambda clip: clip.errors.character_errors / max(clip.errors.characters, 1), reverse=True)
            for clip in scored[: arguments.worst]:
                print(f"{clip.name}\n  said:  {clip.reference}\n  heard: {clip.hypothesis}")
    except (ArtifactError, DataError) as error:
        sys.exit(str(error))
    print(f"\n{artifact.name} on {arguments.backend}, 95 % bootstrap intervals\n")
    print("| set | clips | hours | WER | CER |\n|---|---|---|---|---|")
    for name, figures in results.items():
        print(f"| {name} | {figures.clips} | {figures.hours:.2f} | {figures.wer} | {figures.cer} |")
    if arguments.out is not None:
        sets = {name: asdict(figures) for name, figures in results.items()}
        record = {"model": artifact.name, "backend": arguments.backend, "sets": sets}
        arguments.out.write_text(json.dumps(record, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        print(f"\nFigures: {arguments.out}")


if __name__ == "__main__":
    main()
