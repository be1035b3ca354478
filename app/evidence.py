"""The recorded outputs of each backend for a few short clips, so that any machine can check its own.

A proof holds for the CPU that it was measured on. Saturating INT8 products, a library with other kernels or a broken
machine can change the output of the same file. So the clips are part of the artifact, and the manifest keeps the
hypothesis of each backend:

    "evidence": {"limit": 0.05, "clips": {"evidence_0.flac": {"onnx_int8": {"tokens": [], "log_probabilities": []}}}}

When the service starts, it computes a clip again on its own CPU (`app.models.check_evidence`).
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.artifacts import MANIFEST_NAME, Artifact, UnprovenError
from app.audio import AudioLimits, decode
from app.errors import AsrError
from app.recognizer import Hypothesis, Samples

EVIDENCE_FILE = "evidence_{}.flac"
"""File name of a clip by its number. Mono, at the model's rate."""
CLIP_LIMITS = AudioLimits(max_duration_s=30.0, max_decoded_bytes=1 << 24, max_channels=1)
MAX_DIFFERENCE = 0.05
"""Limit of `Recognizer.difference`, as written into manifests. Measured on 3 s of four clips, between the kernels of
x86-64 CPUs (AMX, AVX-VNNI, AVX2): at most 0.0014 for the bundled model's INT8; 0.005 on OpenVINO, where bfloat16 meets
float32; 0.026 for 12 layers of random weights, which are nearly undecided, and 0.070 where products saturated."""
DECIMALS = 4
"""Decimals of a log-probability in the manifest."""


@dataclass(frozen=True)
class EvidenceClip:
    """A clip and the hypothesis that a backend gave for it when it was proven.

    samples: at the model's rate, shape (samples,), float32. limit: largest allowed difference.
    """

    samples: Samples
    hypothesis: Hypothesis
    limit: float


def read_evidence(artifact: Artifact, backend: str, rate_hz: int) -> EvidenceClip | None:
    """The first clip, at the model's rate, with a hypothesis of this backend in the manifest; None if there is none.

    Raises UnprovenError if the evidence is unreadable or a clip differs from the one in the manifest.
    """
    evidence = artifact.manifest.get("evidence")
    if not evidence:
        return None
    try:
        for name, hypotheses in evidence["clips"].items():
            if backend in hypotheses:
                artifact.verify(name)
                samples = read_clip(artifact.folder / name, rate_hz)
                return EvidenceClip(samples, hypothesis_of(hypotheses[backend]), float(evidence["limit"]))
    except (AsrError, AttributeError, KeyError, OSError, TypeError, ValueError) as error:
        raise UnprovenError(f"the evidence that {MANIFEST_NAME} speaks of cannot be read: {error!r}") from error
    return None


def hypothesis_of(entry: Any) -> Hypothesis:
    """Parse what `entry_of` made. Raises KeyError, TypeError or ValueError for anything else."""
    hypothesis = Hypothesis(tuple(map(int, entry["tokens"])), tuple(map(float, entry["log_probabilities"])))
    if not hypothesis.tokens or len(hypothesis.tokens) != len(hypothesis.log_probabilities):
        raise ValueError("tokens and log_probabilities differ in number")
    return hypothesis


def entry_of(hypothesis: Hypothesis) -> dict[str, Any]:
    """A hypothesis as a JSON object for the manifest."""
    rounded = [round(value, DECIMALS) for value in hypothesis.log_probabilities]
    return {"tokens": list(hypothesis.tokens), "log_probabilities": rounded}


def read_clip(path: Path, rate_hz: int) -> Samples:
    """The samples of a clip, shape (samples,), float32. Raises AsrError or OSError if it cannot be read."""
    with path.open("rb") as file:
        return decode(file, rate_hz, CLIP_LIMITS).samples
