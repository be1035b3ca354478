"""The evidence that an artifact travels with: short clips, and what each backend says of them (`app.evidence`)."""

from collections.abc import Mapping
from typing import Any

import soundfile

from app.artifacts import Artifact
from app.evidence import EVIDENCE_FILE, LARGEST_DIFFERENCE, entry_of, read_clip
from app.models import first_window
from app.recognizer import AnyRecognizer, Options
from app.runtimes.registry import REFERENCE
from scripts.common import SAMPLES
from scripts.speech.data import load_speech

CLIP_S = 2.0
"""Length of a clip at most: some hundred frames, computed in the time of one short request."""


def collect_evidence(artifact: Artifact, recognizers: Mapping[str, AnyRecognizer]) -> dict[str, Any]:
    """Write the clips into the artifact's folder, and give what the manifest says of them.

    recognizers: by backend; the reference is left out, for it needs no proof. The clips are the starts of the samples,
    whatever the model's language: no speech of the sets that it is proven on, which may be private, leaves with it.
    """
    for old in artifact.folder.glob(EVIDENCE_FILE.format("*")):
        old.unlink()
    reference = recognizers[REFERENCE]
    rate_hz = reference.rate_hz
    (rows,) = load_speech(str(SAMPLES / "manifest.jsonl"), with_text=False).values()
    clips: dict[str, dict[str, Any]] = {}
    for index in range(len(rows)):
        samples = rows.samples(index, rate_hz)[: int(CLIP_S * rate_hz)]
        name = EVIDENCE_FILE.format(len(clips))
        soundfile.write(artifact.folder / name, samples, rate_hz, subtype="PCM_16")
        clip = read_clip(artifact.folder / name, rate_hz)  # rounded as the service will read it
        if not reference.is_audible(clip):
            (artifact.folder / name).unlink()
            continue
        clips[name] = {
            backend: entry_of(recognizer.hypothesis(recognizer.hear([first_window(recognizer, clip)], Options())[0]))
            for backend, recognizer in recognizers.items()
            if backend != REFERENCE
        }
    return {"limit": LARGEST_DIFFERENCE, "clips": clips}
