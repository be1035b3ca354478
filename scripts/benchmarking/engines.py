"""The engines that a benchmark compares: each described as data, and loaded by name in a process of its own.

What is measured is what the service does: Dikte's own engines come from `app.asr.load_engine`, and every other runtime
is put into the same `CtcEngine`, so that scaling, silence and log-probabilities are in the time of all. Runtimes are
imported by the loaders only: a process holds the one that it measures and no other.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.artifacts import open_artifact
from app.asr import BACKENDS, PYTORCH_WEIGHTS, Engine, load_engine
from app.engines.ctc import CtcEngine


@dataclass(frozen=True)
class EngineSpec:
    """What to load and how it is called in the report.

    key: short name. loader: a key of `LOADERS`. settings: folder with `config.json` and the tokenizer's files.
    files: what the engine reads its weights and graph from, counted as its size. backend: a key of `BACKENDS`, for the
    loader "backend". own: one of Dikte's engines, not something to compare with.
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
        """Size on disk of what is loaded."""
        return sum(path.stat().st_size for path in self.files)


@dataclass(frozen=True)
class OwnEngine:
    """An engine of the service as the benchmark meets it: its title, and the file that it reads of an artifact.

    needs: the package without which it cannot run. beside: it is also measured when its file lies beside another's that
    was named.
    """

    backend: str
    title: str
    file_name: str
    needs: str
    beside: bool = False


OWN_ENGINES = (
    OwnEngine("onnx", "Dikte ONNX FP32", "model.onnx", "onnxruntime"),
    OwnEngine("onnx_int8", "Dikte ONNX INT8", "model_int8.onnx", "onnxruntime"),
    OwnEngine("openvino", "Dikte OpenVINO INT8", "model_openvino_int8.xml", "openvino", beside=True),
)
"""Besides PyTorch, which reads the checkpoint. Each is measured when its file is there and its package installed."""


def pytorch_spec(checkpoint: Path) -> EngineSpec:
    """The checkpoint as it is, in float32."""
    return EngineSpec("pytorch", "PyTorch FP32", "backend", checkpoint, weights_of(checkpoint), "pytorch", own=True)


def own_spec(engine: OwnEngine, path: Path, checkpoint: Path) -> EngineSpec:
    """The engine on the file `path`.

    A file under its usual name in an artifact is loaded as the service loads it. Any other file for ONNX Runtime is
    loaded with the settings of its folder or, if there are none, of the checkpoint. Raises FileNotFoundError if it is
    not there, and ValueError if it is for another runtime and not in an artifact.
    """
    files = model_files(path)
    has_settings = (path.parent / "config.json").is_file()
    if has_settings and path.name == engine.file_name:
        return EngineSpec(engine.backend, engine.title, "backend", path.parent, files, engine.backend, own=True)
    if engine.needs != "onnxruntime":
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


def model_files(path: Path) -> tuple[Path, ...]:
    """A model file and the files that hold its weights, if it has such: `.onnx_data`, `.onnx.data`, `.bin` for `.xml`.

    Raises FileNotFoundError if it is not there.
    """
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    beside = [path.with_name(path.name + "_data"), path.with_name(path.name + ".data")]
    if path.suffix == ".xml":
        beside.append(path.with_suffix(".bin"))
    return (path, *(other for other in beside if other.is_file()))


def weights_of(checkpoint: Path) -> tuple[Path, ...]:
    """The files that transformers takes the weights from: safetensors if there are any."""
    for pattern in PYTORCH_WEIGHTS:
        if found := sorted(checkpoint.glob(pattern)):
            return tuple(found)
    raise FileNotFoundError(f"there are no PyTorch weights in {checkpoint}")


def _backend(spec: EngineSpec, threads: int, callers: int) -> Engine:
    return load_engine(open_artifact(spec.settings), spec.backend, threads)


