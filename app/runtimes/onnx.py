"""ONNX Runtime on the CPU. FP32 and INT8 are the same runtime on another file."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import onnxruntime
from numpy.typing import NDArray

from app.memory import keep_freed_memory, return_freed_memory
from app.runtimes.graph import Tensor, Tensors

SPIN_US = 100
"""Most operators that one thread computes alone are done in that time."""
NUMPY_TYPES = {"tensor(float)": "float32", "tensor(double)": "float64"}
"""ONNX Runtime's names that differ from NumPy's in more than `tensor(...)`."""


class OnnxGraph:
    """A session on one ONNX file. Raises whatever ONNX Runtime raises when it cannot load the file.

    options: instead of those that serve best.
    """

    compiles_shapes = False

    def __init__(self, path: Path, threads: int, options: onnxruntime.SessionOptions | None = None) -> None:
        keep_freed_memory()
        options = options or session_options(threads)
        self._session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        return_freed_memory()  # that the file took beside the weights
        self.inputs: Mapping[str, Tensor] = {node.name: tensor_of(node) for node in self._session.get_inputs()}
        self.outputs = tuple(node.name for node in self._session.get_outputs())
        self.metadata: Mapping[str, str] = self._session.get_modelmeta().custom_metadata_map

    def __call__(self, feeds: Tensors, outputs: Sequence[str]) -> dict[str, NDArray[Any]]:
        """Compute the outputs of these names."""
        return dict(zip(outputs, self._session.run(outputs, feeds), strict=True))


def session_options(threads: int) -> onnxruntime.SessionOptions:
    """Those with which a session serves best, with so many threads per call."""
    options = onnxruntime.SessionOptions()
    # ONNX Runtime would size its pool by the host's cores, not by this process's share of them.
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # Threads that wait for the next operator of a run spin, for waking one takes as long as a small operator: for a
    # moment, and not between runs, for the core may be wanted by the session that runs beside this one.
    options.add_session_config_entry("session.intra_op.spin_duration_us", str(SPIN_US))
    options.add_session_config_entry("session.force_spinning_stop", "1")
    # An arena of its own would never give back what the longest clip took: `app.memory` keeps, and gives back.
    options.enable_cpu_mem_arena = False
    options.enable_mem_pattern = False
    return options


def tensor_of(node: onnxruntime.NodeArg) -> Tensor:
    """What an input takes; dimensions that have a name, or none, take any number."""
    dtype = NUMPY_TYPES.get(node.type, node.type.removeprefix("tensor(").removesuffix(")"))
    return Tensor(dtype, tuple(size if isinstance(size, int) else None for size in node.shape))
