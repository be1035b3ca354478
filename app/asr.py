"""What an engine is, and which there are."""

from collections.abc import Callable, Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np

from app.artifacts import Artifact, ArtifactError
from app.decoding import Emissions
from app.engines.ctc import CtcEngine
from app.windows import Samples

WARM_UP_S = 1.0
PYTORCH_WEIGHTS = ("model*.safetensors", "pytorch_model*.bin")
"""The names that transformers gives to weights, whole or in parts."""
HUB_FILES = ["*.json", *PYTORCH_WEIGHTS]
"""What is fetched of a hub checkpoint, and that without its folders: language models of a gigabyte lie in some."""
OPENVINO_INT8, OPENVINO_INT8_WEIGHTS = "model_openvino_int8.xml", "model_openvino_int8.bin"
"""What `export.py --openvino` makes."""


class Engine(Protocol):
    """Turns sound into emissions. Implementations may be called from several threads at once."""

    def emissions(self, windows: Sequence[Samples]) -> list[Emissions]:
        """Log-probabilities, shape (frames, vocabulary), float32, of each window of samples, shape (samples,).

        What comes out for a window does not depend on the windows beside it.
        """
        ...


def load_engine(artifact: Artifact, backend: str, threads: int) -> Engine:
    """Make the engine `backend` (a key of `BACKENDS`) of an artifact, computing on `threads` threads per call.

    Raises ArtifactError, saying what to install or to make, when it cannot run; UnprovenError if its files are not
    those of the manifest. It does not ask whether the backend is proven (`Artifact.check_proofs` does): what is to be
    proven must run first.
    """
    try:
        return BACKENDS[backend].load(artifact, threads)
    except ArtifactError:
        raise
    except ImportError as error:
        raise ArtifactError(
            f"backend {backend!r} needs {error.name}: pip install -r {BACKENDS[backend].requirements}, or set "
            "ASR_BACKEND=onnx_int8"
        ) from error
    except Exception as error:  # each runtime has errors of its own for a file it cannot read
        raise ArtifactError(f"backend {backend!r} cannot load {artifact.folder}: {error}") from error


def warm_up(engine: Engine, artifact: Artifact) -> None:
    """Run a second of noise, so that the first request is not the slow one, and check what comes out.

    Raises ArtifactError if it fails, or the emissions are not log-probabilities of the expected shape.
    """
    rate_hz = artifact.features.sample_rate_hz
    noise = np.random.default_rng(0).normal(0, 0.1, int(WARM_UP_S * rate_hz)).astype(np.float32)
    try:
        (emissions,) = engine.emissions([noise])
    except Exception as error:  # each runtime has errors of its own
        raise ArtifactError(f"the model in {artifact.folder} cannot run: {error}") from error
    expected = (artifact.framing.frames(len(noise)), len(artifact.vocabulary.tokens))
    if emissions.shape != expected:
        raise ArtifactError(f"the model gave emissions of shape {emissions.shape}, its settings say {expected}")
    if not np.allclose(np.exp(emissions).sum(axis=1), 1.0, atol=1e-3):
        raise ArtifactError("the model gave emissions that are not probabilities")


def _onnx(file_name: str) -> Callable[[Artifact, int], Engine]:
    def load(artifact: Artifact, threads: int) -> Engine:
        from app.engines.onnx import OnnxRuntime

        return CtcEngine(artifact, OnnxRuntime(artifact.file(file_name), threads))

    return load


def _pytorch(artifact: Artifact, threads: int) -> Engine:
    from app.engines.pytorch import PyTorchRuntime

    for name in artifact.files:
        if any(fnmatch(name, pattern) for pattern in PYTORCH_WEIGHTS):
            artifact.verify(name)
    return CtcEngine(artifact, PyTorchRuntime(artifact.folder, threads))


def _openvino(artifact: Artifact, threads: int) -> Engine:
    from app.engines.openvino import OpenVinoRuntime

    name = "model.onnx"
    if (artifact.folder / OPENVINO_INT8).is_file():
        name = OPENVINO_INT8
        artifact.file(OPENVINO_INT8_WEIGHTS)
    return CtcEngine(artifact, OpenVinoRuntime(artifact.file(name), artifact.framing, threads))


class Backend(NamedTuple):
    """How an engine is made, computing on so many threads per call, and the file that names what it needs."""

    load: Callable[[Artifact, int], Engine]
    requirements: str = "requirements.txt"


BACKENDS = {
    "pytorch": Backend(_pytorch, "requirements-train.txt"),
    "onnx": Backend(_onnx("model.onnx")),
    "onnx_int8": Backend(_onnx("model_int8.onnx")),
    "openvino": Backend(_openvino, "requirements-openvino.txt"),
}


def find_model_folder(name: str, backend: str) -> Path:
    """The folder of a model: `name` itself, or for PyTorch the local copy of the hub's checkpoint `name`.

    Raises ArtifactError when there is neither.
    """
    folder = Path(name)
    if folder.is_dir() or backend != "pytorch":
        return folder
    try:
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import HfHubHTTPError, HFValidationError
    except ImportError as error:
        raise ArtifactError("a hub checkpoint needs huggingface_hub: pip install -r requirements-train.txt") from error
    try:
        return Path(snapshot_download(name, allow_patterns=HUB_FILES, ignore_patterns="*/*"))
    except (HfHubHTTPError, HFValidationError, OSError) as error:
        raise ArtifactError(f"{name} is neither a folder nor a checkpoint that the hub gives out: {error}") from error
