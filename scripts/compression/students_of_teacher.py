"""The teacher of a study, and the checkpoints that its students begin with."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from app.artifacts import CONFIG_NAME, ArtifactError, open_artifact
from app.families.ctc import MODEL_TYPES as CTC_TYPES
from app.families.ctc.checkpoint import load_checkpoint
from app.models import find_model_folder
from app.runtimes.registry import REFERENCE
from scripts.speech.data import SpeechRows, load_speech
from scripts.training.checkpoints import load_with_head
from scripts.training.importance import Importance, importance
from scripts.training.student_checkpoint import CLIPS, batches_of, write_student
from scripts.training.students import Shape

IMPORTANCE = "importance.safetensors"


class StudyError(Exception):
    """The study cannot go on. The message says why, and what to do."""


def find_teacher(name: str) -> Path:
    """The folder of a teacher. name: checkpoint folder or hub id. Raises StudyError if it cannot be a teacher."""
    try:
        folder = find_model_folder(name, REFERENCE)
        model_type = open_artifact(folder).read_json(CONFIG_NAME).get("model_type")
    except (ArtifactError, OSError, ValueError) as error:
        raise StudyError(f"{name} cannot be a teacher: {error}") from error
    if model_type not in CTC_TYPES:
        raise StudyError(
            f"{name} is a {model_type} model: only CTC models have students here. For Whisper, fine-tune a published "
            "smaller model such as Distil-Whisper with scripts/train.py, and compare with scripts/benchmark.py"
        )
    return folder


def config_of(folder: Path) -> Any:
    """The transformers config of a checkpoint."""
    return load_checkpoint(folder).model.config


def rows_of(dataset_name: str, audio_column: str | None = None, text_column: str | None = None) -> SpeechRows:
    """The rows that students are made on. Arguments and errors as `write_importance`."""
    rows = load_speech(dataset_name, None, audio_column, text_column)
    return rows.get("train") or next(iter(rows.values()))


def write_importance(
    teacher: Path,
    dataset_name: str,
    language: str,
    folder: Path,
    *,
    audio_column: str | None = None,
    text_column: str | None = None,
) -> Mapping[str, Any]:
    """Measure how important the parts of a teacher are for its loss on a few clips, and write that to `folder`.

    dataset_name: what the study trains on. language: ISO 639-1 code of its texts. audio_column, text_column: names of
    the columns; None to detect them. A GPU is used if there is one. Returns the number of clips. Raises DataError if
    the data cannot be read, or if no clip can be used.
    """
    checkpoint = load_with_head(teacher, language)
    model = checkpoint.model.to("cuda" if torch.cuda.is_available() else "cpu")  # type: ignore[arg-type]  # wrapped
    batches = batches_of(checkpoint, rows_of(dataset_name, audio_column, text_column), CLIPS)
    importance(model, batches).save(folder / IMPORTANCE)
    return {"clips": sum(len(batch["labels"]) for batch in batches)}


def write_first_student(
    teacher: Path,
    label: str,
    folder: Path,
    importance: Path,
    rows: Callable[[], SpeechRows] | None,
    language: str,
) -> Mapping[str, Any]:
    """Write the checkpoint that a student begins with. label: of its shape. Returns its number of parameters.

    importance: folder that `write_importance` wrote. rows: speech that the weights are solved on; None to cut them out
    of the teacher's. language: as `write_importance`. Raises ValueError if the teacher has no student of this shape,
    and DataError.
    """
    measured = Importance.load(importance / IMPORTANCE)
    speech = None if rows is None else rows()
    return {"parameters": write_student(teacher, Shape.parse(label), folder, speech, measured, language=language)}
