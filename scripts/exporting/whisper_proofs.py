"""What is proven of Whisper models only: the same tokens as transformers, and the same words with condensed silence."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm
from transformers import WhisperForConditionalGeneration

from app.artifacts import Proof
from app.checkpoints import only_errors_logged
from app.families import Family
from app.families.whisper import CONDENSED_KEY
from app.families.whisper.checkpoint import load_checkpoint
from app.families.whisper.language import Language
from app.families.whisper.model import WindowOutput
from app.families.whisper.recognizer import WhisperRecognizer
from app.recognizer import UNCHECKED, AnyRecognizer, Samples, compute_windows, decode_windows, never
from app.runtimes.registry import ONNX, REFERENCE
from app.transcript import joined
from scripts.exporting.exporter import FamilyProofs
from scripts.exporting.proofs import DECIDING_CLIPS
from scripts.speech.data import SpeechRows
from scripts.speech.eval_sets import normalizer_for
from scripts.speech.scoring import ClipErrors, ErrorRate, count_errors, word_error_increase

MAX_INCREASE = 0.005
"""Most that condensed silence may raise the WER: half a point."""
COMPARED_CLIPS = 24
"""Clips whose tokens are compared with those of transformers, which takes some seconds for each."""
MIN_AGREEMENT = 0.95
"""Least share of clips with exactly the same tokens. Two tokens may be equally probable up to the last bits."""


@dataclass(frozen=True)
class Condensing:
    """What was measured of condensed silence.

    windows: number of windows. second_tries: windows that failed the checks and were computed again in full length.
    wer_increase: relative to full windows.
    """

    backend: str
    clips: int
    windows: int
    second_tries: int
    wer_increase: ErrorRate

    @property
    def passed(self) -> bool:
        """Whether it may be served. With few clips, only an increase that is certain counts."""
        rate = self.wer_increase.rate if self.clips >= DECIDING_CLIPS else self.wer_increase.low
        return rate <= MAX_INCREASE


def prove_whisper(
    checkpoint: Path,
    family: Family,
    recognizers: Mapping[str, AnyRecognizer],
    sets: Mapping[str, SpeechRows],
    language: str,
    workers: int,
    errors: Mapping[str, Sequence[ClipErrors]],
) -> FamilyProofs:
    """Prove the float32 graphs against transformers, and whether the artifact may be served with condensed silence.

    errors: backend -> errors of each clip in full windows, set after set. Returns the proofs, the manifest's entries,
    and the recognizers as they will be served. Raises DataError for a clip that cannot be read.
    """
    exported = {
        backend: recognizer
        for backend, recognizer in recognizers.items()
        if backend != REFERENCE and isinstance(recognizer, WhisperRecognizer)
    }
    agreement = agreement_with_generate(load_checkpoint(checkpoint), exported[ONNX], sets, language)
    proofs = (Proof.judge(ONNX, "generate_agreement", agreement, "at least", MIN_AGREEMENT),)
    measured: list[Condensing] = []
    if exported[ONNX].model.can_condense:
        measured = [
            measure_condensing(backend, exported[backend], family, sets, language, workers, errors[backend])
            for backend in exported
        ]
    condenses = bool(measured) and all(one.passed for one in measured)
    served = {backend: recognizer.condensing(condenses) for backend, recognizer in exported.items()}
    entries = {CONDENSED_KEY: condenses, "condensing": [asdict(one) for one in measured]}
    return FamilyProofs(proofs, entries, {**recognizers, **served})


def agreement_with_generate(
    model: WhisperForConditionalGeneration,
    recognizer: WhisperRecognizer,
    sets: Mapping[str, SpeechRows],
    language: str,
) -> float:
    """Share of clips for which a greedy search gives the same tokens as transformers' `generate`, from 0 to 1.

    Each clip counts twice: with timestamps and without. Clips are cut to the longest window.
    """
    clips = [samples for rows in sets.values() for samples in spread(rows, recognizer.rate_hz)][:COMPARED_CLIPS]
    same = [
        tokens_of(recognizer, samples, language, timestamps)
        == generate(model, recognizer, samples, language, timestamps)
        for samples in tqdm(clips, unit="clip", desc="compared with transformers", disable=None)
        for timestamps in (False, True)
    ]
    return sum(same) / len(same)


def spread(rows: SpeechRows, rate_hz: int) -> list[Samples]:
    """Clips that are spread evenly over a set, at most `COMPARED_CLIPS`."""
    step = -(-len(rows) // COMPARED_CLIPS) or 1
    return [rows.samples(index, rate_hz) for index in range(0, len(rows), step)]


def tokens_of(recognizer: WhisperRecognizer, samples: Samples, language: str, timestamps: bool) -> list[int]:
    """The tokens of a greedy search in a full window, without the prompt and the end."""
    model, settings = recognizer.model, recognizer.settings
    spoken = Language(language) if settings.is_multilingual else None
    encoded = model.encode(samples[: int(settings.window_s * model.rate_hz)], full=True)
    prompt = model.prompt(UNCHECKED, spoken, timestamps)
    return list(model.transcribe(encoded, prompt, UNCHECKED, 0.0, np.inf, never).tokens)


@torch.inference_mode()
def generate(
    model: WhisperForConditionalGeneration,
    recognizer: WhisperRecognizer,
    samples: Samples,
    language: str,
    timestamps: bool,
) -> list[int]:
    """The tokens that transformers generates, without the prompt and the end."""
    settings = recognizer.settings
    features = settings.log_mel(samples[: int(settings.window_s * recognizer.rate_hz)], settings.frames)
    wanted = {"language": language, "task": "transcribe"} if settings.is_multilingual else {}
    limit = settings.max_tokens // 2
    with only_errors_logged():  # it warns of settings that it makes itself
        tokens = model.generate(
            torch.from_numpy(features)[None],
            return_timestamps=timestamps,
            num_beams=1,
            do_sample=False,
            max_new_tokens=limit,
            **wanted,  # type: ignore[arg-type]
        )
    text, times = settings.vocabulary.pieces, settings.special.timestamps
    return [token for token in tokens[0].tolist() if token in text or token in times]


def measure_condensing(
    backend: str,
    recognizer: WhisperRecognizer,
    family: Family,
    sets: Mapping[str, SpeechRows],
    language: str,
    workers: int,
    full: Sequence[ClipErrors],
) -> Condensing:
    """Transcribe all clips with condensed silence, and compare their word errors with those in full windows."""
    normalizer = normalizer_for(family, language)
    condensed = recognizer.condensing(True)

    def measure(rows: SpeechRows, index: int) -> tuple[ClipErrors, Sequence[WindowOutput]]:
        samples, expected = rows.samples(index, recognizer.rate_hz), normalizer(rows.text(index))
        windows = condensed.windows(samples)
        outputs = compute_windows(condensed, windows)
        text = joined(decode_windows(condensed, windows, outputs))
        return count_errors(expected, normalizer(text)), outputs

    clips: list[tuple[ClipErrors, Sequence[WindowOutput]]] = []
    with ThreadPoolExecutor(workers) as pool:
        for name, rows in sets.items():
            measured = pool.map(lambda index, rows=rows: measure(rows, index), range(len(rows)))
            title = f"{name}, {backend}, condensed"
            clips += tqdm(measured, total=len(rows), unit="clip", desc=title, disable=None)
    return Condensing(
        backend=backend,
        clips=len(clips),
        windows=sum(len(outputs) for _, outputs in clips),
        second_tries=sum(output.retried for _, outputs in clips for output in outputs),
        wer_increase=word_error_increase(list(full), [errors for errors, _ in clips]),
    )


def noise_of(duration_s: float, rate_hz: int) -> Samples:
    """White noise, shape (samples,), float32."""
    samples = int(duration_s * rate_hz)
    return np.random.default_rng(samples).normal(0, 0.1, samples).astype(np.float32)
