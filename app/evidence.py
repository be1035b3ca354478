"""What a backend said of a few short clips when it was proven, so that any machine can compare.

A proof holds for the CPU that it was measured on. INT8 products that saturate, a library with other kernels or a broken
machine can make the same file say something else. So the clips travel with the artifact, and the manifest keeps what
each backend said of them:

    "evidence": {"limit": 0.05, "clips": {"evidence_0.flac": {"onnx_int8": {"tokens": [], "log_probabilities": []}}}}

The service computes a clip again on the CPU that it stands on, when it starts (`app.models.check_evidence`).
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.artifacts import MANIFEST_NAME, Artifact, UnprovenError
from app.audio import AudioLimits, decode
from app.errors import AsrError
from app.recognizer import Hypothesis, Samples

EVIDENCE_FILE = "evidence_{}.flac"
"""Name of a clip by its number. Mono, at the model's rate."""
CLIP_LIMITS = AudioLimits(max_duration_s=30.0, max_decoded_bytes=1 << 24, max_channels=1)
LARGEST_DIFFERENCE = 0.05
"""Limit of `Recognizer.difference`, as it is written into manifests. Measured on 3 s of four clips, between the kernels
of x86-64 CPUs (AMX, AVX-VNNI, AVX2): at most 0.0014 for the bundled model's INT8; 0.005 on OpenVINO, where bfloat16
meets float32; 0.026 for 12 layers of random weights, which are nearly undecided, and 0.070 where products saturated."""
DECIMALS = 4
"""Of a log-probability in the manifest."""


@dataclass(frozen=True)
class EvidenceClip:
    """A clip, and what a backend said of it when it was proven.

    samples: at the model's rate, shape (samples,), float32. limit: of the difference.
    """

    samples: Samples
    hypothesis: Hypothesis
    limit: float


def read_evidence(artifact: Artifact, backend: str, rate_hz: int) -> EvidenceClip | None:
    """The first clip that the manifest has a backend's words of, at the model's rate; None if it has none.

    Raises UnprovenError if the evidence cannot be read or its file is not the one that the manifest describes.
    """
    evidence = artifact.manifest.get("evidence")
    if not evidence:
        return None
    try:
        for name, said_by in evidence["clips"].items():
            if backend in said_by:
                artifact.verify(name)
                samples = read_clip(artifact.folder / name, rate_hz)
                return EvidenceClip(samples, hypothesis_of(said_by[backend]), float(evidence["limit"]))
    except (AsrError, AttributeError, KeyError, OSError, TypeError, ValueError) as error:
        raise UnprovenError(f"the evidence that {MANIFEST_NAME} speaks of cannot be read: {error!r}") from error
    return None


def hypothesis_of(entry: Any) -> Hypothesis:
    """What `entry_of` wrote. Raises KeyError, TypeError or ValueError if it is no such entry."""
    hypothesis = Hypothesis(tuple(map(int, entry["tokens"])), tuple(map(float, entry["log_probabilities"])))
    if not hypothesis.tokens or len(hypothesis.tokens) != len(hypothesis.log_probabilities):
        raise ValueError("tokens and log_probabilities differ in number")
    return hypothesis


def entry_of(hypothesis: Hypothesis) -> dict[str, Any]:
    """A hypothesis as it stands in the manifest."""
    rounded = [round(value, DECIMALS) for value in hypothesis.log_probabilities]
    return {"tokens": list(hypothesis.tokens), "log_probabilities": rounded}


def read_clip(path: Path, rate_hz: int) -> Samples:
    """The samples of a clip, shape (samples,), float32. Raises AsrError or OSError if it cannot be read."""
    with path.open("rb") as file:
        return decode(file, rate_hz, CLIP_LIMITS).samples
