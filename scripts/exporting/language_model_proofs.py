"""What an artifact writes with its language model, beside what it writes without, on sets of speech."""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Any

from tqdm import tqdm

from app.artifacts import Proof
from app.families.ctc.language_model import ATTRIBUTES_NAME
from app.models import Model
from app.recognizer import AnyRecognizer, Options, compute_windows, decode_windows
from app.runtimes.registry import REFERENCE
from app.transcript import joined
from scripts.exporting.proofs import FP32_BACKEND, GREEDY, QUANTIZED, compared_with, deciding
from scripts.speech.data import SpeechRows
from scripts.speech.eval_sets import Figures, figures_of, normalizer_for
from scripts.speech.scoring import ClipErrors, count_errors, word_error_increase

LANGUAGE_MODEL_ENTRY = "language_model"
"""The entry in the manifest."""
PROOF_NAME = "language_model_wer_increase"
WITH, WITHOUT = "with", "without"
MAX_INCREASE = next(limit.value for limit in QUANTIZED if limit.figure == "wer_increase")


@dataclass(frozen=True)
class LanguageModelProofs:
    """proofs: of each quantized backend, that its WER with the language model does not exceed that of FP32.

    accuracy: set -> backend -> "with" or "without" -> figures. entry: for the manifest.
    """

    proofs: tuple[Proof, ...]
    accuracy: dict[str, dict[str, dict[str, Figures]]]
    entry: dict[str, Any]


def prove_language_model(
    model: Model,
    recognizers: Mapping[str, AnyRecognizer],
    sets: Mapping[str, SpeechRows],
    language: str,
    workers: int,
) -> LanguageModelProofs:
    """Measure the exported backends on sets of speech, with and without the language model.

    recognizers: by backend; the reference, which may lack the language model, is left out. language: ISO 639-1 code.
    workers: clips that are computed at once. Raises DataError for a clip that cannot be read, and the errors of
    `read_language_model`.
    """
    normalizer = normalizer_for(model.family, language)
    backends = [backend for backend in recognizers if backend != REFERENCE]
    ways = {WITHOUT: GREEDY, WITH: Options()}
    errors: dict[str, list[ClipErrors]] = {backend: [] for backend in backends}
    accuracy: dict[str, dict[str, dict[str, Figures]]] = {}

    def measure(rows: SpeechRows, index: int) -> dict[tuple[str, str], ClipErrors]:
        samples, expected = rows.samples(index, model.family.rate_hz), normalizer(rows.text(index))
        found = {}
        for backend in backends:
            recognizer = recognizers[backend]
            windows = recognizer.windows(samples, GREEDY)
            outputs = compute_windows(recognizer, windows, GREEDY)
            for way, options in ways.items():
                text = joined(decode_windows(recognizer, windows, outputs, options))
                found[backend, way] = count_errors(expected, normalizer(text))
        return found

    with ThreadPoolExecutor(workers) as pool:
        for name, rows in sets.items():
            measured = pool.map(lambda index, rows=rows: measure(rows, index), range(len(rows)))
            clips = list(tqdm(measured, total=len(rows), unit="clip", desc=f"{name}, language model", disable=None))
            accuracy[name] = {
                backend: {way: figures_of([clip[backend, way] for clip in clips], rows) for way in ways}
                for backend in backends
            }
            for backend in backends:
                errors[backend] += [clip[backend, WITH] for clip in clips]

    quantized = [backend for backend in backends if backend != FP32_BACKEND and FP32_BACKEND in backends]
    proofs = tuple(_judge(backend, errors[compared_with(backend)], errors[backend]) for backend in quantized)
    entry = {
        "attributes": model.artifact.read_json(ATTRIBUTES_NAME),
        "beam": Options.language_model_beam,
        "accuracy": {
            name: {
                backend: {way: asdict(figures) for way, figures in both.items()} for backend, both in by_backend.items()
            }
            for name, by_backend in accuracy.items()
        },
    }
    print_accuracy(accuracy)
    return LanguageModelProofs(proofs, accuracy, entry)


def print_accuracy(accuracy: Mapping[str, Mapping[str, Mapping[str, Figures]]]) -> None:
    """Print the error rates with and without the language model."""
    print("\n| set | clips | backend | WER without language model | WER with |\n|---|---|---|---|---|")
    for name, backends in accuracy.items():
        for backend, figures in backends.items():
            print(f"| {name} | {figures[WITH].clips} | {backend} | {figures[WITHOUT].wer} | {figures[WITH].wer} |")


def _judge(backend: str, expected: list[ClipErrors], found: list[ClipErrors]) -> Proof:
    name, figure = deciding(PROOF_NAME, len(found), word_error_increase(expected, found))
    return Proof.judge(backend, name, figure, "at most", MAX_INCREASE)
