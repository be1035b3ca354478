"""Trains a CTC model to output what another one does, from audio with or without transcripts."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch.utils.tensorboard import SummaryWriter
from transformers import PreTrainedModel

from app.artifacts import ArtifactError
from app.models import find_model_folder
from app.runtimes.registry import REFERENCE
from scripts.speech.data import DataError, SpeechRows
from scripts.training.checkpoints import CtcCheckpoint, load_with_head
from scripts.training.ctc_objective import CtcObjective, CtcOptions, faster_on_cpus, usable
from scripts.training.distillation import DistillationOptions, HiddenProjections
from scripts.training.distillation_trainer import PROJECTIONS, DistillationTrainer
from scripts.training.squeeze import leave_out_rest


class DistillationObjective(CtcObjective):
    """The `Objective` of a student with a teacher.

    name: of the student, as for `CtcObjective`; a new head gets the tokens of the teacher. Raises the errors of
    `load_for_training`, and DataError if the teacher cannot be loaded or does not suit the student.
    """

    def __init__(
        self, name: str, texts: list[str], distillation: DistillationOptions, options: CtcOptions = CtcOptions()
    ) -> None:
        assert distillation.teacher is not None
        if options.alphabet:
            raise DataError("--alphabet does not go with --teacher: the student has the letters of its teacher")
        teacher = load_teacher(distillation.teacher, options.language)
        super().__init__(name, texts, options, tokens_of=teacher)
        check_teacher(teacher, self._checkpoint)
        self.options |= asdict(distillation)
        self._distillation, self._teacher = distillation, teacher.model
        faster_on_cpus(self._teacher)
        leave_out_rest(self._teacher)
        config, wanted = self.model.config, self._teacher.config
        if distillation.hidden_weight and config.hidden_size != wanted.hidden_size:
            sizes = (config.num_hidden_layers, config.hidden_size, wanted.hidden_size)
            self.model.add_module(PROJECTIONS, HiddenProjections(*sizes))

    def usable(self, rows: SpeechRows, min_s: float, max_s: float, *, evaluation: bool = False) -> list[int]:
        """Indices of the rows that are not too short or too long. Those to evaluate on need letters."""
        return usable(rows, self._checkpoint.normalizer, min_s, max_s, without_text=not evaluation)

    def trainer(self, writer: SummaryWriter, **options: Any) -> DistillationTrainer:
        """A trainer with the loss of distillation."""
        return DistillationTrainer(
            teacher=self._teacher, distillation=self._distillation, **self.trainer_options(writer, options)
        )

    def save(self, folder: Path) -> None:
        """Write a checkpoint without the projections of the hidden states."""
        if hasattr(self.model, PROJECTIONS):
            delattr(self.model, PROJECTIONS)
        super().save(folder)


def load_teacher(name: str, language: str) -> CtcCheckpoint:
    """Load a trained CTC checkpoint. Raises DataError if there is none, or if it has no head."""
    try:
        return load_with_head(find_model_folder(name, REFERENCE), language)
    except (ArtifactError, OSError, ValueError) as error:
        raise DataError(f"{name} cannot be a teacher: {error}") from error


def check_teacher(teacher: CtcCheckpoint, student: CtcCheckpoint) -> None:
    """Raise DataError unless teacher and student have the same tokens, input and frames."""
    if tokens_of(teacher) != tokens_of(student):
        raise DataError("the teacher has other tokens than the student, or another blank")
    if input_of(teacher) != input_of(student):
        raise DataError("the teacher takes audio at another sample rate or another scale than the student")
    rate_hz = int(teacher.feature_extractor.sampling_rate)
    ours, theirs = (frame_counts(checkpoint.model, rate_hz) for checkpoint in (student, teacher))
    if not torch.equal(ours, theirs):
        raise DataError(
            f"the teacher has {int(theirs[-1])} frames for 1 s of audio and the student {int(ours[-1])}: they need the "
            "same convolution kernels and strides"
        )


def tokens_of(checkpoint: CtcCheckpoint) -> tuple[dict[int, str], int]:
    """The tokens that have a logit, by id, and the id of the blank."""
    config: Any = checkpoint.model.config
    vocabulary = checkpoint.tokenizer.get_vocab()
    return {index: token for token, index in vocabulary.items() if index < config.vocab_size}, config.pad_token_id


def input_of(checkpoint: CtcCheckpoint) -> tuple[int, bool]:
    """Sample rate in Hz, and whether clips are scaled to zero mean and unit variance."""
    features = checkpoint.feature_extractor
    return int(features.sampling_rate), bool(features.do_normalize)


def frame_counts(model: PreTrainedModel, rate_hz: int) -> torch.Tensor:
    """The number of frames of clips of 1, 2, 3, ... samples, up to a second; shape (rate_hz,), int64."""
    counts: torch.Tensor = model._get_feat_extract_output_lengths(torch.arange(1, rate_hz + 1))  # type: ignore[operator]
    return counts.long()
