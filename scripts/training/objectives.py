"""The objectives of `train.py`, by model family."""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from app.artifacts import CONFIG_NAME, ArtifactError, open_artifact
from app.families.whisper import MODEL_TYPE as WHISPER
from app.models import find_model_folder
from app.runtimes.registry import REFERENCE
from scripts.speech.data import DataError
from scripts.training.checkpoints import SMALL_CONFIGS
from scripts.training.ctc_objective import DEFAULT_LANGUAGE, CtcObjective, CtcOptions
from scripts.training.distillation import DistillationOptions
from scripts.training.distillation_objective import DistillationObjective
from scripts.training.objective import Objective
from scripts.training.whisper_objective import WhisperObjective, WhisperOptions


def load_objective(name: str, texts: list[str], options: Mapping[str, Any]) -> Objective:
    """Load a checkpoint for the training of its family.

    name: hub id, checkpoint folder, or a key of `SMALL_CONFIGS`. texts: of the training rows. options: values of the
    fields of all families' options. Raises DataError if the checkpoint cannot be trained, or not with these options.
    """
    try:
        folder = None if name in SMALL_CONFIGS else find_model_folder(name, REFERENCE)
        if folder is not None and open_artifact(folder).read_json(CONFIG_NAME).get("model_type") == WHISPER:
            for others in (CtcOptions, DistillationOptions):
                refuse_options(name, options, others, WhisperOptions)
            return WhisperObjective(folder, WhisperOptions(**chosen(options, WhisperOptions)))
        refuse_options(name, options, WhisperOptions, CtcOptions)
        options = {**options, "language": options["language"] or DEFAULT_LANGUAGE}
        ctc = CtcOptions(**chosen(options, CtcOptions))
        distillation = DistillationOptions(**chosen(options, DistillationOptions))
        if distillation.teacher is None:
            return CtcObjective(name, texts, ctc)
        return DistillationObjective(name, texts, distillation, ctc)
    except (ArtifactError, OSError, ValueError) as error:  # it is missing, unreachable, incomplete, or unsupported
        raise DataError(f"{name} cannot be trained: {error}") from error


def chosen(options: Mapping[str, Any], own: type[Any]) -> dict[str, Any]:
    """The options that a family has. own: its class of options."""
    return {field.name: options[field.name] for field in fields(own)}


def refuse_options(name: str, options: Mapping[str, Any], others: type[Any], own: type[Any]) -> None:
    """Raises DataError if an option is set that only the other family has. others, own: classes of options."""
    known = {field.name for field in fields(own)}
    for field in fields(others):
        if field.name not in known and options[field.name] != field.default:
            raise DataError(f"{name} is of a family that has no --{field.name}")
