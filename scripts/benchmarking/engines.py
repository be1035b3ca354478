"""The engines that a benchmark compares. Each is described by an `EngineSpec` and loaded by name in its own process.

Dikte's own engines are loaded by `app.models`, as in the service. Every other runtime is called by the same
`CtcRecognizer`, so that the times of all engines include normalization and log-softmax. Only the loaders import
runtimes, so that a process holds the one that it measures and no other.
"""

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from app.artifacts import open_artifact
from app.families.ctc import GRAPH, CtcFamily
from app.families.ctc.recognizer import CtcRecognizer
from app.models import load_recognizer, open_model
from app.runtimes.graph import Graph, Tensors, TorchModule
from app.runtimes.registry import (
    BACKENDS,
    ONNX,
    ONNX_INT8,
    ONNXRUNTIME_PACKAGE,
    OPENVINO,
    PYTORCH,
    PYTORCH_WEIGHTS,
    onnx_fp32_file,
    onnx_int8_file,
    openvino_int8_file,
)
from scripts.common.model_files import model_files


@dataclass(frozen=True)
class EngineSpec:
    """What to load, and its names in the report.

    key: short name. loader: a key of `LOADERS`. settings: folder with `config.json` and the files of the tokenizer.
    files: files of graph and weights, which count as the engine's size. backend: a key of `BACKENDS`, for the loader
    "backend". own: whether it is an engine of Dikte, as opposed to a baseline.
    """

    key: str
    title: str
    loader: str
    settings: Path
    files: tuple[Path, ...]
    backend: str = ""
    own: bool = False

    @property
    def size_bytes(self) -> int:
        """Size of its files on disk."""
        return sum(path.stat().st_size for path in self.files)


@dataclass(frozen=True)
class OwnEngine:
    """An engine of the service, and the file of an artifact that it reads.

    auto_detected: the engine is also measured if its file is in the folder of another engine's named file.
    """

    backend: str
    file_name: str
    auto_detected: bool = False

    @property
    def title(self) -> str:
        """Its name in the report."""
        return f"Dikte {BACKENDS[self.backend].title}"

    @property
    def needs(self) -> str:
        """The package that it needs."""
        return BACKENDS[self.backend].packages[0]


OWN_ENGINES = (
    OwnEngine(ONNX, onnx_fp32_file(GRAPH)),
    OwnEngine(ONNX_INT8, onnx_int8_file(GRAPH)),
    OwnEngine(OPENVINO, openvino_int8_file(GRAPH), auto_detected=True),
)
"""All but PyTorch, which reads the checkpoint. Each is measured if its file exists and its package is installed."""


def pytorch_spec(checkpoint: Path) -> EngineSpec:
    """The checkpoint itself, in float32."""
    return EngineSpec(
        PYTORCH, BACKENDS[PYTORCH].title, "backend", checkpoint, weights_of(checkpoint), PYTORCH, own=True
    )


def own_spec(engine: OwnEngine, path: Path, checkpoint: Path) -> EngineSpec:
    """The spec of an engine that reads the file `path`.

    A file with its usual name in an artifact is loaded as the service loads it. Any other file for ONNX Runtime is
    loaded with the settings of its folder or, if there are none, of the checkpoint. Raises FileNotFoundError if the
    file does not exist, and ValueError if it is for another runtime and not in an artifact.
    """
    files = model_files(path)
    has_settings = (path.parent / "config.json").is_file()
    if has_settings and path.name == engine.file_name:
        return EngineSpec(engine.backend, engine.title, "backend", path.parent, files, engine.backend, own=True)
    if engine.needs != ONNXRUNTIME_PACKAGE:
        raise ValueError(f"{path}: {engine.title} reads {engine.file_name} in an artifact folder")
    return EngineSpec(
        engine.backend, engine.title, "onnx_file", path.parent if has_settings else checkpoint, files, own=True
    )


def installed(package: str) -> bool:
    """Whether a package can be imported, without importing it."""
    return find_spec(package) is not None


def available(engine: OwnEngine) -> bool:
    """Whether the service knows this engine and its package is installed."""
    return engine.backend in BACKENDS and installed(engine.needs)


def weights_of(checkpoint: Path) -> tuple[Path, ...]:
    """The weight files that transformers reads: safetensors if there are any. Raises FileNotFoundError without any."""
    for pattern in PYTORCH_WEIGHTS:
        if found := sorted(checkpoint.glob(pattern)):
            return tuple(found)
    raise FileNotFoundError(f"there are no PyTorch weights in {checkpoint}")


