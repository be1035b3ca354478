"""The family of CTC models: windows of sound -> emissions, on any runtime."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from app.artifacts import Artifact, FeatureSettings
from app.decoding import Emissions
from app.windows import Framing, Samples


class Runtime(Protocol):
    """Computes a model. Implementations may be called from several threads at once."""

    @property
    def ragged(self) -> bool:
        """Whether clips of any lengths can be computed at once, each as if it were alone."""
        ...

    def __call__(self, input_values: NDArray[np.float32], lengths: NDArray[np.int64]) -> NDArray[np.float32]:
        """Input values, shape (batch, samples), of clips padded with zeros to one length -> logits of all frames.

        lengths: samples of each clip without its padding, shape (batch,). Only a ragged runtime is given several
        clips. The logits have the shape (batch, frames, vocabulary), float32; those of the padding mean nothing.
        """
        ...


LENGTHS_INPUT = "lengths"
"""Name of the input that tells how many samples each clip of a batch has without its padding."""
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

    @property
    def batches(self) -> bool:
        """Whether windows of one call are computed at once."""
        return self._runtime.ragged

    def emissions(self, windows: Sequence[Samples]) -> list[Emissions]:
        """Log-probabilities of each window, shape (frames, vocabulary), float32.

        windows: each of shape (samples,), float32, at the model's rate. A ragged runtime computes all of them at
        once. Any other computes each by itself: padding would change the result of a model with group norm, and
        dynamic INT8 would share one scale, so a clip would depend on its neighbours. A window shorter than one frame
        has no frames.
        """
        emissions = [self._silence(samples) for samples in windows]
        audible = [index for index, samples in enumerate(windows) if is_audible(samples, self._artifact.framing)]
        batches = [audible] if self._runtime.ragged else [[index] for index in audible]
        for batch in batches:
            if batch:
                for index, logits in zip(batch, self._logits([windows[index] for index in batch]), strict=True):
                    emissions[index] = log_softmax(logits)
        return emissions

    def _silence(self, samples: Samples) -> Emissions:
        vocabulary = self._artifact.vocabulary
        shape = self._artifact.framing.frames(len(samples)), len(vocabulary.tokens)
        silence = np.full(shape, -np.inf, dtype=np.float32)
        silence[:, vocabulary.blank] = BLANK_LOG_PROBABILITY
        return silence

    def _logits(self, clips: list[Samples]) -> list[NDArray[np.float32]]:
        """One batch: logits of each clip, cut to its own frames. Raises ValueError if there are more or fewer."""
        lengths = np.array([len(samples) for samples in clips], dtype=np.int64)
        values = np.zeros((len(clips), int(lengths.max())), dtype=np.float32)
        for row, samples in zip(values, clips, strict=True):
            row[: len(samples)] = input_values(samples, self._artifact.features)
        logits = self._runtime(values, lengths)
        check_frames(logits, values.shape[1], self._artifact.framing)
        return [row[: self._artifact.framing.frames(len(samples))] for row, samples in zip(logits, clips, strict=True)]


def check_frames(logits: NDArray[np.float32], samples: int, framing: Framing) -> None:
    """Raises ValueError unless logits of shape (batch, frames, vocabulary) have the frames of so many samples."""
    expected = framing.frames(samples)
    if logits.shape[1] != expected:
        raise ValueError(f"the model gave {logits.shape[1]} frames for {samples} samples, its settings say {expected}")


def is_audible(samples: Samples, framing: Framing) -> bool:
    """Whether there is anything to compute: at least one frame, and no digital silence. Shape (samples,), float32."""
    return framing.frames(len(samples)) > 0 and bool(samples.std() >= SILENCE_STD)


def input_values(samples: Samples, features: FeatureSettings) -> Samples:
    """A clip as its model takes it, scaled if the feature extractor scales. Shape (samples,), float32."""
    return zero_mean_unit_variance(samples) if features.normalize else samples


def zero_mean_unit_variance(samples: Samples) -> Samples:
    """(x - mean) / sqrt(variance + 1e-7), as the models were trained with. Shape (samples,), float32."""
    scaled = (samples - samples.mean()) / np.sqrt(samples.var() + VARIANCE_FLOOR)
    return np.asarray(scaled, dtype=np.float32)


def log_softmax(logits: NDArray[np.float32]) -> Emissions:
    """Log of the softmax over the last axis, shifted by the maximum so that nothing overflows."""
    shifted = logits - logits.max(axis=-1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True)), dtype=np.float32)
