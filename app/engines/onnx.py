"""ONNX Runtime: FP32 and INT8 are the same engine on another file."""

from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray

LENGTHS_INPUT = "lengths"
"""Name of the input that tells how many samples each clip of a batch has without its padding."""
BATCHES_KEY, INDEPENDENT = "dikte.batches", "independent"
"""Metadata of a file whose clips do not change each other's logits when they are computed together."""


class OnnxRuntime:
    """A session on one ONNX file, to be called from several threads at once.

    Raises whatever ONNX Runtime raises when the file is no model it can load.
    """

    def __init__(self, path: Path, threads: int) -> None:
        options = onnxruntime.SessionOptions()
        # ONNX Runtime would size its pool by the host's cores, not by this process's share of them.
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        # Waiting threads sleep: spinning ones would take the core from the session that runs beside this one.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        # Clips differ in length, so an arena would grow to the largest of each and keep it.
        options.enable_cpu_mem_arena = False
        options.enable_mem_pattern = False
        self._session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        self._input = self._session.get_inputs()[0].name
        self._output = self._session.get_outputs()[0].name

        self._has_lengths = LENGTHS_INPUT in (node.name for node in self._session.get_inputs())
        self.ragged = self._session.get_modelmeta().custom_metadata_map.get(BATCHES_KEY) == INDEPENDENT

    def __call__(self, input_values: NDArray[np.float32], lengths: NDArray[np.int64]) -> NDArray[np.float32]:
        """(batch, samples) float32 and (batch,) int64 -> logits (batch, frames, vocabulary) float32."""
        feed = {self._input: input_values} | ({LENGTHS_INPUT: lengths} if self._has_lengths else {})
        (logits,) = self._session.run([self._output], feed)
        return np.asarray(logits, dtype=np.float32)
