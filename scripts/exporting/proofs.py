"""The proofs of an artifact: every backend gives the same results as the checkpoint, on sets of speech.

All backends compute each clip. FP32 is compared with PyTorch, and quantized backends are compared with FP32, by

- the largest difference of log-probabilities, the share of frames with the same most likely token (argmax), and the
  share of clips with the same text;
- the increase of the word error rate.

Agreement proves nothing if the checkpoint does not recognize speech: random weights agree too. So the word error rate
of PyTorch has its own limit.

`LIMITS` has the limits. With at least `DECIDING_CLIPS` clips, the increase of the WER itself is compared with its
limit. Fewer clips are too few for that: in the four bundled samples, one word is 3 points. Then the lower bound of its
95 % interval (paired bootstrap over clips) is compared with the limit, so that the proof fails if the clips show an
increase, but not because of a single word. The share of equal frames, of which there are thousands, still has to pass.
"""

import math
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
from tqdm import tqdm

from app.artifacts import Proof
from app.families import Family
from app.recognizer import Agreement, AnyRecognizer, Options, compute_windows, decode_windows
from app.runtimes.registry import ONNX, REFERENCE
from app.transcript import joined
from scripts.speech.data import SpeechRows
from scripts.speech.eval_sets import Figures, figures_of, normalizer_for
from scripts.speech.scoring import ClipErrors, ErrorRate, count_errors, word_error_increase, word_error_rate

FP32_BACKEND = ONNX
DECIDING_CLIPS = 500
"""From this number of clips on, the WER itself decides. With 8 words per clip, half a point is 20 words."""


class Limit(NamedTuple):
    """A limit of a figure.

    figure: a field of `Parity`; or "wer_increase" (0.005 is half a point); or "wer", for the reference, which is not
    compared with another backend.
    """

    figure: str
    bound: Literal["at most", "at least"]
    value: float


EXACT = (Limit("max_difference", "at most", 1e-3), Limit("text_equality", "at least", 0.995))
"""Only the order of summation differs, which changes float32 results by about 1e-4. Two tokens may be equally likely up
to the last bits, so one text in two hundred may differ. With fewer clips, none may."""
ROUNDED = (
    Limit("max_difference", "at most", 0.1),
    Limit("argmax_agreement", "at least", 0.995),
    Limit("wer_increase", "at most", 0.005),
)
"""Weights rounded to float16: log-probabilities differ by about 1e-2."""
QUANTIZED = (Limit("argmax_agreement", "at least", 0.95), Limit("wer_increase", "at most", 0.005))
"""INT8 changes unlikely log-probabilities a lot. Only the most likely token and the words count."""
MAX_REFERENCE_WER = 0.5
"""Useful checkpoints have a WER of 5 to 30 %, and 40 % on difficult recordings. Random weights, or reference texts of
other clips, give 100 % or more."""
REFERENCE_LIMITS = (Limit("wer", "at most", MAX_REFERENCE_WER),)
"""For the checkpoint itself, over the clips of all sets."""
GREEDY = Options(language_model=False)
"""Backends are compared without a language model, which would hide differences."""
OTHERS = "others"
"""Stands for all backends that have no limits of their own."""
LIMITS = {REFERENCE: REFERENCE_LIMITS, FP32_BACKEND: EXACT, OTHERS: QUANTIZED}
"""Backend -> its limits, for CTC models."""


@dataclass(frozen=True)
class Parity:
    """The agreement of two backends over all clips.

    against: the other backend. max_difference: largest difference of log-probabilities; NaN if one is NaN.
    argmax_agreement: share of frames with the same most likely token. text_equality: share of clips with the same text.
    """

    against: str
    clips: int
    frames: int
    max_difference: float
    argmax_agreement: float
    text_equality: float


@dataclass(frozen=True)
class Measurements:
    """The measurements, and the proofs that follow from them.

    parity: by backend. wer_increase: by backend, relative to the one that it is compared with. accuracy: set -> backend
    -> figures. errors: backend -> errors of each clip, set after set; not in the manifest.
    """

    proofs: tuple[Proof, ...]
    parity: dict[str, Parity]
    wer_increase: dict[str, ErrorRate]
    accuracy: dict[str, dict[str, Figures]]
    errors: dict[str, list[ClipErrors]]

    @property
    def failed(self) -> list[Proof]:
        """The proofs whose figures exceed their limits."""
        return [proof for proof in self.proofs if not proof.passed]

    def to_json(self) -> dict[str, Any]:
        """The entry in the manifest. NaN and infinity become null."""
        return {
            "proven": not self.failed,
            "checks": [asdict(proof) for proof in self.proofs],
            "parity": {backend: _finite(asdict(parity)) for backend, parity in self.parity.items()},
            "wer_increase": {backend: asdict(increase) for backend, increase in self.wer_increase.items()},
            "accuracy": {
                name: {backend: asdict(figures) for backend, figures in backends.items()}
                for name, backends in self.accuracy.items()
            },
        }


