"""What is proven of an artifact: that every backend says what the checkpoint says, measured on sets of speech.

Each clip goes through all backends. FP32 is compared with PyTorch, and what is quantized with FP32:

- the largest difference of log-probabilities, the share of frames with the same most likely token (argmax), and the
  share of clips with the same text;
- the word error rate, and by how much it rose.

That they are alike proves nothing if the checkpoint itself understands nothing: random weights are alike too. So the
word error rate of PyTorch has a limit of its own.

`LIMITS` says what each must keep. The rise of the WER is compared with its limit as it is if there are at least
`DECIDING_CLIPS` clips. Fewer cannot decide it: in the four samples one word is 3 points. There the lower bound of its
95 % interval (paired bootstrap over clips) is compared with the limit, so that the proof fails when the clips show a
rise, and not by one unlucky word; the share of equal frames, of which there are thousands, then guards the quality.
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
from app.recognizer import Agreement, AnyRecognizer, Options, compute_clip, decode_clip
from app.runtimes.registry import ONNX, REFERENCE
from scripts.speech.data import SpeechRows
from scripts.speech.eval_sets import Figures, figures_of, normalizer_for
from scripts.speech.scoring import ClipErrors, ErrorRate, count_errors, word_error_increase, word_error_rate

FP32_BACKEND = ONNX
DECIDING_CLIPS = 500
"""From so many clips on the WER itself decides: with 8 words a clip, half a point is 20 words."""


class Limit(NamedTuple):
    """What a figure must keep. figure: a field of `Parity`, or "wer_increase" (0.005 is half a point), or "wer" of the
    reference, which is not compared with anything."""

    figure: str
    bound: Literal["at most", "at least"]
    value: float


EXACT = (Limit("max_difference", "at most", 1e-3), Limit("text_equality", "at least", 0.995))
"""The same numbers but for the order of sums: in float32 they differ by about 1e-4. Two tokens may be as likely as each
other to the last bits, so one text in two hundred may differ; of fewer clips, none."""
ROUNDED = (
    Limit("max_difference", "at most", 0.1),
    Limit("argmax_agreement", "at least", 0.995),
    Limit("wer_increase", "at most", 0.005),
)
"""Weights rounded to float16: log-probabilities differ by about 1e-2."""
QUANTIZED = (Limit("argmax_agreement", "at least", 0.95), Limit("wer_increase", "at most", 0.005))
"""INT8 moves single log-probabilities far where they matter little; what counts is what is chosen, and the words."""
MAX_REFERENCE_WER = 0.5
"""Checkpoints in use have a WER of 5 to 30 %, on hard recordings 40 %; random weights, or texts of other clips, of
100 % and more."""
UNDERSTANDING = (Limit("wer", "at most", MAX_REFERENCE_WER),)
"""The checkpoint itself, over the clips of all sets."""
LIMITS = {REFERENCE: UNDERSTANDING, FP32_BACKEND: EXACT}
"""Backend -> its limits; all others are `QUANTIZED`."""


@dataclass(frozen=True)
class Parity:
    """How alike two backends are over all clips. max_difference: of log-probabilities, NaN if there is one."""

    against: str
    clips: int
    frames: int
    max_difference: float
    argmax_agreement: float
    text_equality: float


@dataclass(frozen=True)
class Measurements:
    """All that was measured, and what it proves.

    parity: by backend. wer_increase: by backend, over the one it is compared with. accuracy: set -> backend -> figures.
    """

    proofs: tuple[Proof, ...]
    parity: dict[str, Parity]
    wer_increase: dict[str, ErrorRate]
    accuracy: dict[str, dict[str, Figures]]

    @property
    def failed(self) -> list[Proof]:
        """The proofs that did not keep their limits."""
        return [proof for proof in self.proofs if not proof.passed]

    def to_json(self) -> dict[str, Any]:
        """As it stands in the manifest; a number that is none becomes null."""
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
    """Measure backends on sets of speech, and compare them with their limits.

    recognizers: by backend, the reference and FP32 among them. limits: by backend; those not named are `QUANTIZED`.
    workers: clips at a time. Raises DataError for a clip that cannot be read, ArtifactError for models that cannot be
    compared.
    """
    normalizer = normalizer_for(family, language)
    reference = recognizers[REFERENCE]
    backends = [backend for backend in recognizers if backend != REFERENCE]
    agreements: dict[str, list[Agreement]] = {backend: [] for backend in backends}
    errors: dict[str, list[ClipErrors]] = {backend: [] for backend in recognizers}
    accuracy: dict[str, dict[str, Figures]] = {}

    def measure(rows: SpeechRows, index: int) -> tuple[dict[str, ClipErrors], dict[str, Agreement]]:
        samples = rows.samples(index, reference.rate_hz)
        heard = {backend: compute_clip(recognizer, samples) for backend, recognizer in recognizers.items()}
        said = normalizer(rows.text(index))
        texts = {
            backend: " ".join(segment.text for segment in decode_clip(recognizers[backend], samples, parts))
            for backend, parts in heard.items()
        }
        windows = reference.windows(samples, Options())
        return (
            {backend: count_errors(said, normalizer(text)) for backend, text in texts.items()},
            {
                backend: reference.compare(windows, heard[compared_with(backend)], heard[backend])
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
    proofs = [judge_reference(errors[REFERENCE], limit) for limit in limits.get(REFERENCE, UNDERSTANDING)]
    proofs += [
        proof
        for backend in backends
        for proof in judge(backend, parity[backend], increase[backend], limits.get(backend, QUANTIZED))
    ]
    return Measurements(tuple(proofs), parity, increase, accuracy)


def judge_reference(errors: Sequence[ClipErrors], limit: Limit) -> Proof:
    """Compare the word error rate of the checkpoint with its limit. Clips in which nothing is said prove nothing."""
    said = any(clip.words for clip in errors)
    wer = word_error_rate(list(errors)).rate if said else math.nan
    return Proof.judge(REFERENCE, limit.figure, wer, limit.bound, limit.value)


def compared_with(backend: str) -> str:
    """The backend that another is compared with."""
    return REFERENCE if backend == FP32_BACKEND else FP32_BACKEND


def judge(backend: str, parity: Parity, wer_increase: ErrorRate, limits: Sequence[Limit]) -> list[Proof]:
    """Compare the figures of one backend with its limits."""
    names = {} if parity.clips >= DECIDING_CLIPS else {"wer_increase": "wer_increase_lower_bound"}
    figures = asdict(parity) | {"wer_increase": wer_increase.low if names else wer_increase.rate}
    return [
        Proof.judge(backend, names.get(limit.figure, limit.figure), figures[limit.figure], limit.bound, limit.value)
        for limit in limits
    ]


def _parity(against: str, clips: list[Agreement]) -> Parity:
    frames = sum(clip.steps for clip in clips)
    return Parity(
        against=against,
        clips=len(clips),
        frames=frames,
        max_difference=float(np.max([clip.max_difference for clip in clips])),  # NaN if any is
        argmax_agreement=sum(clip.same_steps for clip in clips) / frames if frames else math.nan,
        text_equality=sum(clip.same_text for clip in clips) / len(clips),
    )


def _finite(values: dict[str, Any]) -> dict[str, Any]:
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value for name, value in values.items()
    }
