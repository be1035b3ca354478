"""The check that a model computes clips of every length, and as many frames of each as its settings say."""

import numpy as np

from app.artifacts import ArtifactError
from app.families.ctc.recognizer import CtcRecognizer

CHECKED_FRAMES = (1, 2, 3, 4, 17, 49, 50, 120)
"""Even and odd, around the one second (49 frames) that optimum traces a model with, and well to both sides of it."""


def check_lengths(recognizer: CtcRecognizer) -> None:
    """Compute noise of several lengths: the shortest and the longest that have so many frames.

    An export that took the length of its example for granted, and settings that do not describe the model's
    convolutions, are found here. Raises ArtifactError.
    """
    framing, vocabulary = recognizer.settings.framing, recognizer.settings.vocabulary
    for frames in CHECKED_FRAMES:
        shortest = framing.receptive_field + (frames - 1) * framing.hop
        for samples in (shortest, shortest + framing.hop - 1):
            noise = np.random.default_rng(samples).normal(0, 0.1, samples).astype(np.float32)
            expected = (framing.frames(samples), len(vocabulary.tokens))
            try:
                (emissions,) = recognizer.emissions([noise])
            except Exception as error:  # each runtime has errors of its own
                raise ArtifactError(f"the model cannot compute a clip of {samples} samples: {error}") from error
            if emissions.shape != expected:
                raise ArtifactError(
                    f"the model gave emissions of shape {emissions.shape} for {samples} samples, "
                    f"its settings say {expected}"
                )
