"""The teacher of a study, and the checkpoints that its students begin with."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel, Wav2Vec2CTCTokenizer, Wav2Vec2FeatureExtractor

from app.artifacts import CONFIG_NAME, ArtifactError, open_artifact
from app.families.ctc import MODEL_TYPES as CTC_TYPES
from app.families.ctc.checkpoint import load_checkpoint
from app.models import find_model_folder
from app.runtimes.registry import REFERENCE
from scripts.training.students import Shape, make_student


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


def write_student(teacher: Path, label: str, folder: Path) -> Mapping[str, Any]:
    """Write the checkpoint that a student begins with. label: of its shape. Returns its number of parameters.

    Raises ValueError if the teacher has no student of this shape.
    """
    model: PreTrainedModel = make_student(load_checkpoint(teacher).model, Shape.parse(label))
    model.save_pretrained(folder)
    Wav2Vec2CTCTokenizer.from_pretrained(teacher).save_pretrained(folder)
    Wav2Vec2FeatureExtractor.from_pretrained(teacher).save_pretrained(folder)
    return {"parameters": int(model.num_parameters())}
