"""Make a language model from text, tune it on speech, and add it to a CTC artifact or checkpoint.

    python scripts/language_model.py --text sentences.txt --model_dir models/tr-small --tune data/dev/manifest.jsonl
    python scripts/language_model.py --text sentences.txt --model_dir models/onnx --tune data/dev/manifest.jsonl \\
      --unit word --order 3 --eval_manifest data/test/manifest.jsonl

The text has one sentence a line; it is normalized to the letters that the model writes. Sentences of the sets given by
`--tune`, `--eval_manifest` and `--exclude` are left out of it. The n-grams are smoothed by modified Kneser-Ney. By
default they are letters and spaces, to which no word is unknown; `--unit word` makes the form of the hub's checkpoints.
alpha and beta are those with the fewest wrong words on the set given by `--tune`. The manifest of an artifact gets the
error rates with and without the language model, on the sets given by `--eval_manifest`.
"""

import argparse
import os
import shutil
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, get_args

from app.artifacts import ArtifactError, read_manifest, write_manifest
from app.families import open_family
from app.families.ctc import CtcFamily
from app.families.ctc.language_model import FOLDER
from app.families.ctc.recognizer import CtcRecognizer
from app.models import Model, load_recognizer, open_model
from app.recognizer import Options
from app.runtimes.registry import BACKENDS, ONNX, ONNX_INT8
from scripts.exporting.artifact_folder import describe_files
from scripts.exporting.language_model_proofs import (
    LANGUAGE_MODEL_ENTRY,
    PROOF_NAME,
    LanguageModelProofs,
    prove_language_model,
)
from scripts.language_modeling.making import START_WEIGHTS, Estimated, Unit, Weights, estimate_model
from scripts.language_modeling.tuning import compute_set, tune, word_errors
from scripts.speech.data import DataError, SpeechRows
from scripts.speech.eval_sets import load_eval_set, normalizer_for
from scripts.speech.text import TextNormalizer

ORDERS: dict[Unit, int] = {"letter": 8, "word": 3}
MIN_COUNTS: dict[Unit, tuple[int, ...]] = {"letter": (1, 1, 1, 1, 1, 1, 2), "word": (1,)}
PROVEN_BACKENDS = (ONNX, ONNX_INT8)


def read_text(paths: list[Path], normalizer: TextNormalizer, excluded: set[str]) -> list[str]:
    """The normalized lines of text files, without those that are excluded. Raises OSError if one cannot be read."""
    lines = [normalizer(line) for path in paths for line in path.read_text(encoding="utf-8").splitlines()]
    return [line for line in lines if line and line not in excluded]


def texts_of(sets: list[SpeechRows], normalizer: TextNormalizer) -> set[str]:
    """The normalized texts of sets of speech."""
    return {normalizer(rows.text(index)) for rows in sets for index in range(len(rows))}


def tuned_weights(
    model: Model, estimated: Estimated, folder: Path, rows: SpeechRows | None, arguments: argparse.Namespace
) -> Weights:
    """The weights given on the command line or, if there are rows to tune on, those with the fewest wrong words."""
    start = START_WEIGHTS[estimated.unit]
    start = Weights(
        start.alpha if arguments.alpha is None else arguments.alpha,
        start.beta if arguments.beta is None else arguments.beta,
    )
    if rows is None:
        return start
    recognizer = load_recognizer(model, arguments.backend, threads=1)
    assert isinstance(recognizer, CtcRecognizer)
    normalizer, vocabulary = normalizer_for(model.family, arguments.language), recognizer.settings.vocabulary
    tuning_set = compute_set(recognizer, rows, normalizer, arguments.workers)
    words = sum(len(text.split()) for text in tuning_set.texts)
    best: tuple[int, Weights] | None = None
    print("\n| alpha | beta | wrong words | WER |\n|---|---|---|---|")

    def errors_of(weights: Weights) -> int:
        scorer = estimated.scorer(folder, vocabulary, weights)
        return word_errors(tuning_set, vocabulary, scorer, normalizer, arguments.beam)

    for weights, errors in tune(errors_of, start):
        print(f"| {weights.alpha:g} | {weights.beta:g} | {errors} | {errors / max(words, 1):.2%} |", flush=True)
        if best is None or errors < best[0]:
            best = errors, weights
    assert best is not None, "the start is always tried"
    return best[1]


def prove(model: Model, sets: dict[str, SpeechRows], arguments: argparse.Namespace) -> LanguageModelProofs:
    """Measure the artifact with its new language model. Raises ArtifactError if a proof fails."""
    recognizers = {
        backend: load_recognizer(model, backend, threads=1)
        for backend in PROVEN_BACKENDS
        if all((model.artifact.folder / name).is_file() for name in model.files_of(backend))
    }
    measured = prove_language_model(model, recognizers, sets, arguments.language, arguments.workers)
    if failed := [str(proof) for proof in measured.proofs if not proof.passed]:
        raise ArtifactError("; ".join(failed))
    return measured


