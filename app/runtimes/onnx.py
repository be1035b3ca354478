"""ONNX Runtime on the CPU. FP32 and INT8 use the same runtime with different files."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import onnxruntime
from numpy.typing import NDArray

from app.memory import keep_freed_memory, return_freed_memory
from app.runtimes.graph import Cache, Tensor, Tensors
from app.runtimes.onnx_tables import map_tables

SPIN_US = 100
"""Spin time of waiting threads, in microseconds. Most operators that run on a single thread finish in that time."""
NUMPY_TYPES = {"tensor(float)": "float32", "tensor(double)": "float64"}
"""ONNX Runtime's type names that differ from NumPy's in more than `tensor(...)`."""


class OnnxGraph:
    """A session on one ONNX file. Raises ONNX Runtime's own errors if it cannot load the file.

    options: replace the default `session_options`.
    """

    compiles_shapes = False

    def __init__(self, path: Path, threads: int, options: onnxruntime.SessionOptions | None = None) -> None:
        keep_freed_memory()
        options = options or session_options(threads)
        mapped = map_tables(path)
        shared = {name: onnxruntime.OrtValue.ortvalue_from_numpy(table) for name, table in mapped.tables.items()}
        for name, value in shared.items():
            options.add_initializer(name, value)
        self._session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        self._kept = mapped, shared  # the session reads them, but does not keep them
        mapped.release()
        return_freed_memory()  # loading needs more than the weights
        self.inputs: Mapping[str, Tensor] = {node.name: tensor_of(node) for node in self._session.get_inputs()}
        self.outputs = tuple(node.name for node in self._session.get_outputs())
        self.metadata: Mapping[str, str] = self._session.get_modelmeta().custom_metadata_map

    def __call__(self, feeds: Tensors, outputs: Sequence[str]) -> dict[str, NDArray[Any]]:
        """Compute the outputs with these names."""
        return dict(zip(outputs, self._session.run(outputs, feeds), strict=True))

    def bind(self, fixed: Tensors, caches: Sequence[Cache], outputs: Sequence[str]) -> "BoundOnnxGraph":
        """Bind inputs and outputs. The graph's operators must be able to update the caches in place."""
        return BoundOnnxGraph(self._session, fixed, caches, outputs)


class BoundOnnxGraph:
    """A session with an I/O binding. A cache is one OrtValue, bound as an input and as an output."""

    def __init__(
        self, session: onnxruntime.InferenceSession, fixed: Tensors, caches: Sequence[Cache], outputs: Sequence[str]
    ) -> None:
        self._session = session
        self._outputs = tuple(outputs)
        self._binding = session.io_binding()
        self._arrays = [*fixed.values(), *(cache.values for cache in caches)]  # the OrtValues use their memory
        for name, values in fixed.items():
            self._binding.bind_ortvalue_input(name, onnxruntime.OrtValue.ortvalue_from_numpy(values))
        for cache in caches:
            shared = onnxruntime.OrtValue.ortvalue_from_numpy(cache.values)
            self._binding.bind_ortvalue_input(cache.input, shared)
            self._binding.bind_ortvalue_output(cache.output, shared)
        self._bound_before = len(caches)

    def __call__(self, feeds: Tensors) -> dict[str, NDArray[Any]]:
        """Compute the bound outputs and update the caches."""
        for name, values in feeds.items():
            self._binding.bind_cpu_input(name, values)
        for name in self._outputs:
            self._binding.bind_output(name)  # each time: their shapes may change
        self._session.run_with_iobinding(self._binding)
        computed = self._binding.get_outputs()[self._bound_before :]
        return {name: value.numpy() for name, value in zip(self._outputs, computed, strict=True)}


def session_options(threads: int) -> onnxruntime.SessionOptions:
    """The session options for serving, with `threads` threads per call."""
    options = onnxruntime.SessionOptions()
    # By default, ONNX Runtime sizes its pool by the host's cores, not by this process's share of them.
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # Threads that wait for the next operator of a run spin, because waking one takes as long as a small operator. They
    # spin only briefly, and not between runs, because a session that runs beside this one may need the core.
    options.add_session_config_entry("session.intra_op.spin_duration_us", str(SPIN_US))
    options.add_session_config_entry("session.force_spinning_stop", "1")
    # ONNX Runtime's arena never returns memory; `app.memory` keeps it and returns it.
    options.enable_cpu_mem_arena = False
    options.enable_mem_pattern = False
    return options


def tensor_of(node: onnxruntime.NodeArg) -> Tensor:
    """The type of an input; dimensions with a name, or without one, may have any size."""
    dtype = NUMPY_TYPES.get(node.type, node.type.removeprefix("tensor(").removesuffix(")"))
    return Tensor(dtype, tuple(size if isinstance(size, int) else None for size in node.shape))
