"""Trains models with CTC: clips of samples, labels of letters."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch.utils.tensorboard import SummaryWriter
from transformers import PreTrainedModel, Wav2Vec2Processor

from scripts.speech.data import SpeechRows
from scripts.speech.text import TextNormalizer
from scripts.training.augment import AugmentationPolicy
from scripts.training.batches import Collator, SpeechDataset
from scripts.training.checkpoints import CtcCheckpoint, load_for_training
from scripts.training.fake_quantization import FakeQuantization
from scripts.training.fourier_convolution import convolve_by_fourier
from scripts.training.pruning import PruningMethod, make_pruning
from scripts.training.squeeze import leave_out_rest
from scripts.training.students import Shape, make_student
from scripts.training.trainer import CtcTrainer, Scorer, argmax_logits

DEFAULT_LANGUAGE = "tr"
MAX_LETTERS_PER_S = 30.0
"""Most letters that CTC can align; wav2vec2 has 50 frames per second, and equal letters need a blank between them."""


@dataclass(frozen=True)
class CtcOptions:
    """Options of CTC training.

    language: ISO 639-1 code, for lower-casing and numbers. alphabet: letters of a new tokenizer; if empty, those of the
    training text. dropout: probability; None keeps that of the checkpoint. freeze_feature_encoder: do not train the
    convolutions. quantize_bits: train with the rounding of a file with weights of 4, 7 or 8 bits; 0 trains without.
    keep_layers, keep_feed_forward, keep_conv_channels: train a student of the checkpoint, in the `Shape` with these
    numbers; 0 keeps all. prune_to: share of the weights of each linear layer but the head that become zero; 0 for none.
    pruning: how they are chosen; None is by magnitude. prune_convolutions: those of convolutions, too.
    """

    language: str = DEFAULT_LANGUAGE
    alphabet: str = ""
    dropout: float | None = None
    freeze_feature_encoder: bool = False
    quantize_bits: Literal[0, 4, 7, 8] = 0
    keep_layers: int = 0
    keep_feed_forward: int = 0
    keep_conv_channels: int = 0
    prune_to: float = 0.0
    pruning: PruningMethod | None = None
    prune_convolutions: bool = False

    @property
    def shape(self) -> Shape:
        """The shape of the model to train, in relation to the checkpoint."""
        return Shape(self.keep_layers or None, self.keep_feed_forward or None, self.keep_conv_channels or None)


def usable(
    rows: SpeechRows, normalizer: TextNormalizer, min_s: float, max_s: float, *, without_text: bool = False
) -> list[int]:
    """Indices of the rows to train on.

    Their duration is from `min_s` to `max_s`, and their text has letters, but no more than CTC can align. without_text:
    rows without letters are usable, too.
    """
    kept = []
    for index, (duration_s, text) in enumerate(zip(rows.durations_s, rows.texts(), strict=True)):
        letters = len(normalizer(text))
        if min_s <= duration_s <= max_s and (letters or without_text) and letters <= MAX_LETTERS_PER_S * duration_s:
            kept.append(index)
    return kept


def faster_on_cpus(model: PreTrainedModel) -> None:
    """Compute the same in less time, if there is no GPU."""
    if not torch.cuda.is_available():
        model.set_attn_implementation("eager")  # steps take 10 % less time than with "sdpa", for clips of 2 to 20 s
        convolve_by_fourier(model)


class CtcObjective:
    """The `Objective` of CTC models. Raises the errors of `load_for_training`, `make_student` and
    `make_pruning`.

    name: hub id, checkpoint folder, or a key of `SMALL_CONFIGS`. texts: of the training rows, for a new tokenizer.
    tokens_of: a checkpoint whose tokenizer a new head gets instead.
    """

    learning_rate = 1e-4
    keeps_best = False

    model: PreTrainedModel
    options: dict[str, Any]

    def __init__(
        self,
        name: str,
        texts: list[str],
        options: CtcOptions = CtcOptions(),
        *,
        tokens_of: CtcCheckpoint | None = None,
    ) -> None:
        self.options = asdict(options)
        checkpoint = load_for_training(name, texts, options.language, options.alphabet, options.dropout, tokens_of)
        if options.shape != Shape():
            checkpoint = checkpoint._replace(model=make_student(checkpoint.model, options.shape))
        self._checkpoint = checkpoint
        self.model = checkpoint.model
        faster_on_cpus(self.model)
        leave_out_rest(self.model)
        self._quantization = FakeQuantization(self.model, options.quantize_bits) if options.quantize_bits else None
        if options.freeze_feature_encoder:
            self.model.freeze_feature_encoder()  # type: ignore[operator]  # all CTC models of transformers have it
        self._pruning = make_pruning(self.model, options.prune_to, options.pruning, options.prune_convolutions)

    def usable(self, rows: SpeechRows, min_s: float, max_s: float, *, evaluation: bool = False) -> list[int]:
        """Indices of the rows with letters, but no more than CTC can align."""
        return usable(rows, self._checkpoint.normalizer, min_s, max_s)

    def dataset(
        self,
        rows: SpeechRows,
        policy: AugmentationPolicy | None = None,
        seed: int = 0,
        groups: list[tuple[int, ...]] | None = None,
    ) -> SpeechDataset:
        """Samples and letters."""
        checkpoint = self._checkpoint
        return SpeechDataset(
            rows, checkpoint.normalizer, checkpoint.tokenizer, checkpoint.feature_extractor, policy, seed, groups
        )

    def trainer(self, writer: SummaryWriter, **options: Any) -> CtcTrainer:
        """A trainer with the CTC loss."""
        return CtcTrainer(**self.trainer_options(writer, options))

    def trainer_options(self, writer: SummaryWriter, options: dict[str, Any]) -> dict[str, Any]:
        """What the trainer of any CTC model gets. options: what the trainer gets besides."""
        pruning = [] if self._pruning is None else [self._pruning]
        tokenizer, feature_extractor = self._checkpoint.tokenizer, self._checkpoint.feature_extractor
        return options | {
            # Before the others, so that TensorBoard gets what it adds to the logs.
            "callbacks": [*pruning, *options.get("callbacks", ())],
            "model": self.model,
            "data_collator": Collator(feature_extractor),
            "processing_class": Wav2Vec2Processor(feature_extractor, tokenizer),  # saved with checkpoints
            "compute_metrics": Scorer(tokenizer, writer),
            "preprocess_logits_for_metrics": argmax_logits,
        }

    def save(self, folder: Path) -> None:
        """Write a checkpoint (`CtcCheckpoint.save`). The model then computes in float again."""
        if self._quantization is not None:
            self._quantization.remove()
        self._checkpoint.save(folder)
