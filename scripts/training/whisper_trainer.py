"""The transformers Trainer for Whisper: condensed silence, evaluation by generation, and error rates of its texts."""

from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter
from transformers import (
    GenerationConfig,
    GenerationMixin,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
    WhisperForConditionalGeneration,
)
from transformers.modeling_outputs import BaseModelOutput
from transformers.trainer_utils import EvalPrediction

from app.families.whisper.model import TOKENS_AT_LEAST
from app.families.whisper.padding import condensed_layout, full_layout
from app.families.whisper.recognizer import TOKENS_PER_S
from app.families.whisper.settings import FRAMES_PER_POSITION
from scripts.speech.text import TextNormalizer
from scripts.training.batches import IGNORED_LABEL
from scripts.training.trainer import ErrorRates, SpeechTrainer
from scripts.training.whisper_batches import Transcription
from scripts.training.whisper_windows import Windows


class WhisperTrainer(SpeechTrainer):
    """Trains Whisper models, with a loss per token of the batch, and generates the texts at evaluation.

    whisper: the model itself, which LoRA may wrap. windows: of that model. condense_silence: share of the training
    batches whose silence is condensed.
    """

    def __init__(
        self,
        *,
        whisper: WhisperForConditionalGeneration,
        windows: Windows,
        transcription: Transcription,
        condense_silence: float,
        **options: Any,
    ) -> None:
        self.whisper, self.windows = whisper, windows
        self.transcription, self.condense_silence = transcription, condense_silence
        super().__init__(**options)

    def compute_loss(
        self,
        model: torch.nn.Module,
        inputs: dict[str, Tensor],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | None = None,
    ) -> Any:
        layout = full_layout(self.transcription.settings.positions)
        # The decision is made here, not in a worker, because the Trainer restores this random state when it resumes.
        if model.training and self.condense_silence and float(torch.rand(())) < self.condense_silence:
            audible = -(-int(inputs["attention_mask"].sum(dim=1).max()) // FRAMES_PER_POSITION)
            layout = condensed_layout(audible, len(layout.positions))
            inputs = cut(inputs, FRAMES_PER_POSITION * len(layout.positions))
        with self.windows.laid_out(layout):
            outputs = model(**inputs, use_cache=False)
        return (outputs.loss, outputs) if return_outputs else outputs.loss

    def prediction_step(
        self,
        model: torch.nn.Module,
        inputs: dict[str, Tensor],
        prediction_loss_only: bool,
        ignore_keys: list[str] | None = None,
    ) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        inputs = self._prepare_inputs(inputs)
        with torch.no_grad(), self.compute_loss_context_manager():  # type: ignore[no-untyped-call]  # untyped there
            loss, outputs = self.compute_loss(model, inputs, return_outputs=True)
            frames = int(inputs["attention_mask"].sum(dim=1).max())
            ids = generate(self.whisper, self.transcription, outputs.encoder_last_hidden_state, frames)
        return loss.detach(), ids, inputs["labels"]


class EvaluateAtEnd(TrainerCallback):
    """Evaluates after the last step too, so that the last checkpoint can be the best one."""

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> TrainerControl:
        if state.global_step >= state.max_steps:
            control.should_evaluate = True
        return control


def cut(inputs: dict[str, Tensor], frames: int) -> dict[str, Tensor]:
    """The first `frames` frames of a batch, behind which there is silence.

    Silence does not change the loudest mel bin, so this equals the log-mel of windows of that length.
    """
    return inputs | {name: inputs[name][..., :frames] for name in ("input_features", "attention_mask")}


def generate(
    model: WhisperForConditionalGeneration, transcription: Transcription, encoded: Tensor, frames: int
) -> Tensor:
    """Greedy decoding, with the service's suppressed tokens and limit of tokens.

    encoded: hidden states of the encoder, shape (clips, positions, width). frames: of the longest clip. Returns token
    ids with the prompt, shape (clips, tokens), int64; after its end, a text is padded with ends.
    """
    settings, prompt = transcription.settings, transcription.prompt
    limit = TOKENS_AT_LEAST + TOKENS_PER_S * frames * settings.log_mel.hop / settings.log_mel.rate_hz
    special = settings.special
    config = GenerationConfig(
        max_new_tokens=int(min(limit, settings.max_tokens // 2, settings.max_tokens - len(prompt))),
        do_sample=False,
        num_beams=1,
        suppress_tokens=list(settings.suppressed) or None,
        begin_suppress_tokens=list(settings.suppressed_first) or None,
        decoder_start_token_id=special.start,
        eos_token_id=special.end,
        pad_token_id=special.end,
    )
    # Not WhisperForConditionalGeneration.generate, which needs a complete generation_config.json.
    ids = GenerationMixin.generate(
        model,
        encoder_outputs=BaseModelOutput(last_hidden_state=cast(torch.FloatTensor, encoded)),
        attention_mask=torch.ones(encoded.shape[:2], dtype=torch.long, device=encoded.device),
        decoder_input_ids=torch.tensor(prompt, device=encoded.device).expand(len(encoded), -1),
        generation_config=config,
        use_model_defaults=False,
    )
    assert isinstance(ids, Tensor)
    return ids


class TextErrorRates(ErrorRates):
    """The error rates of a Whisper model, of normalized texts: without case, punctuation and digits.

    normalizer: keeps the letters of any alphabet.
    """

    def __init__(self, transcription: Transcription, normalizer: TextNormalizer, writer: SummaryWriter) -> None:
        super().__init__(writer)
        self.vocabulary, self.normalizer = transcription.settings.vocabulary, normalizer

    def texts(self, prediction: EvalPrediction) -> tuple[list[str], list[str]]:
        """References and hypotheses. predictions, label_ids: shape (clips, tokens), padded with -100."""
        return self._texts(np.asarray(prediction.label_ids)), self._texts(np.asarray(prediction.predictions))

    def _texts(self, ids: NDArray[np.int64]) -> list[str]:
        return [self.normalizer(self.vocabulary.decode(row[row != IGNORED_LABEL].tolist())) for row in ids]
