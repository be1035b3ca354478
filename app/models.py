"""Opening a model: from a folder to recognizers that are loaded, warm, and say what was proven."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import numpy as np

from app.artifacts import Artifact, ArtifactError, open_artifact
from app.cores import BULK_NICENESS, lower_priority
from app.cpu import this_cpu
from app.evidence import read_evidence
from app.families import Family, open_family
from app.files import one_line
from app.recognizer import AnyRecognizer, Options, Samples, Window, Windowing
from app.runtimes.registry import BACKENDS, PYTORCH_WEIGHTS, REFERENCE

WARM_UP_S = 1.0
EXTERNAL_WEIGHTS = ("*.onnx_data", "*.onnx.data")
"""The names that exporters give to the weights of ONNX files above 2 GB."""
HUB_FILES = ["*.json", *PYTORCH_WEIGHTS]
"""What is fetched of a hub checkpoint, and that without its folders: language models of a gigabyte lie in some."""


@dataclass(frozen=True)
class Model:
    """An opened model folder: what is proven of it, and what its family reads in its settings."""

    artifact: Artifact
    family: Family

    def to_try(self) -> Self:
        """The same model with its own list of doubts, for a backend that may not be the one that serves."""
        return replace(self, artifact=replace(self.artifact, doubts=[*self.artifact.doubts]))

    def files_of(self, backend: str) -> list[str]:
        """Names of the files that a backend reads; those of weights beside an ONNX file are left out."""
        files_of = BACKENDS[backend].files
        return [name for graph in self.family.graphs for name in files_of(self.artifact.folder, graph)]


def open_model(folder: Path, allow_unproven: bool = False) -> Model:
    """Open a model folder and read its settings. Raises the errors of `open_artifact` and `open_family`."""
    artifact = open_artifact(folder, allow_unproven)
    return Model(artifact, open_family(artifact))


def load_recognizer(model: Model, backend: str, threads: int, windowing: Windowing = Windowing()) -> AnyRecognizer:
    """Load a model on `backend` (a key of `BACKENDS`), computing on `threads` threads per call.

    Raises the errors of `load_recognizers`.
    """
    (recognizer,) = load_recognizers(model, backend, [threads], windowing)
    return recognizer


def load_recognizers(
    model: Model, backend: str, threads: Sequence[int], windowing: Windowing = Windowing()
) -> list[AnyRecognizer]:
    """Load a model once, with a recognizer for each number of threads per call.

    Raises ArtifactError, saying what to install or to make, when it cannot run; UnprovenError if its files are not
    those of the manifest. It does not ask whether the backend is proven (`check_proofs` does): what is to be proven
    must run first.
    """
    artifact = model.artifact
    try:
        loaded = BACKENDS[backend].load(artifact, model.family, threads)
        return [model.family.recognizer(graphs, windowing) for graphs in loaded]
    except ArtifactError:
        raise
    except ImportError as error:
        raise ArtifactError(
            f"backend {backend!r} needs {error.name or one_line(error)}: pip install -r "
            f"{BACKENDS[backend].requirements}, or set ASR_BACKEND=auto"
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


@dataclass(frozen=True, eq=False)
class Lanes:
    """One model's recognizers: for the first window of a clip, for the later ones, and for a window that is alone.

    They may be one and the same. spreads: whether a call of `wide` takes several cores.
    """

    express: AnyRecognizer
    bulk: AnyRecognizer
    wide: AnyRecognizer
    spreads: bool = True

    @property
    def distinct(self) -> list[AnyRecognizer]:
        """Each recognizer once."""
        return list(dict.fromkeys((self.express, self.bulk, self.wide)))


def load_express(model: Model, backend: str, threads: int) -> AnyRecognizer:
    """The recognizer of the express lane, as `load_for_lanes` makes it. Raises the errors of `load_recognizers`."""
    return load_recognizer(model, backend, threads if BACKENDS[backend].own_threads else 1)


def load_for_lanes(model: Model, backend: str, threads: int, windowing: Windowing = Windowing()) -> Lanes:
    """The recognizers for both lanes of `app.scheduler`; `threads` compute a window that is alone.

    A runtime on the caller's thread has that thread's priority. One that starts threads of its own (OpenVINO) is loaded
    twice: as wide as it goes, where one call after the other is as good as several side by side; and for the bulk lane
    by a thread of low priority, whose threads inherit it.

    Raises the errors of `load_recognizers`.
    """
    if not BACKENDS[backend].own_threads:
        narrow, *others = load_recognizers(model, backend, sorted({1, threads}), windowing)
        return Lanes(narrow, narrow, others[0] if others else narrow, spreads=threads > 1)
    wide = load_recognizer(model, backend, threads, windowing)
    with ThreadPoolExecutor(1, initializer=lower_priority, initargs=(BULK_NICENESS,)) as pool:
        bulk = pool.submit(load_recognizer, model, backend, 1, windowing).result()
    return Lanes(wide, bulk, wide, spreads=threads > 1)


def check_proofs(model: Model, backend: str) -> None:
    """Look whether everything that was to be proven is, for this backend too.

    Raises UnprovenError if not, unless that is allowed. The reference is the checkpoint itself and needs no proof.
    """
    if backend != REFERENCE:
        model.artifact.check_proofs(backend)


def warm_up(recognizer: AnyRecognizer, artifact: Artifact) -> None:
    """Compute a second of noise, so that the first request is not the slow one, and check what comes out.

    Raises ArtifactError if it fails, or what was heard cannot come from a sane model.
    """
    window = warm_up_window(recognizer)
    recognizer.check(window, _hear(recognizer, window, artifact))


def warm_up_window(recognizer: AnyRecognizer) -> Window:
    """`WARM_UP_S` seconds of noise, always the same."""
    noise = np.random.default_rng(0).normal(0, 0.1, int(WARM_UP_S * recognizer.rate_hz)).astype(np.float32)
    return first_window(recognizer, noise)


def first_window(recognizer: AnyRecognizer, samples: Samples) -> Window:
    """The first window of a clip, shape (samples,), float32, that is not too short to have one."""
    return recognizer.windows(samples, Options())[0]


def check_evidence(recognizer: AnyRecognizer, artifact: Artifact, backend: str) -> None:
    """Compute a clip of the artifact's evidence, and compare with what the backend said of it when it was proven.

    Raises ArtifactError if it cannot be computed; UnprovenError, with the CPU in it, if the difference is above the
    limit that the manifest states, unless that is allowed. Without evidence of the backend there is nothing to compare
    with: whether it needs some, `Artifact.check_proofs` says.
    """
    clip = read_evidence(artifact, backend, recognizer.rate_hz)
    if clip is None:
        return
    heard = _hear(recognizer, first_window(recognizer, clip.samples), artifact)
    difference = recognizer.difference(clip.hypothesis, heard)
    if difference > clip.limit:
        artifact.doubt(
            f"on this CPU ({this_cpu()}) {backend} does not say what it said when it was proven: probabilities differ "
            f"by {difference:.3f} on average, {clip.limit:g} is the limit"
        )


def _hear(recognizer: AnyRecognizer, window: Window, artifact: Artifact) -> object:
    try:
        return recognizer.hear([window], Options())[0]
    except Exception as error:  # each runtime has errors of its own
        raise ArtifactError(f"the model in {artifact.folder} cannot run: {error}") from error


def find_model_folder(name: str, backend: str) -> Path:
    """The folder of a model: `name` itself, or for the reference the local copy of the hub's checkpoint `name`.

    Raises ArtifactError when there is neither.
    """
    folder = Path(name)
    if folder.is_dir() or backend != REFERENCE:
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
