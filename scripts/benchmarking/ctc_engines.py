"""Engines of CTC models: Dikte's own, and other runtimes and files.

Dikte's own engines are loaded by `app.models`, as in the service. Every other runtime is called by the same
`CtcRecognizer`, so that the times of all engines include normalization and log-softmax.
"""

import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from app.artifacts import open_artifact
from app.families.ctc import GRAPH, CtcFamily
from app.families.ctc.recognizer import CtcRecognizer
from app.models import load_recognizer, open_model
from app.recognizer import Options, Samples
from app.runtimes.graph import Graph, Tensors, TorchModule
from app.runtimes.registry import (
    ONNX,
    ONNX_INT8,
    ONNXRUNTIME_PACKAGE,
    OPENVINO,
    onnx_fp32_file,
    onnx_int8_file,
    openvino_int8_file,
)
from scripts.benchmarking.engines import CTC, OWN_LOADER, EngineSpec, Loader, own_title, package_of
from scripts.common.model_files import model_files
from scripts.speech.recognition import text_of

USUAL_FILES = {
    ONNX: onnx_fp32_file(GRAPH),
    ONNX_INT8: onnx_int8_file(GRAPH),
    OPENVINO: openvino_int8_file(GRAPH),
}
"""Backend -> the file that the service reads from an artifact."""
PYTORCH_INT8 = "pytorch_int8"
"""The loader of PyTorch's own dynamic INT8."""


class CtcEngine:
    """An `Engine` that computes the emissions of a clip as one window."""

    def __init__(self, recognizer: CtcRecognizer, options: Options) -> None:
        self._recognizer = recognizer
        self._options = options

    def compute(self, samples: Samples) -> NDArray[np.float32]:
        """Emissions, shape (frames, vocabulary): log-probabilities."""
        return self._recognizer.emissions([samples])[0]

    def output(self, samples: Samples) -> NDArray[np.int64]:
        """The most likely token of each frame, shape (frames,)."""
        tokens: NDArray[np.int64] = self.compute(samples).argmax(axis=1)
        return tokens

    def text(self, samples: Samples) -> str:
        """The text of a clip, computed in windows."""
        return text_of(self._recognizer, samples, self._options)


def file_spec(backend: str, path: Path, checkpoint: Path) -> EngineSpec:
    """The spec of an engine that reads the file `path`.

    A file with its usual name in an artifact is loaded as the service loads it. Any other file for ONNX Runtime is
    loaded with the settings of its folder or, if there are none, of the checkpoint. Raises FileNotFoundError if the
    file does not exist, and ValueError if it is for another runtime and not in an artifact.
    """
    files = model_files(path)
    title = own_title(backend)
    has_settings = (path.parent / "config.json").is_file()
    usual = USUAL_FILES[backend]
    if has_settings and path.name == usual:
        return EngineSpec(backend, title, CTC, OWN_LOADER, path.parent, files, backend, own=True)
    if package_of(backend) != ONNXRUNTIME_PACKAGE:
        raise ValueError(f"{path}: {title} reads {usual} in an artifact folder")
    settings = path.parent if has_settings else checkpoint
    return EngineSpec(backend, title, CTC, "onnx_file", settings, files, own=True)


def _engine(spec: EngineSpec, recognizer: CtcRecognizer) -> CtcEngine:
    return CtcEngine(recognizer, Options(language_model=spec.language_model))


def _on_graph(spec: EngineSpec, graph: Graph) -> CtcEngine:
    """An engine with the settings of a spec, on any graph."""
    return _engine(spec, CtcFamily(open_artifact(spec.settings)).recognizer({GRAPH: graph}))


def _backend(spec: EngineSpec, threads: int, callers: int) -> CtcEngine:
    recognizer = load_recognizer(open_model(spec.settings), spec.backend, threads)
    assert isinstance(recognizer, CtcRecognizer)
    return _engine(spec, recognizer)


def _onnx_file(spec: EngineSpec, threads: int, callers: int) -> CtcEngine:
    from app.runtimes.onnx import OnnxGraph

    return _on_graph(spec, OnnxGraph(spec.files[0], threads))


def _plain_onnx_file(spec: EngineSpec, threads: int, callers: int) -> CtcEngine:
    """A session as most services create it: the defaults of ONNX Runtime, except for the number of threads."""
    import onnxruntime

    from app.runtimes.onnx import OnnxGraph

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    return _on_graph(spec, OnnxGraph(spec.files[0], threads, options))


def _pytorch_bf16(spec: EngineSpec, threads: int, callers: int) -> CtcEngine:
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


def quantized_by_pytorch(module: Any) -> Any:
    """The module with its linear layers in PyTorch's dynamic INT8; all others stay in float32."""
    import warnings

    import torch

    with warnings.catch_warnings():
        for kind in (DeprecationWarning, UserWarning):  # torchao replaces it one day
            warnings.simplefilter("ignore", kind)
        return torch.ao.quantization.quantize_dynamic(module, {torch.nn.Linear}, dtype=torch.qint8)


def _pytorch_int8(spec: EngineSpec, threads: int, callers: int) -> CtcEngine:
    """The checkpoint in PyTorch's dynamic INT8."""
    from app.runtimes.pytorch import TorchGraph

    family = CtcFamily(open_artifact(spec.settings))
    (source,) = family.torch_modules(spec.settings).values()
    return _on_graph(spec, TorchGraph(TorchModule(quantized_by_pytorch(source.module), *source[1:]), threads))


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


def _openvino_file(precision: str) -> Loader:
    def load(spec: EngineSpec, threads: int, callers: int) -> CtcEngine:
        return _on_graph(spec, _OpenVinoFile(spec.files[0], precision, threads, callers))

    return load


LOADERS: Mapping[str, Loader] = {
    OWN_LOADER: _backend,
    "onnx_file": _onnx_file,
    "plain_onnx_file": _plain_onnx_file,
    "pytorch_bf16": _pytorch_bf16,
    PYTORCH_INT8: _pytorch_int8,
    "openvino_bf16": _openvino_file("bf16"),
    # The parts that are not INT8 run in bfloat16 if the CPU supports it. That is OpenVINO's own default.
    "openvino_int8": _openvino_file("bf16"),
}
"""Name -> function that loads an engine."""
