"""The evidence in an artifact: short clips and the hypothesis of each backend for them (see `app.evidence`)."""

from collections.abc import Mapping
from typing import Any

import soundfile

from app.artifacts import Artifact
from app.evidence import EVIDENCE_FILE, MAX_DIFFERENCE, entry_of, read_clip
from app.recognizer import AnyRecognizer, Window
from app.runtimes.registry import REFERENCE
from scripts.common import SAMPLES
from scripts.speech.data import load_speech

CLIP_S = 2.0
"""Maximum length of a clip: about a hundred frames, which take as long to compute as one short request."""


def collect_evidence(artifact: Artifact, recognizers: Mapping[str, AnyRecognizer]) -> dict[str, Any]:
    """Write the clips to the artifact's folder. Returns their entry in the manifest.

    recognizers: by backend, the reference included. The reference has no entry, because it needs no proof. The clips
    are the beginnings of the bundled samples, whatever the language of the model, so that an artifact does not contain
    speech of the evaluation sets, which may be private.
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
        clip = read_clip(artifact.folder / name, rate_hz)  # with the rounding that the service will see
        if not reference.is_audible(clip):
            (artifact.folder / name).unlink()
            continue
        clips[name] = {
            backend: entry_of(recognizer.hypothesis(Window(clip)))
            for backend, recognizer in recognizers.items()
            if backend != REFERENCE
        }
    return {"limit": MAX_DIFFERENCE, "clips": clips}
