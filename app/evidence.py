"""What a backend said of a few short clips when it was proven, so that any machine can compare.

A proof holds for the CPU that it was measured on. INT8 products that saturate, a library with other kernels or a broken
machine can make the same file say something else. So the clips travel with the artifact, and the manifest keeps what
each backend said of them:

    "evidence": {"limit": 0.05, "clips": {"evidence_0.flac": {"onnx_int8": {"tokens": [], "log_probabilities": []}}}}

The service computes a clip again on the CPU that it stands on, when it starts (`app.asr.check_evidence`).
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np

from app.artifacts import MANIFEST_NAME, Artifact, UnprovenError
from app.audio import AudioLimits, decode
from app.decoding import Emissions
from app.errors import AsrError
from app.windows import Samples

EVIDENCE_FILE = "evidence_{}.flac"
"""Name of a clip by its number. Mono, at the model's rate."""
CLIP_LIMITS = AudioLimits(max_duration_s=30.0, max_decoded_bytes=1 << 24, max_channels=1)
LARGEST_DIFFERENCE = 0.05
"""Limit of `Hypothesis.difference`, as it is written into manifests. Measured on 3 s of four clips, between the kernels
of x86-64 CPUs (AMX, AVX-VNNI, AVX2): at most 0.0014 for the bundled model's INT8; 0.005 on OpenVINO, where bfloat16
meets float32; 0.026 for 12 layers of random weights, which are nearly undecided, and 0.070 where products saturated."""
DECIMALS = 4
"""Of a log-probability in the manifest."""


@dataclass(frozen=True)
class Hypothesis:
    """What was said of one clip: the most likely token of each frame, and its log-probability."""

    tokens: tuple[int, ...]
    log_probabilities: tuple[float, ...]

    @classmethod
    def of(cls, emissions: Emissions) -> Self:
        """emissions: log-probabilities, shape (frames, vocabulary), float32."""
        best = emissions.argmax(axis=1)
        highest = emissions[np.arange(len(best)), best]
        return cls(tuple(map(int, best)), tuple(round(float(value), DECIMALS) for value in highest))

    @classmethod
    def from_json(cls, entry: Any) -> Self:
        """Raises KeyError, TypeError or ValueError if it is not an entry that `to_json` made."""
        hypothesis = cls(tuple(map(int, entry["tokens"])), tuple(map(float, entry["log_probabilities"])))
        if not hypothesis.tokens or len(hypothesis.tokens) != len(hypothesis.log_probabilities):
            raise ValueError("tokens and log_probabilities differ in number")
        return hypothesis

    def to_json(self) -> dict[str, Any]:
        """As it stands in the manifest."""
        return {"tokens": list(self.tokens), "log_probabilities": list(self.log_probabilities)}

    def difference(self, emissions: Emissions) -> float:
        """How far other emissions of the same clip are from it, 0 to 1: the mean change of the tokens' probabilities.

        emissions: log-probabilities, shape (frames, vocabulary), float32. 1 if there are more or fewer frames, or
        tokens that they have not; a frame without a number counts as 1.
        """
        frames, vocabulary = emissions.shape
        if frames != len(self.tokens) or max(self.tokens) >= vocabulary:
            return 1.0
        before = np.exp(np.array(self.log_probabilities))
        now = np.exp(emissions[np.arange(frames), self.tokens].astype(np.float64))
        return float(np.nan_to_num(np.abs(now - before), nan=1.0, posinf=1.0).clip(max=1.0).mean())


@dataclass(frozen=True)
class EvidenceClip:
    """A clip, and what a backend said of it when it was proven.

    samples: at the model's rate, shape (samples,), float32. limit: of the difference.
    """

    samples: Samples
    hypothesis: Hypothesis
    limit: float


def read_evidence(artifact: Artifact, backend: str) -> EvidenceClip | None:
    """The first clip that the manifest has a backend's words of; None if it has none.

    Raises UnprovenError if the evidence cannot be read or its file is not the one that the manifest describes.
    """
    evidence = artifact.manifest.get("evidence")
    if not evidence:
        return None
    try:
        for name, said_by in evidence["clips"].items():
            if backend in said_by:
                artifact.verify(name)
                samples = read_clip(artifact.folder / name, artifact.features.sample_rate_hz)
                return EvidenceClip(samples, Hypothesis.from_json(said_by[backend]), float(evidence["limit"]))
    except (AsrError, AttributeError, KeyError, OSError, TypeError, ValueError) as error:
        raise UnprovenError(f"the evidence that {MANIFEST_NAME} speaks of cannot be read: {error!r}") from error
    return None


def read_clip(path: Path, rate_hz: int) -> Samples:
    """The samples of a clip, shape (samples,), float32. Raises AsrError or OSError if it cannot be read."""
    with path.open("rb") as file:
        return decode(file, rate_hz, CLIP_LIMITS).samples
