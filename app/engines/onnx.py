"""ONNX Runtime: FP32 and INT8 are the same engine on another file."""

from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray


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

    def __call__(self, input_values: NDArray[np.float32]) -> NDArray[np.float32]:
        """(1, samples) float32 -> logits (1, frames, vocabulary) float32."""
        (logits,) = self._session.run([self._output], {self._input: input_values})
        return np.asarray(logits, dtype=np.float32)
