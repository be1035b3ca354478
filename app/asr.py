"""What an engine is, and which there are."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from fnmatch import fnmatch
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np

from app.artifacts import Artifact, ArtifactError
from app.cores import BULK_NICENESS, lower_priority
from app.cpu import this_cpu
from app.decoding import Emissions
from app.engines.ctc import CtcEngine
from app.evidence import read_evidence
from app.files import one_line
from app.windows import Samples

WARM_UP_S = 1.0
PYTORCH_WEIGHTS = ("model*.safetensors", "pytorch_model*.bin")
"""The names that transformers gives to weights, whole or in parts."""
EXTERNAL_WEIGHTS = ("*.onnx_data", "*.onnx.data")
"""The names that exporters give to the weights of ONNX files above 2 GB."""
HUB_FILES = ["*.json", *PYTORCH_WEIGHTS]
"""What is fetched of a hub checkpoint, and that without its folders: language models of a gigabyte lie in some."""
ONNX_FP32, ONNX_INT8 = "model.onnx", "model_int8.onnx"
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

    Raises the errors of `load_engines`.
    """
    (engine,) = load_engines(artifact, backend, [threads])
    return engine


def load_engines(artifact: Artifact, backend: str, threads: Sequence[int]) -> list[Engine]:
    """Make an engine for each number of threads per call, of the same model.

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
            f"backend {backend!r} needs {error.name or one_line(error)}: pip install -r "
            f"{BACKENDS[backend].requirements}, or set ASR_BACKEND=onnx_int8"
        ) from error
    except Exception as error:  # each runtime has errors of its own for a file it cannot read
        reason = f"backend {backend!r} cannot load {artifact.folder}: {one_line(error)}"
        if linked := linked_weights(artifact.folder):
            reason += f" ({', '.join(linked)}: weights that are links; make a copy without links, with cp -rL, to load)"
        raise ArtifactError(reason) from error


def linked_weights(folder: Path) -> list[str]:
    """Names of the weights beside ONNX files that are symbolic links, or have other names too (hard links).

    Runtimes refuse some of them, for a model could so have a file read that is no part of it.
    """
    weights = sorted(path for pattern in EXTERNAL_WEIGHTS for path in folder.glob(pattern) if path.is_file())
    return [path.name for path in weights if path.is_symlink() or path.stat().st_nlink > 1]


class Engines(NamedTuple):
    """One model's engines: for the first window of a clip, for the later ones, and for a window that is alone.

    They may be one and the same. batches: whether `express` computes several windows at once faster than one by one.
    spreads: whether a call of `wide` takes several cores.
    """

    express: Engine
    bulk: Engine
    wide: Engine
    batches: bool = False
    spreads: bool = True

    @property
    def distinct(self) -> list[Engine]:
        """Each engine once."""
        return list(dict.fromkeys((self.express, self.bulk, self.wide)))


def load_express(artifact: Artifact, backend: str, threads: int) -> Engine:
    """The engine of the express lane, as `load_for_lanes` makes it. Raises the errors of `load_engines`."""
    return load_engine(artifact, backend, threads if BACKENDS[backend].own_threads else 1)


def load_for_lanes(artifact: Artifact, backend: str, threads: int) -> Engines:
    """The engines for both lanes of `app.scheduler`; `threads` compute a window that is alone.

    An engine on the caller's thread has that thread's priority. One that starts threads of its own (OpenVINO) is made
    twice: as wide as it goes, where one call after the other is as good as several side by side; and for the bulk lane
    by a thread of low priority, whose threads inherit it.

    Raises the errors of `load_engines`.
    """
    if not BACKENDS[backend].own_threads:
        narrow, *others = load_engines(artifact, backend, sorted({1, threads}))
        batches = isinstance(narrow, CtcEngine) and narrow.batches
        return Engines(narrow, narrow, others[0] if others else narrow, batches, spreads=threads > 1)
    wide = load_engine(artifact, backend, threads)
    with ThreadPoolExecutor(1, initializer=lower_priority, initargs=(BULK_NICENESS,)) as pool:
        bulk = pool.submit(load_engine, artifact, backend, 1).result()
    return Engines(wide, bulk, wide, spreads=threads > 1)


def warm_up(engine: Engine, artifact: Artifact) -> None:
    """Run a second of noise, so that the first request is not the slow one, and check what comes out.

    Raises ArtifactError if it fails, or the emissions are not log-probabilities of the expected shape.
    """
    noise = warm_up_samples(artifact)
    try:
        (emissions,) = engine.emissions([noise])
    except Exception as error:  # each runtime has errors of its own
        raise ArtifactError(f"the model in {artifact.folder} cannot run: {error}") from error
    check_sane(emissions, len(noise), artifact)


def check_evidence(engine: Engine, artifact: Artifact, backend: str) -> None:
    """Compute a clip of the artifact's evidence, and compare with what the backend said of it when it was proven.

    Raises ArtifactError if it cannot be computed; UnprovenError, with the CPU in it, if the difference is above the
    limit that the manifest states, unless that is allowed. Without evidence of the backend there is nothing to compare
    with: whether it needs some, `Artifact.check_proofs` says.
    """
    clip = read_evidence(artifact, backend)
    if clip is None:
        return
    try:
        (emissions,) = engine.emissions([clip.samples])
    except Exception as error:  # each runtime has errors of its own
        raise ArtifactError(f"the model in {artifact.folder} cannot run: {error}") from error
    difference = clip.hypothesis.difference(emissions)
    if difference > clip.limit:
        artifact.doubt(
            f"on this CPU ({this_cpu()}) {backend} does not say what it said when it was proven: probabilities differ "
            f"by {difference:.3f} on average, {clip.limit:g} is the limit"
        )


def warm_up_samples(artifact: Artifact) -> Samples:
    """`WARM_UP_S` seconds of noise at the model's rate, always the same. Shape (samples,), float32."""
    length = int(WARM_UP_S * artifact.features.sample_rate_hz)
    return np.random.default_rng(0).normal(0, 0.1, length).astype(np.float32)


