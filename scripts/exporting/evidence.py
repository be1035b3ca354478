"""The evidence that an artifact travels with: short clips, and what each backend says of them (`app.evidence`)."""

from collections.abc import Mapping
from typing import Any

import soundfile

from app.artifacts import REFERENCE_BACKEND, Artifact
from app.asr import Engine
from app.engines.ctc import is_audible
from app.evidence import EVIDENCE_FILE, LARGEST_DIFFERENCE, Hypothesis, read_clip
from scripts.common import SAMPLES
from scripts.speech.data import load_speech

CLIP_S = 2.0
"""Length of a clip at most: some hundred frames, computed in the time of one short request."""


def collect_evidence(artifact: Artifact, engines: Mapping[str, Engine]) -> dict[str, Any]:
    """Write the clips into the artifact's folder, and give what the manifest says of them.

    engines: by backend; the reference is left out, for it needs no proof. The clips are the starts of the samples,
    whatever the model's language: no speech of the sets that it is proven on, which may be private, leaves with it.
    """
    for old in artifact.folder.glob(EVIDENCE_FILE.format("*")):
        old.unlink()
    rate_hz = artifact.features.sample_rate_hz
    (rows,) = load_speech(str(SAMPLES / "manifest.jsonl"), with_text=False).values()
    clips: dict[str, dict[str, Any]] = {}
    for index in range(len(rows)):
        samples = rows.samples(index, rate_hz)[: int(CLIP_S * rate_hz)]
        name = EVIDENCE_FILE.format(len(clips))
        soundfile.write(artifact.folder / name, samples, rate_hz, subtype="PCM_16")
        heard = read_clip(artifact.folder / name, rate_hz)  # rounded as the service will read it
        if not is_audible(heard, artifact.framing):
            (artifact.folder / name).unlink()
            continue
        clips[name] = {
            backend: Hypothesis.of(engine.emissions([heard])[0]).to_json()
            for backend, engine in engines.items()
            if backend != REFERENCE_BACKEND
        }
    return {"limit": LARGEST_DIFFERENCE, "clips": clips}
