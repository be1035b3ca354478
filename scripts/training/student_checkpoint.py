"""Write the checkpoint of a student to a folder, made by the weights of its teacher alone, or on speech."""

from pathlib import Path
from random import Random

import torch
from torch import Tensor

from app.models import find_model_folder
from app.runtimes.registry import REFERENCE
from scripts.speech.data import DataError, SpeechRows
from scripts.training.batches import Collator, LengthBatchSampler, SpeechDataset
from scripts.training.checkpoints import CtcCheckpoint, load_with_head
from scripts.training.ctc_objective import DEFAULT_LANGUAGE, usable
from scripts.training.importance import Importance, importance
from scripts.training.students import Shape, make_student, student_config

CLIPS = 64
"""Clips that the importance is measured on, and that the weights are solved on."""
MIN_S, MAX_S = 0.5, 15.0
"""Limits of their durations, as in a training."""
BATCH_S = 48.0


def write_student(
    teacher: str | Path,
    shape: Shape,
    folder: Path,
    rows: SpeechRows | None = None,
    measured: Importance | None = None,
    *,
    reconstruct: bool = True,
    clips: int = CLIPS,
    language: str = DEFAULT_LANGUAGE,
    seed: int = 0,
) -> int:
    """Make a student of a CTC checkpoint, and write it to a folder with its tokenizer. Returns its parameter count.

    teacher: hub id or checkpoint folder. rows: speech with texts, of which `clips` random ones are used; without them,
    the student's parts are chosen by weights. measured: importance of the teacher's parts; it is measured on the rows
    by default. reconstruct: solve the student's weights anew on the rows (`scripts.training.reconstruction`). A GPU is
    used if there is one. language: ISO 639-1 code of the texts. Raises ArtifactError if the teacher does not exist or
    has no head, ValueError if it has no such student, and DataError if no row can be used.
    """
    checkpoint = load_with_head(find_model_folder(str(teacher), REFERENCE), language)
    student_config(checkpoint.model.config, shape)  # an impossible shape is refused before anything is measured
    model = checkpoint.model.to("cuda" if torch.cuda.is_available() else "cpu")  # type: ignore[arg-type]  # wrapped
    batches = [] if rows is None else batches_of(checkpoint, rows, clips, seed)
    if measured is None and batches:
        measured = importance(model, batches)
    student = make_student(model, shape, measured, inputs_of(batches) if reconstruct else ())
    checkpoint._replace(model=student).save(folder)
    return int(student.num_parameters())


def inputs_of(batches: list[dict[str, Tensor]]) -> list[Tensor]:
    """The clips of batches without their padding, each of shape (samples,), float32."""
    return [
        samples[: int(mask.sum())]
        for batch in batches
        for samples, mask in zip(batch["input_values"], batch["attention_mask"], strict=True)
    ]


def batches_of(checkpoint: CtcCheckpoint, rows: SpeechRows, clips: int, seed: int = 0) -> list[dict[str, Tensor]]:
    """Batches of random clips that the checkpoint can be trained on, at most `clips`; see `Collator`.

    Raises DataError if there is none.
    """
    kept = usable(rows, checkpoint.normalizer, MIN_S, MAX_S)
    Random(seed).shuffle(kept)
    if not kept:
        raise DataError(f"no clip has {MIN_S:g} to {MAX_S:g} s and letters that the model can output")
    chosen = rows.select(sorted(kept[:clips]))
    dataset = SpeechDataset(chosen, checkpoint.normalizer, checkpoint.tokenizer, checkpoint.feature_extractor)
    collate = Collator(checkpoint.feature_extractor)
    sampler = LengthBatchSampler(dataset.durations_s, BATCH_S, seed, shuffle=False)
    return [collate([dataset[index] for index in batch]) for batch in sampler]
