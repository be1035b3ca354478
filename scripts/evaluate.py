"""Measure the word and character error rate of a backend on speech data, with 95 % intervals.

    python scripts/evaluate.py --model_dir models/tr-small data/eval/seen/manifest.jsonl data/eval/noisy/manifest.jsonl
    python scripts/evaluate.py --model_dir models/checkpoint --backend pytorch ysdede/khanacademy-turkish --split test

References and hypotheses are normalized to the letters of the model's vocabulary (`scripts/speech/text.py`). A Whisper
model of several languages is told the language. A CTC model that has a language model is measured with it, unless
`--no-language_model` says otherwise. Prints the worst clips and a table of the sets. `--out` writes the
figures as JSON.
"""

import argparse
import json
import os
import sys
from dataclasses import asdict, replace
from pathlib import Path

from app.artifacts import ArtifactError
from app.models import find_model_folder, load_recognizer, open_model
from app.recognizer import Options
from app.runtimes.registry import BACKENDS, ONNX_INT8
from scripts.speech.data import DataError
from scripts.speech.eval_sets import Figures, figures_of, load_eval_set, normalizer_for, options_for, score


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="+", help="manifests, local folders in the hub's formats, or hub ids")
    parser.add_argument("--model_dir", required=True, help="artifact folder; for pytorch a checkpoint folder or hub id")
    parser.add_argument("--backend", choices=tuple(BACKENDS), default=ONNX_INT8)
    parser.add_argument("--split", help="split of the data (default: test, else the first)")
    parser.add_argument("--audio_column", help="audio column (default: detected)")
    parser.add_argument("--text_column", help="text column (default: detected)")
    parser.add_argument(
        "--language", default="tr", help="ISO 639-1 code of the speech, also for lower-casing and numbers"
    )
    parser.add_argument(
        "--language_model",
        action=argparse.BooleanOptionalAction,
        default=Options.language_model,
        help="use the language model of a CTC model that has one",
    )
    parser.add_argument(
        "--language_model_beam",
        type=int,
        default=Options.language_model_beam,
        help="hypotheses of the beam search with a language model",
    )
    parser.add_argument("--limit", type=int, help="use only the first LIMIT clips of each set")
    parser.add_argument(
        "--workers", type=int, default=len(os.sched_getaffinity(0)), help="clips that are computed at once"
    )
    parser.add_argument("--worst", type=int, default=5, help="number of the worst clips to show")
    parser.add_argument("--out", type=Path, help="JSON file for the figures")
    arguments = parser.parse_args()
    try:
        model = open_model(find_model_folder(arguments.model_dir, arguments.backend, arguments.language_model))
        recognizer = load_recognizer(model, arguments.backend, threads=1)
        normalizer = normalizer_for(model.family, arguments.language)
        options = replace(
            options_for(recognizer, arguments.language),
            language_model=arguments.language_model,
            language_model_beam=arguments.language_model_beam,
        )
        results: dict[str, Figures] = {}
        for name in arguments.data:
            rows = load_eval_set(name, arguments.limit, arguments.split, arguments.audio_column, arguments.text_column)
            scored = score(recognizer, rows, normalizer, arguments.workers, options)
            results[name] = figures_of([clip.errors for clip in scored], rows)
            scored.sort(key=lambda clip: clip.errors.character_errors / max(clip.errors.characters, 1), reverse=True)
            for clip in scored[: arguments.worst]:
                print(f"{clip.name}\n  reference:  {clip.reference}\n  hypothesis: {clip.hypothesis}")
    except (ArtifactError, DataError) as error:
        sys.exit(str(error))
    print(f"\n{model.artifact.name} on {arguments.backend}, 95 % bootstrap intervals\n")
    print("| set | clips | hours | WER | CER |\n|---|---|---|---|---|")
    for name, figures in results.items():
        print(f"| {name} | {figures.clips} | {figures.hours:.2f} | {figures.wer} | {figures.cer} |")
    if arguments.out is not None:
        sets = {name: asdict(figures) for name, figures in results.items()}
        record = {"model": model.artifact.name, "backend": arguments.backend, "sets": sets}
        arguments.out.write_text(json.dumps(record, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        print(f"\nFigures: {arguments.out}")


if __name__ == "__main__":
    main()