def _onnx_file(spec: EngineSpec, threads: int, callers: int) -> Engine:
    from app.engines.onnx import OnnxRuntime

    return CtcEngine(open_artifact(spec.settings), OnnxRuntime(spec.files[0], threads))


class _PlainOnnxFile:
    """A session as most services make it: ONNX Runtime's own settings, but for the number of threads."""

    ragged = False

    def __init__(self, path: Path, threads: int) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        self._session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    def __call__(self, input_values: NDArray[np.float32], lengths: NDArray[np.int64]) -> NDArray[np.float32]:
        """(1, samples) float32 -> logits (1, frames, vocabulary) float32."""
        (logits,) = self._session.run(None, {self._session.get_inputs()[0].name: input_values})
        return np.asarray(logits, dtype=np.float32)


def _plain_onnx_file(spec: EngineSpec, threads: int, callers: int) -> Engine:
    return CtcEngine(open_artifact(spec.settings), _PlainOnnxFile(spec.files[0], threads))


def _pytorch_bf16(spec: EngineSpec, threads: int, callers: int) -> Engine:
    import torch

    from app.engines.pytorch import PyTorchRuntime, load_model

    class Autocast(PyTorchRuntime):
        """The checkpoint with its matrix products and convolutions in bfloat16."""

        @torch.inference_mode()
        def __call__(self, input_values: NDArray[np.float32], lengths: NDArray[np.int64]) -> NDArray[np.float32]:
            torch.set_num_threads(self._threads)
            with torch.autocast("cpu", torch.bfloat16):
                logits = self._model(torch.from_numpy(input_values)).logits
            return np.asarray(logits.float().numpy(), dtype=np.float32)

    return CtcEngine(open_artifact(spec.settings), Autocast(load_model(spec.settings), threads))


class _OpenVinoFile:
    """A file that OpenVINO reads (.xml or .onnx) with one input and one output, with nothing of Dikte's done to it."""

    ragged = False

    def __init__(self, path: Path, precision: str, threads: int, callers: int) -> None:
        from app.engines.openvino import CORE

        self._compiled = CORE.compile_model(
            path,
            "CPU",
            {
                "INFERENCE_NUM_THREADS": threads * callers,  # of all streams together
                "NUM_STREAMS": callers,
                "INFERENCE_PRECISION_HINT": precision,
                "ENABLE_CPU_PINNING": False,  # pinned threads could not leave a core that another process keeps busy
            },
        )
        self._requests = threading.local()

    def __call__(self, input_values: NDArray[np.float32], lengths: NDArray[np.int64]) -> NDArray[np.float32]:
        """(1, samples) float32 -> logits (1, frames, vocabulary) float32."""
        if not hasattr(self._requests, "own"):
            self._requests.own = self._compiled.create_infer_request()
        request: Any = self._requests.own
        request.infer([input_values])
        return np.array(request.get_output_tensor().data, dtype=np.float32)


def _openvino_file(precision: str) -> Callable[[EngineSpec, int, int], Engine]:
    def load(spec: EngineSpec, threads: int, callers: int) -> Engine:
        return CtcEngine(open_artifact(spec.settings), _OpenVinoFile(spec.files[0], precision, threads, callers))

    return load


LOADERS: dict[str, Callable[[EngineSpec, int, int], Engine]] = {
    "backend": _backend,
    "onnx_file": _onnx_file,
    "plain_onnx_file": _plain_onnx_file,
    "pytorch_bf16": _pytorch_bf16,
    "openvino_bf16": _openvino_file("bf16"),
    # Where the INT8 model is not INT8, in bfloat16 too if the CPU can: OpenVINO's own default.
    "openvino_int8": _openvino_file("bf16"),
}
"""Name -> what loads an engine, given its spec, the threads of one call, and how many calls there will be at once."""


def load(spec: EngineSpec, threads: int, callers: int) -> Engine:
    """The engine that a spec describes. Raises whatever its runtime raises."""
    return LOADERS[spec.loader](spec, threads, callers)
