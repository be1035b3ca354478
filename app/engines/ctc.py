"""The family of CTC models: windows of sound -> emissions, on any runtime."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from app.artifacts import Artifact
from app.decoding import Emissions
from app.windows import Samples

Runtime = Callable[[NDArray[np.float32]], NDArray[np.float32]]
"""Computes a model: input values, shape (1, samples), float32 -> logits, shape (1, frames, vocabulary), float32."""

SILENCE_STD = 1e-6
"""Standard deviation under which a window is digital silence (or a constant): half a step of 20-bit PCM. Scaled to
unit variance it would be rounding noise blown up to full loudness."""
VARIANCE_FLOOR = 1e-7
"""As in transformers' Wav2Vec2FeatureExtractor.zero_mean_unit_var_norm."""
BLANK_LOG_PROBABILITY = 0.0


class CtcEngine:
    """Makes a CTC model of a runtime: scales the sound, runs it, and turns logits into log-probabilities."""

    def __init__(self, artifact: Artifact, runtime: Runtime) -> None:
        self._artifact = artifact
        self._runtime = runtime

    def emissions(self, windows: Sequence[Samples]) -> list[Emissions]:
        """Log-probabilities of each window, shape (frames, vocabulary), float32.

        windows: each of shape (samples,), float32, at the model's rate. Each is run by itself: padding would change
        the result of a model with group norm, and dynamic INT8 would share one scale, so a clip would depend on its
        neighbours. A window shorter than one frame has no frames.
        """
        return [self._emissions_of(samples) for samples in windows]

    def _emissions_of(self, samples: Samples) -> Emissions:
        frames = self._artifact.framing.frames(len(samples))
        vocabulary = self._artifact.vocabulary
        if frames == 0 or samples.std() < SILENCE_STD:
            silence = np.full((frames, len(vocabulary.tokens)), -np.inf, dtype=np.float32)
            silence[:, vocabulary.blank] = BLANK_LOG_PROBABILITY
            return silence
        values = zero_mean_unit_variance(samples) if self._artifact.features.normalize else samples
        return log_softmax(self._runtime(values[np.newaxis])[0])


def zero_mean_unit_variance(samples: Samples) -> Samples:
    """(x - mean) / sqrt(variance + 1e-7), as the models were trained with. Shape (samples,), float32."""
    scaled = (samples - samples.mean()) / np.sqrt(samples.var() + VARIANCE_FLOOR)
    return np.asarray(scaled, dtype=np.float32)


def log_softmax(logits: NDArray[np.float32]) -> Emissions:
    """Log of the softmax over the last axis, shifted by the maximum so that nothing overflows."""
    shifted = logits - logits.max(axis=-1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True)), dtype=np.float32)
