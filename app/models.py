"""Opens a model: from a folder to recognizers that are loaded, warmed up and checked against the evidence."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
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
from app.recognizer import UNCHECKED, AnyRecognizer, Window, Windowing
from app.runtimes.registry import BACKENDS, PYTORCH_WEIGHTS, REFERENCE

WARM_UP_S = 1.0
EXTERNAL_WEIGHTS = ("*.onnx_data", "*.onnx.data")
"""File names that exporters give to the external weights of ONNX files above 2 GB."""
HUB_FILES = ["*.json", "merges.txt", *PYTORCH_WEIGHTS]
"""Files fetched from a hub checkpoint. Subfolders are skipped: some hold the states of a training."""
HUB_LANGUAGE_MODEL = "language_model/*"
"""The subfolder with the language model of a CTC checkpoint, up to some gigabytes."""


@dataclass(frozen=True)
class Model:
    """An opened model folder: its manifest, and its settings as its family reads them."""

    artifact: Artifact
    family: Family

    def trial_copy(self) -> Self:
        """The same model with its own list of unproven reasons, for a backend that may not end up serving."""
        return replace(self, artifact=replace(self.artifact, unproven_reasons=[*self.artifact.unproven_reasons]))

    def files_of(self, backend: str) -> list[str]:
        """Names of the files that a backend reads, without external weights of ONNX files."""
        files_of = BACKENDS[backend].files
        return [name for graph in self.family.graphs for name in files_of(self.artifact.folder, graph)]


def open_model(folder: Path, allow_unproven: bool = False) -> Model:
    """Open a model folder and read its settings. Raises the errors of `open_artifact` and `open_family`."""
    artifact = open_artifact(folder, allow_unproven)
    return Model(artifact, open_family(artifact))


def load_recognizer(model: Model, backend: str, threads: int, windowing: Windowing = Windowing()) -> AnyRecognizer:
    """Load a model on `backend` (a key of `BACKENDS`), with `threads` threads per call.

    Raises the errors of `load_recognizers`.
    """
    (recognizer,) = load_recognizers(model, backend, [threads], windowing)
    return recognizer


def load_recognizers(
    model: Model, backend: str, threads: Sequence[int], windowing: Windowing = Windowing()
) -> list[AnyRecognizer]:
    """Load a model once, and make a recognizer for each number of threads per call.

    Raises ArtifactError, with what to install or to make, if it cannot run; UnprovenError if its files differ from the
    manifest. It does not check the proofs (`check_proofs` does): a model must run before it can be proven.
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
    """Names of external weights of ONNX files that are symbolic or hard links.

    Runtimes refuse some of them, because a link could make a model read a file that does not belong to it.
    """
    weights = sorted(path for pattern in EXTERNAL_WEIGHTS for path in folder.glob(pattern) if path.is_file())
    return [path.name for path in weights if path.is_symlink() or path.stat().st_nlink > 1]


@dataclass(frozen=True, eq=False)
class Lanes:
    """One model's recognizers: for the first window of a clip, for the later windows, and for a window that is alone.

    They may be the same object. spreads: whether a call of `wide` uses several cores.
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
    """The recognizers for both lanes of `app.scheduler`. threads: for a window that is alone.

    A runtime that computes on the caller's thread has that thread's priority. One that starts its own threads
    (OpenVINO) is loaded twice: once with all `threads`, because it gains nothing from calls side by side; and once for
    the bulk lane, on a thread of low priority that its own threads inherit.

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
    """Check that the manifest proves the model, on this backend too.

    Raises UnprovenError if not, unless that is allowed. The reference is the checkpoint itself and needs no proof.
    """
    if backend != REFERENCE:
        model.artifact.check_proofs(backend)


def warm_up(recognizer: AnyRecognizer, artifact: Artifact) -> None:
    """Compute a second of noise, so that the first request is not slow, and check the output.

    Raises ArtifactError if it fails or the output cannot come from a working model.
    """
    window = warm_up_window(recognizer)
    with _errors_of(artifact):
        (output,) = recognizer.compute([window], UNCHECKED)
    recognizer.check(window, output)


def warm_up_window(recognizer: AnyRecognizer) -> Window:
    """`WARM_UP_S` seconds of noise, always the same."""
    noise = np.random.default_rng(0).normal(0, 0.1, int(WARM_UP_S * recognizer.rate_hz)).astype(np.float32)
    return Window(noise)


def check_evidence(recognizer: AnyRecognizer, artifact: Artifact, backend: str) -> None:
    """Compute a clip of the artifact's evidence, and compare the output with the one recorded in the manifest.

    Raises ArtifactError if it cannot be computed; UnprovenError, which names the CPU, if the difference exceeds the
    limit in the manifest, unless that is allowed. Without evidence for the backend there is nothing to compare; whether
    evidence is required is decided by `Artifact.check_proofs`.
    """
    clip = read_evidence(artifact, backend, recognizer.rate_hz)
    if clip is None:
        return
    with _errors_of(artifact):
        difference = recognizer.difference(clip.hypothesis, Window(clip.samples))
    if difference > clip.limit:
        artifact.note_unproven(
            f"on this CPU ({this_cpu()}) {backend} does not reproduce the output that was proven: probabilities differ "
            f"by {difference:.3f} on average, {clip.limit:g} is the limit"
        )


@contextmanager
def _errors_of(artifact: Artifact) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # each runtime has errors of its own
        raise ArtifactError(f"the model in {artifact.folder} cannot run: {error}") from error


def find_model_folder(name: str, backend: str, language_model: bool = False) -> Path:
    """The folder of a model: `name` itself or, for the reference backend, the local copy of the hub checkpoint `name`.

    language_model: fetch that of the checkpoint, too, which can be larger than its weights; decoding needs it, training
    does not. Raises ArtifactError if there is neither.
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
        fetched = Path(snapshot_download(name, allow_patterns=HUB_FILES, ignore_patterns="*/*"))
        if language_model:  # patterns of one call cannot say "no subfolder but this"; the folder's name is the revision
            snapshot_download(name, revision=fetched.name, allow_patterns=HUB_LANGUAGE_MODEL)
        return fetched
    except (HfHubHTTPError, HFValidationError, OSError) as error:
        raise ArtifactError(f"{name} is neither a folder nor a checkpoint that the hub gives out: {error}") from error