def check_sane(emissions: Emissions, samples: int, artifact: Artifact) -> None:
    """Raises ArtifactError if the emissions of so many samples are not log-probabilities of the expected shape."""
    expected = (artifact.framing.frames(samples), len(artifact.vocabulary.tokens))
    if emissions.shape != expected:
        raise ArtifactError(f"the model gave emissions of shape {emissions.shape}, its settings say {expected}")
    if not np.allclose(np.exp(emissions).sum(axis=1), 1.0, atol=1e-3):
        raise ArtifactError("the model gave emissions that are not probabilities")


Load = Callable[[Artifact, Sequence[int]], list[Engine]]
"""Makes an engine for each number of threads per call."""


def _onnx(file_name: str) -> Load:
    def load(artifact: Artifact, threads: Sequence[int]) -> list[Engine]:
        from app.engines.onnx import OnnxRuntime

        path = artifact.file(file_name)
        return [CtcEngine(artifact, OnnxRuntime(path, number)) for number in threads]

    return load


def _pytorch(artifact: Artifact, threads: Sequence[int]) -> list[Engine]:
    from app.engines.pytorch import PyTorchRuntime, load_model

    for name in artifact.files:
        if any(fnmatch(name, pattern) for pattern in PYTORCH_WEIGHTS):
            artifact.verify(name)
    model = load_model(artifact.folder)
    return [CtcEngine(artifact, PyTorchRuntime(model, number)) for number in threads]


def _openvino(artifact: Artifact, threads: Sequence[int]) -> list[Engine]:
    from app.engines.openvino import OpenVinoRuntime

    path, *weights = _openvino_files(artifact.folder)
    for name in weights:
        artifact.file(name)
    model = artifact.file(path)
    return [CtcEngine(artifact, OpenVinoRuntime(model, artifact.framing, number)) for number in threads]


def _openvino_files(folder: Path) -> list[str]:
    return [OPENVINO_INT8, OPENVINO_INT8_WEIGHTS] if (folder / OPENVINO_INT8).is_file() else [ONNX_FP32]


def _pytorch_files(folder: Path) -> list[str]:
    found = sorted(path.name for pattern in PYTORCH_WEIGHTS for path in folder.glob(pattern))
    return found or [PYTORCH_WEIGHTS[0]]


class Backend(NamedTuple):
    """How engines are made, the names of the files that they read, and what has to be installed.

    files: given a model folder, the names there; those of weights beside an ONNX file are left out. requirements: the
    file that names the packages. own_threads: it computes on threads that it starts when it is loaded, not on the
    caller's.
    """

    load: Load
    files: Callable[[Path], list[str]]
    packages: tuple[str, ...] = ("onnxruntime",)
    requirements: str = "requirements.txt"
    own_threads: bool = False


BACKENDS = {
    "pytorch": Backend(_pytorch, _pytorch_files, ("torch", "transformers"), "requirements-train.txt"),
    "onnx": Backend(_onnx(ONNX_FP32), lambda folder: [ONNX_FP32]),
    "onnx_int8": Backend(_onnx(ONNX_INT8), lambda folder: [ONNX_INT8]),
    "openvino": Backend(_openvino, _openvino_files, ("openvino",), "requirements-openvino.txt", own_threads=True),
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
