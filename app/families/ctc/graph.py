"""The graph of a CTC model as runtimes load it: its inputs, and how clips of any length are passed to it."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.artifacts import ArtifactError
from app.families.ctc.windows import Framing
from app.runtimes.graph import Graph, Tensor

WAVEFORM_INPUT, LOGITS_OUTPUT = "input_values", "logits"
"""Names that optimum gives; in files from other exporters, the first input and output take their place."""
LENGTHS_INPUT = "lengths"
"""Name of the input with the number of samples of each clip in a batch, without padding."""
MASK_INPUT = "attention_mask"
"""Name of the input with the same information in some exports: shape (batch, samples), int64, one where there is
audio."""
BATCHES_KEY, INDEPENDENT = "dikte.batches", "independent"
"""Metadata of a file whose clips do not affect each other's logits when they are computed together."""
MIN_STEP, MAX_STEP = 8, 32
"""If there should be few shapes, clips are padded to a multiple of this many frames (0.16 to 0.64 s in most models),
longer clips to a larger one."""


class CtcGraph:
    """Calls a graph with clips. Raises ArtifactError if the graph does not take audio of any length."""

    def __init__(self, graph: Graph, framing: Framing) -> None:
        self._graph = graph
        self._framing = framing
        self._input = WAVEFORM_INPUT if WAVEFORM_INPUT in graph.inputs else next(iter(graph.inputs))
        self._output = LOGITS_OUTPUT if LOGITS_OUTPUT in graph.outputs else graph.outputs[0]
        check_inputs(graph.inputs, self._input)
        self._pads = graph.compiles_shapes and LENGTHS_INPUT in graph.inputs
        self.ragged = graph.metadata.get(BATCHES_KEY) == INDEPENDENT
        """Whether clips of different lengths can be computed in one call, each as if it were alone."""

    def __call__(self, values: NDArray[np.float32], lengths: NDArray[np.int64]) -> NDArray[np.float32]:
        """Input values of zero-padded clips, shape (batch, samples) -> logits of all frames.

        lengths: samples of each clip without its padding, shape (batch,). Only a ragged graph may get several clips.
        The logits have the shape (batch, frames, vocabulary), float32; those of the padding are meaningless. Raises
        ValueError if the number of frames differs from the settings.
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
        # Before the frames of the padding are cut off, which would hide an error.
        check_frames(logits, values.shape[1], self._framing)
        return np.asarray(logits[:, : self._framing.frames(samples)], dtype=np.float32)


def check_inputs(inputs: Mapping[str, Tensor], waveform: str) -> None:
    """Raises ArtifactError unless the input `waveform` takes audio of any length, and all other inputs are known."""
    if unknown := sorted(inputs.keys() - {waveform, LENGTHS_INPUT, MASK_INPUT}):
        raise ArtifactError(f"the model has unknown inputs: {', '.join(unknown)}")
    dtype, shape = inputs[waveform].dtype, inputs[waveform].shape
    if dtype != "float32" or len(shape) != 2:
        raise ArtifactError(
            f"the model wants {waveform} of {dtype} in {len(shape)} dimensions; "
            "a CTC model takes raw waveform, (batch, samples) in float32"
        )
    if shape[1] is not None:
        raise ArtifactError(f"the model was exported for clips of exactly {shape[1]} samples")


def check_frames(logits: NDArray[np.float32], samples: int, framing: Framing) -> None:
    """Raises ValueError unless logits of shape (batch, frames, vocabulary) have the frames of `samples` samples."""
    expected = framing.frames(samples)
    if logits.shape[1] != expected:
        raise ValueError(f"the model gave {logits.shape[1]} frames for {samples} samples, its settings say {expected}")


def frames_step(frames: int) -> int:
    """The number of frames to whose multiple a clip is padded.

    It is a power of two, for longer clips at most a sixteenth of the clip. This gives about sixty lengths up to 20 s,
    each of which costs memory, and pads short clips little.
    """
    return min(max(MIN_STEP, 1 << (frames - 1).bit_length() >> 5), MAX_STEP)


def padded_length(samples: int, framing: Framing) -> int:
    """The least number of samples, at least `samples`, whose frames are an exact multiple of their step."""
    first = framing.receptive_field - framing.hop
    frames = max(1, -(-(samples - first) // framing.hop))
    step = frames_step(frames)
    return first + -(-frames // step) * step * framing.hop