def _on_graph(spec: EngineSpec, graph: Graph) -> CtcRecognizer:
    """A recognizer with the settings of a spec, on any graph."""
    return CtcFamily(open_artifact(spec.settings)).recognizer({GRAPH: graph})


def _backend(spec: EngineSpec, threads: int, callers: int) -> CtcRecognizer:
    recognizer = load_recognizer(open_model(spec.settings), spec.backend, threads)
    assert isinstance(recognizer, CtcRecognizer)
    return recognizer


def _onnx_file(spec: EngineSpec, threads: int, callers: int) -> CtcRecognizer:
    from app.runtimes.onnx import OnnxGraph

    return _on_graph(spec, OnnxGraph(spec.files[0], threads))


def _plain_onnx_file(spec: EngineSpec, threads: int, callers: int) -> CtcRecognizer:
    """A session as most services create it: the defaults of ONNX Runtime, except for the number of threads."""
    import onnxruntime

    from app.runtimes.onnx import OnnxGraph

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    return _on_graph(spec, OnnxGraph(spec.files[0], threads, options))


def _pytorch_bf16(spec: EngineSpec, threads: int, callers: int) -> CtcRecognizer:
    """The checkpoint with its matrix products and convolutions in bfloat16."""
    import torch

    from app.runtimes.pytorch import TorchGraph

    class Autocast(torch.nn.Module):
        def __init__(self, model: torch.nn.Module) -> None:
            super().__init__()
            self.model = model

        def forward(self, **feeds: torch.Tensor) -> dict[str, torch.Tensor]:
            with torch.autocast("cpu", torch.bfloat16):
                return {name: values.float() for name, values in self.model(**feeds).items()}

    family = CtcFamily(open_artifact(spec.settings))
    (source,) = family.torch_modules(spec.settings).values()
    return _on_graph(spec, TorchGraph(TorchModule(Autocast(source.module), *source[1:]), threads))


class _OpenVinoFile:
    """A model file (.xml or .onnx) with one input and one output, on OpenVINO, without any of Dikte's optimizations."""

    compiles_shapes = True
    metadata: ClassVar[Mapping[str, str]] = {}

    def __init__(self, path: Path, precision: str, threads: int, callers: int) -> None:
        from app.runtimes.openvino import CORE, tensor_of

        self._compiled = CORE.compile_model(
            path,
            "CPU",
            {
                "INFERENCE_NUM_THREADS": threads * callers,  # in all streams together
                "NUM_STREAMS": callers,
                "INFERENCE_PRECISION_HINT": precision,
                "ENABLE_CPU_PINNING": False,  # pinned threads could not move away from a core that is busy
            },
        )
        self.inputs = {value.get_any_name(): tensor_of(value) for value in self._compiled.inputs}
        self.outputs = tuple(value.get_any_name() for value in self._compiled.outputs)
        self._requests = threading.local()

    def __call__(self, feeds: Tensors, outputs: Sequence[str]) -> dict[str, NDArray[Any]]:
        """Compute the outputs of these names."""
        if not hasattr(self._requests, "own"):
            self._requests.own = self._compiled.create_infer_request()
        request: Any = self._requests.own
        request.infer(dict(feeds))
        return {name: np.array(request.get_tensor(name).data) for name in outputs}


def _openvino_file(precision: str) -> Callable[[EngineSpec, int, int], CtcRecognizer]:
    def load(spec: EngineSpec, threads: int, callers: int) -> CtcRecognizer:
        return _on_graph(spec, _OpenVinoFile(spec.files[0], precision, threads, callers))

    return load


LOADERS: dict[str, Callable[[EngineSpec, int, int], CtcRecognizer]] = {
    "backend": _backend,
    "onnx_file": _onnx_file,
    "plain_onnx_file": _plain_onnx_file,
    "pytorch_bf16": _pytorch_bf16,
    "openvino_bf16": _openvino_file("bf16"),
    # The parts that are not INT8 run in bfloat16 if the CPU supports it. That is OpenVINO's own default.
    "openvino_int8": _openvino_file("bf16"),
}
"""Name -> function that loads an engine, given the spec, the threads of one call, and the number of calls at once."""


def load(spec: EngineSpec, threads: int, callers: int) -> CtcRecognizer:
    """Load the engine that a spec describes. Raises the errors of its runtime."""
    return LOADERS[spec.loader](spec, threads, callers)
