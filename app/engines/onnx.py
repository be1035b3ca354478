"""ONNX Runtime: FP32 and INT8 are the same engine on another file."""

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from app.artifacts import ArtifactError
from app.engines.ctc import LENGTHS_INPUT
from app.memory import keep_freed_memory, return_freed_memory

WAVEFORM_INPUT, LOGITS_OUTPUT = "input_values", "logits"
"""Names that optimum gives; in a file made by other means, the first input and output are taken for them."""
MASK_INPUT = "attention_mask"
"""Name of the input that tells the same in some exports: shape (batch, samples), int64, one where there is sound."""
BATCHES_KEY, INDEPENDENT = "dikte.batches", "independent"
"""Metadata of a file whose clips do not change each other's logits when they are computed together."""

SPIN_US = 100
"""Most operators that one thread computes alone are done in that time."""


class OnnxRuntime:
    """A session on one ONNX file, to be called from several threads at once.

    Raises ArtifactError if the model in it takes something else than sound of any length, and whatever ONNX Runtime
    raises when the file is no model it can load.
    """

    def __init__(self, path: Path, threads: int) -> None:
        keep_freed_memory()
        options = onnxruntime.SessionOptions()
        # ONNX Runtime would size its pool by the host's cores, not by this process's share of them.
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        # Threads that wait for the next operator of a run spin, for waking one takes as long as a small operator: for
        # a moment, and not between runs, for the core may be wanted by the session that runs beside this one.
        options.add_session_config_entry("session.intra_op.spin_duration_us", str(SPIN_US))
        options.add_session_config_entry("session.force_spinning_stop", "1")
        # An arena of its own would never give back what the longest clip took: `app.memory` keeps, and gives back.
        options.enable_cpu_mem_arena = False
        options.enable_mem_pattern = False
        self._session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        return_freed_memory()  # that the file took beside the weights
        inputs = {node.name: node for node in self._session.get_inputs()}
        outputs = [node.name for node in self._session.get_outputs()]
        self._input = WAVEFORM_INPUT if WAVEFORM_INPUT in inputs else next(iter(inputs))
        self._output = LOGITS_OUTPUT if LOGITS_OUTPUT in outputs else outputs[0]
        self._refuse_other_inputs(path, inputs)

        self._has_lengths = LENGTHS_INPUT in inputs
        self._has_mask = MASK_INPUT in inputs
        self.ragged = self._session.get_modelmeta().custom_metadata_map.get(BATCHES_KEY) == INDEPENDENT

    def _refuse_other_inputs(self, path: Path, inputs: dict[str, onnxruntime.NodeArg]) -> None:
        unknown = sorted(inputs.keys() - {self._input, LENGTHS_INPUT, MASK_INPUT})
        if unknown:
            raise ArtifactError(f"{path} wants inputs that nothing is known of: {', '.join(unknown)}")
        waveform = inputs[self._input]
        if waveform.type != "tensor(float)" or len(waveform.shape) != 2:
            raise ArtifactError(
                f"{path} wants {waveform.name} of {waveform.type} in {len(waveform.shape)} dimensions; "
                "Dikte serves models on raw waveform, (batch, samples) in float32"
            )
        if isinstance(waveform.shape[1], int):
            raise ArtifactError(f"{path} was exported for clips of exactly {waveform.shape[1]} samples")

    def __call__(self, input_values: NDArray[np.float32], lengths: NDArray[np.int64]) -> NDArray[np.float32]:
        """(batch, samples) float32 and (batch,) int64 -> logits (batch, frames, vocabulary) float32."""
        feed: dict[str, NDArray[Any]] = {self._input: input_values}
        if self._has_lengths:
            feed[LENGTHS_INPUT] = lengths
        if self._has_mask:
            feed[MASK_INPUT] = (np.arange(input_values.shape[1]) < lengths[:, np.newaxis]).astype(np.int64)
        (logits,) = self._session.run([self._output], feed)
        return np.asarray(logits, dtype=np.float32)
