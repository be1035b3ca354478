"""OpenVINO on the CPU: an INT8 file made for it, or the ONNX file in float32.

The float parts of the INT8 file are computed in bfloat16 if the CPU can, except for nodes that the file marks (a
variance in bfloat16 ruins the model: WER 7 points up, measured) and for decoders. The ONNX file has no such marks.

Imported only for this backend; needs `requirements-openvino.txt`.
"""

import weakref
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import openvino
from numpy.typing import NDArray

from app.cores import available_cores
from app.runtimes.graph import Cache, Tensor, Tensors

CORE = openvino.Core()
"""The only Core of the process, never destroyed. Its CPU plugin gives the thread that loads it an alternate signal
stack, and unmaps that when a Core is destroyed in any thread: the next signal (SIGTERM, SIGCHLD) would then kill the
process with SIGSEGV."""
CACHED_OPERATORS = 200
"""Operators whose code is kept, if there are many shapes. A step of a decoder has the same shapes as the last one, but
for the attention to the tokens so far: with none kept, 30 s of whisper-base took 1.3 times as long."""


class OpenVinoGraph:
    """A compiled model. Raises RuntimeError if the file is not a model.

    `threads` compute one call, and as many calls run at a time as the cores then allow (OpenVINO's streams); further
    calls wait. OpenVINO generates code for every new shape of the inputs, which costs half as much as computing them,
    and caches it.

    few_shapes: whether the caller uses only a few shapes of such inputs. If not, code that was not used lately is
    dropped, because memory would grow with every call. steps: whether each call computes only a few tokens. Such a
    graph computes in float32: rounding its caches to bfloat16 would take longer than it saves.

    A model may keep values from one call to the next itself, as OpenVINO's states. Such a model is only called bound.
    """

    compiles_shapes = True
    metadata: ClassVar[Mapping[str, str]] = {}

    def __init__(
        self, path: Path, threads: int, few_shapes: Callable[[Mapping[str, Tensor]], bool], *, steps: bool = False
    ) -> None:
        model = CORE.read_model(path)
        self.inputs: Mapping[str, Tensor] = {value.get_any_name(): tensor_of(value) for value in model.inputs}
        self.outputs = tuple(value.get_any_name() for value in model.outputs)
        streams = max(1, available_cores() // threads)
        in_bfloat16 = path.suffix == ".xml" and not steps and computes_in_bfloat16()
        options: dict[str, Any] = {
            "NUM_STREAMS": streams,
            "INFERENCE_NUM_THREADS": streams * threads,
            "INFERENCE_PRECISION_HINT": "bf16" if in_bfloat16 else "f32",
            # With pinning, the threads of two processes would share the cores that both choose first.
            "ENABLE_CPU_PINNING": False,
        }
        if not few_shapes(self.inputs):
            options["CPU_RUNTIME_CACHE_CAPACITY"] = CACHED_OPERATORS
        if steps:
            options["KV_CACHE_PRECISION"] = "f32"  # with the 8 bits of the default, steps are not faster
        self._model = CORE.compile_model(model, "CPU", options)
        self._free: list[openvino.InferRequest] = []

    def __call__(self, feeds: Tensors, outputs: Sequence[str]) -> dict[str, NDArray[Any]]:
        """Compute the outputs with these names."""
        request = self.take_request()
        try:
            return computed(request, feeds, outputs)
        finally:
            self.return_request(request)

    def bind(self, fixed: Tensors, caches: Sequence[Cache], outputs: Sequence[str]) -> "BoundOpenVinoGraph":
        """Bind inputs and outputs; each call copies the caches. The states of a model begin empty."""
        return BoundOpenVinoGraph(self, fixed, caches, outputs)

    def take_request(self) -> openvino.InferRequest:
        """A request that nobody else uses, with empty states, until `return_request`.

        Calls must not share buffers, and making a request for each call takes a fifth more time.
        """
        try:
            request = self._free.pop()  # atomic, so that threads need no lock
        except IndexError:
            return self._model.create_infer_request()
        request.reset_state()
        return request

    def return_request(self, request: openvino.InferRequest) -> None:
        """Let others use a request."""
        self._free.append(request)


class BoundOpenVinoGraph:
    """A compiled model with bound inputs and a request of its own, which keeps the model's states."""

    def __init__(self, graph: OpenVinoGraph, fixed: Tensors, caches: Sequence[Cache], outputs: Sequence[str]) -> None:
        self._fixed = dict(fixed)
        self._caches = tuple(caches)
        self._outputs = tuple(outputs)
        self._request = graph.take_request()
        weakref.finalize(self, graph.return_request, self._request).atexit = False

    def __call__(self, feeds: Tensors) -> dict[str, NDArray[Any]]:
        """Compute the bound outputs and update the caches."""
        caches = {cache.input: cache.values for cache in self._caches}
        found = computed(self._request, {**self._fixed, **caches, **feeds}, self._outputs)
        for cache in self._caches:
            updated = self._request.get_tensor(cache.output).data  # may have only what is filled, not all the capacity
            cache.values[tuple(map(slice, updated.shape))] = updated
        return found


def computed(request: openvino.InferRequest, feeds: Tensors, outputs: Sequence[str]) -> dict[str, NDArray[Any]]:
    """Compute all outputs, which the request has until its next call. Returns copies of those with these names."""
    request.infer(dict(feeds), share_inputs=True)  # without a copy of the inputs
    return {name: np.array(request.get_tensor(name).data) for name in outputs}


def tensor_of(value: openvino.Output) -> Tensor:
    """The type of an input."""
    shape = (size.get_length() if size.is_static else None for size in value.get_partial_shape())
    return Tensor(np.dtype(value.get_element_type().to_dtype()).name, tuple(shape))


def computes_in_bfloat16() -> bool:
    """Whether this CPU has instructions for bfloat16 (AVX-512 BF16 or AMX)."""
    return "BF16" in CORE.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
