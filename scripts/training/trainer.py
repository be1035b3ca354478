"""The transformers Trainer with batches by length, for all model families and for CTC, and its metrics."""

from typing import Any

import jiwer
import numpy as np
import torch
from torch.utils.data import DataLoader
from torch.utils.tensorboard import SummaryWriter
from transformers import Trainer, Wav2Vec2CTCTokenizer
from transformers.trainer_utils import EvalPrediction

from scripts.training.batches import IGNORED_LABEL, ClipDataset, LengthBatchSampler
from scripts.training.muon import MuonAndAdamW


class SpeechTrainer(Trainer):
    """The transformers Trainer with batches of clips of similar length.

    batch_s: seconds of audio in a batch. muon: use Muon instead of AdamW.
    """

    def __init__(self, *, batch_s: float, muon: bool = False, **options: Any) -> None:
        self.batch_s, self.muon = batch_s, muon
        super().__init__(**options)

    def create_optimizer(self) -> torch.optim.Optimizer:
        if self.muon and self.optimizer is None:
            assert isinstance(self.model, torch.nn.Module)
            self.optimizer = MuonAndAdamW(self.model, self.args.learning_rate, self.args.weight_decay)
        optimizer: torch.optim.Optimizer = super().create_optimizer()  # type: ignore[no-untyped-call]  # untyped there
        return optimizer

    def _loader(self, dataset: ClipDataset, shuffle: bool) -> DataLoader[Any]:
        sampler = LengthBatchSampler(dataset.durations_s, self.batch_s, self.args.seed, shuffle)
        loader: DataLoader[Any] = DataLoader(
            dataset,
            batch_sampler=sampler,
            collate_fn=self.data_collator,
            num_workers=self.args.dataloader_num_workers if shuffle else 0,
            prefetch_factor=8 if shuffle and self.args.dataloader_num_workers else None,
        )
        prepared: DataLoader[Any] = self.accelerator.prepare(loader)
        return prepared

    def get_train_dataloader(self) -> DataLoader[Any]:
        assert isinstance(self.train_dataset, ClipDataset)
        return self._loader(self.train_dataset, shuffle=True)

    def get_eval_dataloader(self, eval_dataset: Any = None) -> DataLoader[Any]:
        dataset = eval_dataset or self.eval_dataset
        assert isinstance(dataset, ClipDataset)
        return self._loader(dataset, shuffle=False)


class CtcTrainer(SpeechTrainer):
    """Trains CTC models, with a loss per letter of the whole batch.

    The CTC loss grows with the length of the text. If it were divided by the letters of each clip and then averaged
    ("mean" in transformers), a clip with one word, or with noise only, would outweigh the sentences in its batch.
    """

    def compute_loss(
        self,
        model: torch.nn.Module,
        inputs: dict[str, torch.Tensor],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | None = None,
    ) -> Any:
        outputs = model(**inputs)
        loss = outputs.loss / (inputs["labels"] >= 0).sum().clamp(min=1)
        return (loss, {"loss": loss, "logits": outputs.logits}) if return_outputs else loss


class ErrorRates:
    """`compute_metrics` of the Trainer: WER and CER of greedy decoding, and sample transcripts for TensorBoard.

    samples: number of transcripts that TensorBoard shows.
    """

    def __init__(self, writer: SummaryWriter, samples: int = 8) -> None:
        self.writer, self.samples = writer, samples
        self.evaluations = 0

    def texts(self, prediction: EvalPrediction) -> tuple[list[str], list[str]]:
        """References and hypotheses of all clips."""
        raise NotImplementedError

    def __call__(self, prediction: EvalPrediction) -> dict[str, float]:
        references, hypotheses = self.texts(prediction)
        lines = [f"- {ref}\n- **{hypothesis}**\n" for ref, hypothesis in zip(references, hypotheses, strict=True)]
        step = max(1, len(lines) // self.samples)
        self.writer.add_text("eval/transcripts", "\n".join(lines[::step]), self.evaluations)
        print("\n".join(lines[::step][:3]))
        self.evaluations += 1
        return {"wer": float(jiwer.wer(references, hypotheses)), "cer": float(jiwer.cer(references, hypotheses))}


class Scorer(ErrorRates):
    """The error rates of a CTC model."""

    def __init__(self, tokenizer: Wav2Vec2CTCTokenizer, writer: SummaryWriter, samples: int = 8) -> None:
        super().__init__(writer, samples)
        self.tokenizer = tokenizer

    def texts(self, prediction: EvalPrediction) -> tuple[list[str], list[str]]:
        """References and hypotheses. predictions: token ids, shape (clips, frames), padded with -100."""
        blank = self.tokenizer.pad_token_id
        ids = np.where(prediction.predictions == IGNORED_LABEL, blank, prediction.predictions)
        labels = np.where(prediction.label_ids == IGNORED_LABEL, blank, prediction.label_ids)
        return self.tokenizer.batch_decode(labels, group_tokens=False), self.tokenizer.batch_decode(ids)


def argmax_logits(logits: Any, labels: torch.Tensor) -> torch.Tensor:
    """Reduce logits (batch, frames, vocabulary) to token ids (batch, frames), which take less memory."""
    best: torch.Tensor = (logits[0] if isinstance(logits, tuple) else logits).argmax(dim=-1)
    return best
