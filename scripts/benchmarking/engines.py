"""The engines that a benchmark compares. Each is described by an `EngineSpec` and loaded by name in its own process.

Only the loaders import runtimes (`ctc_engines`, `whisper_engines`), so that a process holds the one that it measures
and no other.
"""

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

from app.models import Model
from app.recognizer import Samples
from app.runtimes.registry import BACKENDS, ONNX, ONNX_INT8, OPENVINO, PYTORCH, PYTORCH_WEIGHTS
from scripts.common.model_files import model_files

CTC, WHISPER = "ctc", "whisper"
"""The families that have a benchmark: `{family}_engines` has the loaders."""
OWN_BACKENDS = (ONNX, ONNX_INT8, OPENVINO)
"""The backends of an artifact that are measured besides PyTorch, which reads the checkpoint."""
OWN_LOADER = "backend"
"""The loader of Dikte's engines, in every family."""


@dataclass(frozen=True)
class EngineSpec:
    """What to load, and its names in the report.

    key: short name. loader: a key of the family's `LOADERS`. settings: folder with `config.json` and the files of the
    tokenizer. files: files of graph and weights, which count as the engine's size. backend: a key of `BACKENDS`, for
    the loader "backend". own: whether it is an engine of Dikte, as opposed to a baseline. language: ISO 639-1 code of
    the speech, for models that can be told. language_model: whether the text is that of the language model, if a CTC
    model has one.
    """

    key: str
    title: str
    family: str
    loader: str
    settings: Path
    files: tuple[Path, ...]
    backend: str = ""
    own: bool = False
    language: str = ""
    language_model: bool = True

    @property
    def size_bytes(self) -> int:
        """Size of its files on disk."""
        return sum(path.stat().st_size for path in self.files)


class Engine(Protocol):
    """An engine that is loaded. As many threads as were given to its loader call it at once."""

    def compute(self, samples: Samples) -> object:
        """Recognize a clip, shape (samples,), float32. The time of this call is measured."""
        ...

    def output(self, samples: Samples) -> Any:
        """What is compared with other engines: for CTC, the best token of each frame; for Whisper, the text."""
        ...

    def text(self, samples: Samples) -> str:
        """The text of a clip of any length."""
        ...


Loader = Callable[[EngineSpec, int, int], Engine]
"""Loads an engine, given the spec, the threads of one call, and the number of calls at once."""


def load(spec: EngineSpec, threads: int, callers: int) -> Engine:
    """Load the engine that a spec describes. Raises the errors of its runtime."""
    loaders: Mapping[str, Loader] = importlib.import_module(f"scripts.benchmarking.{spec.family}_engines").LOADERS
    return loaders[spec.loader](spec, threads, callers)


def own_title(backend: str) -> str:
    """The name of one of Dikte's engines in the report."""
    return f"Dikte {BACKENDS[backend].title}"


def checkpoint_spec(checkpoint: Path, family: str, language: str = "") -> EngineSpec:
    """The checkpoint itself, in float32, on PyTorch. Raises FileNotFoundError if it has no weights."""
    title = BACKENDS[PYTORCH].title
    weights = weights_of(checkpoint)
    return EngineSpec(PYTORCH, title, family, OWN_LOADER, checkpoint, weights, PYTORCH, own=True, language=language)


def artifact_spec(backend: str, model: Model, family: str, language: str = "") -> EngineSpec:
    """A backend of an artifact, loaded as the service loads it. Raises FileNotFoundError without its files."""
    folder = model.artifact.folder
    files = tuple(dict.fromkeys(path for name in model.files_of(backend) for path in model_files(folder / name)))
    title = own_title(backend)
    return EngineSpec(backend, title, family, OWN_LOADER, folder, files, backend, own=True, language=language)


def package_of(backend: str) -> str:
    """The package that a backend needs."""
    return BACKENDS[backend].packages[0]


def installed(module: str) -> bool:
    """Whether a module can be imported, without importing it; of a submodule, only the packages above it are."""
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # the package of a submodule
        return False


def weights_of(checkpoint: Path) -> tuple[Path, ...]:
    """The weight files that transformers reads: safetensors if there are any. Raises FileNotFoundError without any."""
    for pattern in PYTORCH_WEIGHTS:
        if found := sorted(checkpoint.glob(pattern)):
            return tuple(found)
    raise FileNotFoundError(f"there are no PyTorch weights in {checkpoint}")
