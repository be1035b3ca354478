"""The graph of a CTC model as runtimes load it: which inputs it has, and how clips of any length are given to it."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.artifacts import ArtifactError
from app.families.ctc.windows import Framing
from app.runtimes.graph import Graph, Tensor

WAVEFORM_INPUT, LOGITS_OUTPUT = "input_values", "logits"
"""Names that optimum gives; in a file made by other means, the first input and output are taken for them."""
LENGTHS_INPUT = "lengths"
"""Name of the input that tells how many samples each clip of a batch has without its padding."""
MASK_INPUT = "attention_mask"
"""Name of the input that tells the same in some exports: shape (batch, samples), int64, one where there is sound."""
BATCHES_KEY, INDEPENDENT = "dikte.batches", "independent"
"""Metadata of a file whose clips do not change each other's logits when they are computed together."""
LEAST_STEP, MOST_STEP = 8, 32
"""Where shapes should be few, clips are padded to a multiple of so many frames (0.16 to 0.64 s in most models), the
more the longer they are."""


class CtcGraph:
    """Calls a graph with clips. Raises ArtifactError if it takes something else than sound of any length."""

    def __init__(self, graph: Graph, framing: Framing) -> None:
        self._graph = graph
        self._framing = framing
        self._input = WAVEFORM_INPUT if WAVEFORM_INPUT in graph.inputs else next(iter(graph.inputs))
        self._output = LOGITS_OUTPUT if LOGITS_OUTPUT in graph.outputs else graph.outputs[0]
        check_inputs(graph.inputs, self._input)
        self._pads = graph.compiles_shapes and LENGTHS_INPUT in graph.inputs
        self.ragged = graph.metadata.get(BATCHES_KEY) == INDEPENDENT
        """Whether clips of any lengths can be computed at once, each as if it were alone."""

    def __call__(self, values: NDArray[np.float32], lengths: NDArray[np.int64]) -> NDArray[np.float32]:
        """Input values, shape (batch, samples), of clips padded with zeros to one length -> logits of all frames.

        lengths: samples of each clip without its padding, shape (batch,). Only a ragged graph is given several clips.
        The logits have the shape (batch, frames, vocabulary), float32; those of the padding mean nothing. Raises
        ValueError if there are more or fewer frames than the settings say.
        """
        samples = values.shape[1]
        if self._pads:
            values = np.pad(values, ((0, 0), (0, padded_length(samples, self._framing) - samples)))
        feeds: dict[str, NDArray[Any]] = {self._input: values}
        if LENGTHS_INPUT in self._graph.inputs:
            feeds[LENGTHS_INPUT] = lengths
        if MASK_INPUT in self._graph.inputs:
            feeds[MASK_INPUT] = (np.arange(values.shape[1]) < lengths[:, np.newaxis]).astype(np.int64)
        logits = self._graph(feeds, [self._output])[self._output]
        # Before frames of the padding are cut off, or nobody could see it.
        check_frames(logits, values.shape[1], self._framing)
        return np.asarray(logits[:, : self._framing.frames(samples)], dtype=np.float32)


def check_inputs(inputs: Mapping[str, Tensor], waveform: str) -> None:
    """Raises ArtifactError unless the input named `waveform` takes sound of any length, and nothing else is needed."""
    if unknown := sorted(inputs.keys() - {waveform, LENGTHS_INPUT, MASK_INPUT}):
        raise ArtifactError(f"the model wants inputs that nothing is known of: {', '.join(unknown)}")
    dtype, shape = inputs[waveform].dtype, inputs[waveform].shape
    if dtype != "float32" or len(shape) != 2:
        raise ArtifactError(
            f"the model wants {waveform} of {dtype} in {len(shape)} dimensions; "
            "a CTC model takes raw waveform, (batch, samples) in float32"
        )
    if shape[1] is not None:
        raise ArtifactError(f"the model was exported for clips of exactly {shape[1]} samples")


def check_frames(logits: NDArray[np.float32], samples: int, framing: Framing) -> None:
    """Raises ValueError unless logits of shape (batch, frames, vocabulary) have the frames of so many samples."""
    expected = framing.frames(samples)
    if logits.shape[1] != expected:
        raise ValueError(f"the model gave {logits.shape[1]} frames for {samples} samples, its settings say {expected}")


def frames_step(frames: int) -> int:
    """What so many frames are padded to a multiple of: a power of two, at most a sixteenth of longer clips.

    So that there are some sixty lengths up to 20 s, each of which costs memory, and short clips are padded little.
    """
    return min(max(LEAST_STEP, 1 << (frames - 1).bit_length() >> 5), MOST_STEP)


def padded_length(samples: int, framing: Framing) -> int:
    """The least number of samples, at least as many, whose frames are a multiple of their step, with none left."""
    first = framing.receptive_field - framing.hop
    frames = max(1, -(-(samples - first) // framing.hop))
    step = frames_step(frames)
    return first + -(-frames // step) * step * framing.hop
