"""What a model family gives to `train.py`: its model, its batches, its trainer, and how the result is saved."""

from pathlib import Path
from typing import Any, Protocol

from torch.utils.tensorboard import SummaryWriter
from transformers import PreTrainedModel

from scripts.speech.data import SpeechRows
from scripts.training.augment import AugmentationPolicy
from scripts.training.batches import ClipDataset
from scripts.training.trainer import SpeechTrainer


class Objective(Protocol):
    """A loaded checkpoint, and what it is trained to do.

    options: what it was made with, by name, for the record of the training. learning_rate: default peak of the learning
    rate. keeps_best: whether the checkpoint with the lowest WER is kept, instead of the last one.
    """

    model: PreTrainedModel
    options: dict[str, Any]
    learning_rate: float
    keeps_best: bool

    def usable(self, rows: SpeechRows, min_s: float, max_s: float, *, evaluation: bool = False) -> list[int]:
        """Indices of the rows that can be trained on, or evaluated on. min_s, max_s: limits of their durations."""

    def dataset(
        self,
        rows: SpeechRows,
        policy: AugmentationPolicy | None = None,
        seed: int = 0,
        groups: list[tuple[int, ...]] | None = None,
    ) -> ClipDataset:
        """The clips with their labels. The arguments are those of `ClipDataset`."""

    def trainer(self, writer: SummaryWriter, **options: Any) -> SpeechTrainer:
        """A trainer. writer: for sample transcripts. options: those of `SpeechTrainer` and of transformers' Trainer."""

    def save(self, folder: Path) -> None:
        """Write the trained checkpoint in the hub's format."""
