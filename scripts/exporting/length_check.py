"""Check that a model computes clips of any length, and as many frames as its settings say."""

import numpy as np

from app.artifacts import ArtifactError
from app.families.ctc.recognizer import CtcRecognizer

CHECKED_FRAMES = (1, 2, 3, 4, 17, 49, 50, 120)
"""Even and odd numbers around one second (49 frames), which is the length that optimum traces, and far from it."""


def check_lengths(recognizer: CtcRecognizer) -> None:
    """Compute noise of the shortest and the longest length for each number of frames.

    Raises ArtifactError if the export works only for the length of its example, or if the settings do not match the
    convolutions of the model.
    """
    framing, vocabulary = recognizer.settings.framing, recognizer.settings.vocabulary
    for frames in CHECKED_FRAMES:
        shortest = framing.receptive_field + (frames - 1) * framing.hop
        for samples in (shortest, shortest + framing.hop - 1):
            noise = np.random.default_rng(samples).normal(0, 0.1, samples).astype(np.float32)
            expected = (framing.frames(samples), len(vocabulary.tokens))
            try:
                (emissions,) = recognizer.emissions([noise])
            except Exception as error:  # each runtime raises its own kinds of errors
                raise ArtifactError(f"the model cannot compute a clip of {samples} samples: {error}") from error
            if emissions.shape != expected:
                raise ArtifactError(
                    f"the model gave emissions of shape {emissions.shape} for {samples} samples, "
                    f"but its settings say {expected}"
                )