def prove(
    family: Family,
    recognizers: Mapping[str, AnyRecognizer],
    sets: Mapping[str, SpeechRows],
    limits: Mapping[str, Sequence[Limit]],
    language: str,
    workers: int,
) -> Measurements:
    """Measure all backends on sets of speech, and compare their figures with the limits.

    recognizers: by backend; the reference and FP32 are required. limits: by backend, and for `OTHERS`. language: ISO
    639-1 code. workers: number of clips that are computed at once. Raises DataError for a clip that cannot be read, and
    ArtifactError for models that cannot be compared.
    """
    normalizer = normalizer_for(family, language)
    reference = recognizers[REFERENCE]
    backends = [backend for backend in recognizers if backend != REFERENCE]
    agreements: dict[str, list[Agreement]] = {backend: [] for backend in backends}
    errors: dict[str, list[ClipErrors]] = {backend: [] for backend in recognizers}
    accuracy: dict[str, dict[str, Figures]] = {}

    def measure(rows: SpeechRows, index: int) -> tuple[dict[str, ClipErrors], dict[str, Agreement]]:
        samples = rows.samples(index, reference.rate_hz)
        windows = reference.windows(samples, GREEDY)
        outputs = {backend: compute_windows(recognizer, windows) for backend, recognizer in recognizers.items()}
        expected = normalizer(rows.text(index))
        texts = {
            backend: joined(decode_windows(recognizers[backend], windows, parts, GREEDY))
            for backend, parts in outputs.items()
        }
        return (
            {backend: count_errors(expected, normalizer(text)) for backend, text in texts.items()},
            {
                backend: reference.compare(windows, outputs[compared_with(backend)], outputs[backend])
                for backend in backends
            },
        )

    with ThreadPoolExecutor(workers) as pool:
        for name, rows in sets.items():
            measured = pool.map(lambda index, rows=rows: measure(rows, index), range(len(rows)))
            clips = list(tqdm(measured, total=len(rows), unit="clip", desc=name, disable=None))
            accuracy[name] = {
                backend: figures_of([clip[backend] for clip, _ in clips], rows) for backend in recognizers
            }
            for backend in recognizers:
                errors[backend] += [clip[backend] for clip, _ in clips]
            for backend in backends:
                agreements[backend] += [alike[backend] for _, alike in clips]

    parity = {backend: _parity(compared_with(backend), agreements[backend]) for backend in backends}
    increase = {backend: word_error_increase(errors[compared_with(backend)], errors[backend]) for backend in backends}
    proofs = [judge_reference(errors[REFERENCE], limit) for limit in limits[REFERENCE]]
    proofs += [
        proof
        for backend in backends
        for proof in judge(backend, parity[backend], increase[backend], limits.get(backend, limits[OTHERS]))
    ]
    return Measurements(tuple(proofs), parity, increase, accuracy, errors)


def judge_reference(errors: Sequence[ClipErrors], limit: Limit) -> Proof:
    """Compare the word error rate of the checkpoint with its limit. Without any reference words, the proof fails."""
    has_words = any(clip.words for clip in errors)
    wer = word_error_rate(list(errors)).rate if has_words else math.nan
    return Proof.judge(REFERENCE, limit.figure, wer, limit.bound, limit.value)


def compared_with(backend: str) -> str:
    """The backend that a backend is compared with."""
    return REFERENCE if backend == FP32_BACKEND else FP32_BACKEND


def judge(backend: str, parity: Parity, wer_increase: ErrorRate, limits: Sequence[Limit]) -> list[Proof]:
    """Compare the figures of one backend with its limits."""
    proofs = []
    for limit in limits:
        if limit.figure == "wer_increase":
            name, figure = deciding(limit.figure, parity.clips, wer_increase)
        else:
            name, figure = limit.figure, asdict(parity)[limit.figure]
        proofs.append(Proof.judge(backend, name, figure, limit.bound, limit.value))
    return proofs


def deciding(figure: str, clips: int, increase: ErrorRate) -> tuple[str, float]:
    """What is compared with the limit of an increase, and its name: the increase or, of few clips, its lower bound."""
    return (figure, increase.rate) if clips >= DECIDING_CLIPS else (f"{figure}_lower_bound", increase.low)


def _parity(against: str, clips: list[Agreement]) -> Parity:
    frames = sum(clip.steps for clip in clips)
    return Parity(
        against=against,
        clips=len(clips),
        frames=frames,
        max_difference=float(np.max([clip.max_difference for clip in clips])),  # NaN if any of them is
        argmax_agreement=sum(clip.same_steps for clip in clips) / frames if frames else math.nan,
        text_equality=sum(clip.same_text for clip in clips) / len(clips),
    )


def _finite(values: dict[str, Any]) -> dict[str, Any]:
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value for name, value in values.items()
    }
