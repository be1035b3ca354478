"""The interface of the exporters, one for each model family: what `scripts/export.py` needs of a family."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol

from app.artifacts import Proof
from app.models import Model
from app.recognizer import AnyRecognizer
from scripts.exporting.graph_export import DYNAMIC, Quantization
from scripts.exporting.proofs import MAX_REFERENCE_WER, Limit
from scripts.speech.data import SpeechRows
from scripts.speech.scoring import ClipErrors

THREADS = 1
"""Threads of one engine, as in the service. Several clips are computed at once, to use all cores."""

Layout = Literal["dikte", "optimum"]
"""Which files are made: Dikte's own, or those that optimum makes."""


@dataclass(frozen=True)
class Options:
    """Options of the export and the proofs.

    name: of the model in answers; by default the name of the folder, or the previous name with `adopt`. eval_manifests:
    sets to prove on, for `load_speech`; by default the bundled samples. eval_limit: maximum number of clips of each
    set. audio_column, text_column: of these sets, if they are not detected. language: ISO 639-1 code of their texts.
    adopt: keep existing ONNX files, in whatever layout. layout: of the files that are made. fp16: round the weights of
    the float32 files to half precision; with `adopt`, it says that they already are. with_checkpoint: add the
    checkpoint to the artifact, in half precision. max_reference_wer: largest word error rate of the checkpoint itself
    (0.5 is 50 %). allow_unproven: write a manifest even if a proof fails. quantization: options of INT8. calibration:
    the set to calibrate on. openvino: make INT8 for OpenVINO too. language_model: copy that of a CTC checkpoint.
    """

    name: str = ""
    eval_manifests: tuple[str, ...] = ()
    eval_limit: int | None = None
    audio_column: str | None = None
    text_column: str | None = None
    language: str = "tr"
    adopt: bool = False
    layout: Layout = "dikte"
    fp16: bool = False
    with_checkpoint: bool = False
    max_reference_wer: float = MAX_REFERENCE_WER
    allow_unproven: bool = False
    quantization: Quantization = DYNAMIC
    calibration: str = ""
    openvino: bool = False
    language_model: bool = True


class FamilyProofs(NamedTuple):
    """What only one family proves.

    entries: further entries of the manifest. recognizers: by backend, as they will be served.
    """

    proofs: tuple[Proof, ...]
    entries: Mapping[str, Any]
    recognizers: Mapping[str, AnyRecognizer]


class Exporter(Protocol):
    """Makes and checks the files of one model family."""

    @property
    def settings_files(self) -> Sequence[str]:
        """Names of the checkpoint's files that an artifact needs besides the graphs."""
        ...

    @property
    def limits(self) -> Mapping[str, Sequence[Limit]]:
        """Backend -> its limits, for `prove`; those of all other backends under `OTHERS`."""
        ...

    def check_adoptable(self, folder: Path) -> None:
        """Raises ArtifactError if the folder has no float32 graphs that can be adopted."""
        ...

    def load(self, checkpoint: Path) -> Any:
        """The checkpoint's model, a transformers `PreTrainedModel`. Raises ArtifactError if weights are missing."""
        ...

    def make(self, model: Any, folder: Path, options: Options, before: Mapping[str, Any]) -> dict[str, Any]:
        """Make the ONNX files; with `options.adopt`, only the missing ones. May change the model.

        before: the previous manifest. Returns the manifest's entry on quantization. Raises ArtifactError if the model
        cannot be exported with these options.
        """
        ...

    def make_openvino(self, checkpoint: Path, folder: Path, options: Options) -> None:
        """Make the INT8 files of OpenVINO. Raises ArtifactError if a package that it needs is not installed."""
        ...

    def check(self, recognizer: AnyRecognizer) -> None:
        """Compute audio of several lengths. Raises ArtifactError if that fails."""
        ...

    def prove(
        self,
        checkpoint: Path,
        artifact: Model,
        recognizers: Mapping[str, AnyRecognizer],
        sets: Mapping[str, SpeechRows],
        options: Options,
        workers: int,
        errors: Mapping[str, Sequence[ClipErrors]],
    ) -> FamilyProofs:
        """Prove what only this family needs.

        workers: number of clips that are computed at once. errors: backend -> errors of each clip, set after set, as
        they were measured for all families.
        """
        ...