def with_files(manifest: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The manifest with the files that the language model's folder has now."""
    kept = {name: entry for name, entry in manifest["files"].items() if not name.startswith(f"{FOLDER}/")}
    found = {name: entry for name, entry in describe_files(folder).items() if name.startswith(f"{FOLDER}/")}
    return manifest | {"files": dict(sorted((kept | found).items()))}


def with_proofs(manifest: dict[str, Any], measured: LanguageModelProofs) -> dict[str, Any]:
    """The manifest with the language model's proofs and error rates."""
    proofs = manifest["proofs"]
    checks = [check for check in proofs["checks"] if not check["name"].startswith(PROOF_NAME)]
    checks += [asdict(proof) for proof in measured.proofs]
    return manifest | {"proofs": proofs | {"checks": checks}, LANGUAGE_MODEL_ENTRY: measured.entry}


def add_language_model(folder: Path, made: Path, sets: dict[str, SpeechRows], arguments: argparse.Namespace) -> None:
    """Move the files in `made` to the model's folder, and prove them if it has a manifest.

    If they cannot be read or a proof fails, the previous language model stays, and ArtifactError is raised.
    """
    target, before = folder / FOLDER, folder / f".{FOLDER}.before"
    manifest = read_manifest(folder)
    shutil.rmtree(before, ignore_errors=True)
    if target.exists():
        target.replace(before)
    try:
        made.replace(target)
        artifact = open_model(folder, allow_unproven=True).artifact
        if manifest:
            manifest = with_files(manifest, folder)
            artifact = replace(artifact, manifest=manifest)
        model = Model(artifact, open_family(artifact))
        assert isinstance(model.family, CtcFamily)
        model.family.language_model.load()
        if manifest:
            write_manifest(folder, with_proofs(manifest, prove(model, sets, arguments)))
    except BaseException:
        shutil.rmtree(target, ignore_errors=True)
        if before.exists():
            before.replace(target)
        raise
    shutil.rmtree(before, ignore_errors=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--text", nargs="+", type=Path, required=True, help="UTF-8 text files, a sentence a line")
    parser.add_argument("--model_dir", type=Path, required=True, help="artifact or checkpoint folder of a CTC model")
    parser.add_argument("--tune", help="speech data to tune alpha and beta on; none of its sentences is in the text")
    parser.add_argument("--eval_manifest", nargs="+", default=(), help="speech data to measure on (default: --tune)")
    parser.add_argument(
        "--exclude", nargs="+", type=Path, default=(), help="text files with more sentences to leave out"
    )
    parser.add_argument("--unit", choices=get_args(Unit), default="letter", help="what the n-grams consist of")
    parser.add_argument("--order", type=int, help="longest n-grams (default: 8 letters, 3 words)")
    parser.add_argument(
        "--min_counts",
        type=int,
        nargs="+",
        help="for each order, how often an n-gram must occur to be kept; the last one is for all further orders "
        "(default: 1, and 2 from 7 letters on)",
    )
    parser.add_argument("--alpha", type=float, help="weight of the language model (default: tuned)")
    parser.add_argument("--beta", type=float, help="added for each word (default: tuned)")
    parser.add_argument("--beam", type=int, default=Options.language_model_beam, help="hypotheses of the beam search")
    parser.add_argument("--backend", choices=tuple(BACKENDS), default=ONNX_INT8, help="backend to tune with")
    parser.add_argument("--language", default="tr", help="ISO 639-1 code, for lower-casing and numbers")
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)), help="clips computed at once")
    arguments = parser.parse_args()
    try:
        run(arguments)
    except (ArtifactError, DataError, OSError, ValueError) as error:
        sys.exit(f"no language model was added: {error}")


def run(arguments: argparse.Namespace) -> None:
    """Make the language model and add it to the model's folder.

    Raises ArtifactError, DataError, OSError or ValueError.
    """
    folder = arguments.model_dir
    model = open_model(folder, allow_unproven=True)
    if not isinstance(model.family, CtcFamily):
        raise ArtifactError(f"{folder} is no CTC model")
    normalizer = normalizer_for(model.family, arguments.language)
    rows = load_eval_set(arguments.tune) if arguments.tune else None
    sets = {name: load_eval_set(name) for name in arguments.eval_manifest}
    if not sets and rows is not None:
        sets = {arguments.tune: rows}
    if model.artifact.manifest and not sets:
        raise ArtifactError(f"{folder} has a manifest: name speech to prove on (--tune or --eval_manifest)")
    excluded = texts_of([*sets.values(), *([rows] if rows is not None else [])], normalizer)
    excluded |= set(read_text(list(arguments.exclude), normalizer, set()))
    lines = read_text(arguments.text, normalizer, excluded)
    unit: Unit = arguments.unit
    order, min_counts = arguments.order or ORDERS[unit], arguments.min_counts or MIN_COUNTS[unit]
    print(
        f"Estimating n-grams of up to {order} {unit}s from {len(lines)} lines; {len(excluded)} sentences are left out"
    )
    estimated = estimate_model(lines, unit, order, min_counts)
    print("n-grams of each order:", ", ".join(str(len(level)) for level in estimated.orders))
    made = folder / f".{FOLDER}.part"
    shutil.rmtree(made, ignore_errors=True)
    try:
        estimated.write(made)
        weights = tuned_weights(model, estimated, made, rows, arguments)
        estimated.write_weights(made, weights)
        size_bytes = sum(path.stat().st_size for path in made.iterdir())
        add_language_model(folder, made, sets, arguments)
    finally:
        shutil.rmtree(made, ignore_errors=True)
    print(f"\nalpha {weights.alpha:g}, beta {weights.beta:g}; {size_bytes / 1e6:.2f} MB: {folder / FOLDER}")


if __name__ == "__main__":
    main()
