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
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, get_args

from app.artifacts import ArtifactError, read_manifest, write_manifest
from app.families.ctc import CtcFamily
from app.families.ctc.language_model import ALPHABET_NAME, FOLDER, LanguageModelFolder
from app.families.ctc.recognizer import CtcRecognizer
from app.models import Model, load_recognizer, open_model
from app.recognizer import Options
from app.runtimes.registry import BACKENDS, ONNX, ONNX_INT8
from scripts.exporting.artifact_folder import describe_files
from scripts.exporting.language_model_proofs import LANGUAGE_MODEL_ENTRY, LanguageModelProofs, prove_language_model
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


def prove(folder: Path, sets: dict[str, SpeechRows], arguments: argparse.Namespace) -> LanguageModelProofs:
    """Measure the artifact in the folder with its new language model."""
    model = open_model(folder, allow_unproven=True)
    files = {backend: model.files_of(backend) for backend in PROVEN_BACKENDS}
    recognizers = {
        backend: load_recognizer(model, backend, threads=1)
        for backend, names in files.items()
        if all((folder / name).is_file() for name in names)
    }
    return prove_language_model(model, recognizers, sets, arguments.language, arguments.workers)


def updated(manifest: dict[str, Any], folder: Path, measured: LanguageModelProofs) -> dict[str, Any]:
    """The manifest with the language model's files, proofs and error rates."""
    proofs = manifest["proofs"]
    names = {proof.name for proof in measured.proofs}
    checks = [check for check in proofs["checks"] if check["name"] not in names]
    checks += [dict(vars(proof)) for proof in measured.proofs]
    return manifest | {
        "files": manifest["files"] | {name: entry for name, entry in describe_files(folder).items() if "/" in name},
        "proofs": proofs | {"checks": checks},
        LANGUAGE_MODEL_ENTRY: measured.entry,
    }


def add_language_model(
    folder: Path, made: Path, sets: dict[str, SpeechRows], arguments: argparse.Namespace
) -> dict[str, Any] | None:
    """Move the files in `made` to the model's folder, and prove them if it has a manifest, which is returned.

    If they cannot be read or a proof fails, the previous language model stays, and ArtifactError is raised.
    """
    target, before = folder / FOLDER, folder / f".{FOLDER}.before"
    manifest = read_manifest(folder)
    shutil.rmtree(before, ignore_errors=True)
    if target.exists():
        target.replace(before)
    try:
        made.replace(target)
        family = open_model(folder, allow_unproven=True).family
        assert isinstance(family, CtcFamily)
        family.language_model.load()
        if manifest:
            measured = prove(folder, sets, arguments)
            if failed := [str(proof) for proof in measured.proofs if not proof.passed]:
                raise ArtifactError("; ".join(failed))
            manifest = updated({**manifest, "files": _without_folder(manifest["files"])}, folder, measured)
            write_manifest(folder, manifest)
    except BaseException:
        shutil.rmtree(target, ignore_errors=True)
        if before.exists():
            before.replace(target)
        raise
    shutil.rmtree(before, ignore_errors=True)
    return manifest or None


def _without_folder(files: dict[str, Any]) -> dict[str, Any]:
    return {name: entry for name, entry in files.items() if not name.startswith(f"{FOLDER}/")}
