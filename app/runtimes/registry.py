"""The list of backends: their names, the files that they read, the packages that they need, and how they load a graph.

A backend is a runtime together with the precision of its files. Settings, export, benchmark, load tests and documents
take the names from here.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Protocol

from app.artifacts import Artifact
from app.memory import keep_freed_memory, return_freed_memory
from app.runtimes.graph import CachingGraph, Tensor, TorchModule

AUTO = "auto"
"""Stands for the fastest backend that is proven and installed."""
PYTORCH, ONNX, ONNX_INT8, OPENVINO = "pytorch", "onnx", "onnx_int8", "openvino"
PYTORCH_WEIGHTS = ("model*.safetensors", "pytorch_model*.bin")
"""File names that transformers gives to weights, whole or sharded."""
OPTIMUM_INT8 = "_quantized.onnx"
"""End of the file names that optimum's ORTQuantizer gives to INT8."""
ONNXRUNTIME_PACKAGE, OPENVINO_PACKAGE = "onnxruntime", "openvino"


class GraphSource(Protocol):
    """What a backend needs from a model family to load its graphs."""

    @property
    def graphs(self) -> Sequence[str]:
        """Names of the graphs; their file names start with them."""
        ...

    def torch_modules(self, folder: Path) -> Mapping[str, TorchModule]:
        """The graphs of a checkpoint folder as PyTorch modules, by name."""
        ...

    @property
    def shares_sessions(self) -> bool:
        """Whether all recognizers share a session of each graph, with the most threads of any of them."""
        ...

    def uses_few_shapes(self, inputs: Mapping[str, Tensor]) -> bool:
        """Whether a graph with such inputs will be called with only a few shapes."""
        ...

    def computes_steps(self, graph: str) -> bool:
        """Whether each call computes only a few tokens, so that most of its time goes into reading memory."""
        ...


Graphs = Mapping[str, CachingGraph]
Load = Callable[[Artifact, GraphSource, Sequence[int]], list[Graphs]]
"""Loads the graphs of a family, by name, for each number of threads per call; sequential graphs only once. Raises
ArtifactError if a file is missing or differs from the manifest, and the runtime's own errors."""


@dataclass(frozen=True)
class Backend:
    """A runtime together with the precision of its files.

    title: its name in reports. load: see `Load`. files: function of a model folder and a graph's name that gives the
    names of the files that it reads, without external weights of ONNX files. packages: packages that must be
    importable. requirements: the requirements file that lists them. own_threads: it computes on threads that it starts
    when it is loaded, not on the caller's. is_reference: it computes the checkpoint itself, and needs no proof.
    """

    title: str
    load: Load
    files: Callable[[Path, str], list[str]]
    packages: tuple[str, ...] = (ONNXRUNTIME_PACKAGE,)
    requirements: str = "requirements.txt"
    own_threads: bool = False
    is_reference: bool = False


def onnx_fp32_file(graph: str) -> str:
    """File name of a graph in float32."""
    return f"{graph}.onnx"


def onnx_int8_file(graph: str) -> str:
    """File name of a graph in INT8, for ONNX Runtime."""
    return f"{graph}_int8.onnx"


def find_onnx_int8_file(folder: Path, graph: str) -> str:
    """Name of a graph's INT8 file in a folder: `onnx_int8_file` or, if only that exists, optimum's name."""
    own, of_optimum = onnx_int8_file(graph), f"{graph}{OPTIMUM_INT8}"
    return of_optimum if (folder / of_optimum).is_file() and not (folder / own).is_file() else own


def openvino_int8_file(graph: str) -> str:
    """File name of a graph in INT8, for OpenVINO. Its weights are beside it, with the suffix `.bin`."""
    return f"{graph}_openvino_int8.xml"


def is_int8(file_name: str) -> bool:
    """Whether a backend's file has INT8 weights."""
    return "_int8." in file_name or file_name.endswith(OPTIMUM_INT8)


def _find_onnx_fp32_file(folder: Path, graph: str) -> str:
    return onnx_fp32_file(graph)


def _load_onnx(find_file: Callable[[Path, str], str]) -> Load:
    def load(artifact: Artifact, source: GraphSource, threads: Sequence[int]) -> list[Graphs]:
        from app.runtimes.onnx import OnnxGraph

        paths = {graph: artifact.file(find_file(artifact.folder, graph)) for graph in source.graphs}
        numbers = [max(threads)] * len(threads) if source.shares_sessions else threads
        loaded = {
            number: {graph: OnnxGraph(path, number) for graph, path in paths.items()}
            for number in dict.fromkeys(numbers)
        }
        return [loaded[number] for number in numbers]

    return load


def _load_pytorch(artifact: Artifact, source: GraphSource, threads: Sequence[int]) -> list[Graphs]:
    from app.runtimes.pytorch import TorchGraph

    for name in artifact.files:
        if any(fnmatch(name, pattern) for pattern in PYTORCH_WEIGHTS):
            artifact.verify(name)
    keep_freed_memory()
    modules = source.torch_modules(artifact.folder)
    return_freed_memory()
    return [{graph: TorchGraph(module, number) for graph, module in modules.items()} for number in threads]


def _load_openvino(artifact: Artifact, source: GraphSource, threads: Sequence[int]) -> list[Graphs]:
    from app.runtimes.openvino import OpenVinoGraph

    paths = {}
    for graph in source.graphs:
        model, *weights = _openvino_files(artifact.folder, graph)
        for name in weights:
            artifact.file(name)
        paths[graph] = artifact.file(model)
    few = source.uses_few_shapes
    return [
        {graph: OpenVinoGraph(path, number, few, steps=source.computes_steps(graph)) for graph, path in paths.items()}
        for number in threads
    ]


def _openvino_files(folder: Path, graph: str) -> list[str]:
    int8 = openvino_int8_file(graph)
    if (folder / int8).is_file():
        return [int8, str(Path(int8).with_suffix(".bin"))]
    return [onnx_fp32_file(graph)]


def _pytorch_files(folder: Path, graph: str) -> list[str]:
    found = sorted(path.name for pattern in PYTORCH_WEIGHTS for path in folder.glob(pattern))
    return found or [PYTORCH_WEIGHTS[0]]


BACKENDS: Mapping[str, Backend] = {
    PYTORCH: Backend(
        "PyTorch FP32",
        _load_pytorch,
        _pytorch_files,
        ("torch", "transformers"),
        "requirements-train.txt",
        is_reference=True,
    ),
    ONNX: Backend("ONNX FP32", _load_onnx(_find_onnx_fp32_file), lambda folder, graph: [onnx_fp32_file(graph)]),
    ONNX_INT8: Backend(
        "ONNX INT8", _load_onnx(find_onnx_int8_file), lambda folder, graph: [find_onnx_int8_file(folder, graph)]
    ),
    OPENVINO: Backend(
        "OpenVINO INT8",
        _load_openvino,
        _openvino_files,
        (OPENVINO_PACKAGE,),
        "requirements-openvino.txt",
        own_threads=True,
    ),
}
REFERENCE = next(name for name, backend in BACKENDS.items() if backend.is_reference)
"""The checkpoint itself: the other backends are proven against it."""
EXPORTED = (ONNX_INT8, OPENVINO, ONNX)
"""The backends of exported files; those that need less memory and start sooner come first."""
