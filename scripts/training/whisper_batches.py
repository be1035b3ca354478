"""Batches for Whisper: log-mel spectrograms of 30 s windows, and token ids of prompt, text and end.

The spectrograms, the tokens and the prompt are those of the service (`app.families.whisper`).
"""

import unicodedata
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from app.families.whisper.alignment import WITHOUT_SPACES
from app.families.whisper.settings import WhisperSettings
from app.recognizer import Samples
from scripts.speech.data import DataError, SpeechRows
from scripts.training.augment import AugmentationPolicy
from scripts.training.batches import IGNORED_LABEL, ClipDataset

TOKENS_MULTIPLE = 8
"""Token ids are padded to a multiple of this, so that few shapes occur (see `PADDED_TO_S` in `batches.py`)."""


@dataclass(frozen=True)
class Transcription:
    """How a Whisper model is asked to transcribe, and the tokens that it should write.

    language: a key of the model's languages; None for a model of one language.
    """

    settings: WhisperSettings
    language: str | None

    @property
    def prompt(self) -> tuple[int, ...]:
        """The tokens before the text: start, language, task and <|notimestamps|>, as far as the model has them."""
        special = self.settings.special
        task = (special.transcribe,) if self.language is not None else ()
        language = () if self.language is None else (special.languages[self.language],)
        tokens = (special.start, *language, *task, special.no_timestamps)
        return tuple(token for token in tokens if token is not None)

    @property
    def max_text_tokens(self) -> int:
        """Most tokens of a text. The decoder reads the prompt and the text; it does not read the end."""
        return self.settings.max_tokens - len(self.prompt)

    def encode(self, text: str) -> list[int]:
        """Token ids of a text, without prompt and end.

        The text begins with a space, as in the data of OpenAI's models (openai/whisper, tokenizer.py), except in
        languages without spaces.
        """
        text = clean(text)
        space = "" if not text or self.language in WITHOUT_SPACES else " "
        return self.settings.vocabulary.encode(space + text)


def clean(text: str) -> str:
    """The text with composed letters (NFC) and single spaces. Case and punctuation are kept: Whisper writes them."""
    return " ".join(unicodedata.normalize("NFC", text).split())


class WhisperDataset(ClipDataset):
    """Clips as `samples` (samples,) float32 and `labels`, the tokens of their text.

    Raises DataError if the text of joined rows has too many tokens.
    """

    def __init__(
        self,
        rows: SpeechRows,
        transcription: Transcription,
        policy: AugmentationPolicy | None = None,
        seed: int = 0,
        groups: list[tuple[int, ...]] | None = None,
    ) -> None:
        rate_hz = transcription.settings.log_mel.rate_hz
        super().__init__(rows, rows.texts(), transcription.encode, rate_hz, policy, seed, groups)
        longest, limit = max(map(len, self.labels), default=0), transcription.max_text_tokens
        if longest > limit:
            raise DataError(f"joined rows have a text of {longest} tokens, more than {limit}: lower --max_duration_s")

    def item(self, samples: Samples, labels: list[int]) -> dict[str, Any]:
        """`samples` and `labels`."""
        return {"samples": samples, "labels": labels}


@dataclass(frozen=True)
class WhisperCollator:
    """Items -> a batch.

    - `input_features` (clips, mel bins, frames) float32: windows of full length, padded with silence.
    - `attention_mask` (clips, frames) int64: 1 where there is audio. SpecAugment masks only there.
    - `decoder_input_ids` (clips, tokens) int64: prompt and text, padded with the end.
    - `labels` (clips, tokens) int64: the token that follows each input. It is -100, so without loss, for padding and
      where the prompt continues. The prompt is always given, so its loss would only teach the model to name the
      training data's language for any audio. (The recipe of Hugging Face includes it, all but the first token.)

    The labels of a clip without speech are only the end.
    """

    transcription: Transcription

    def __call__(self, items: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
        settings, prompt = self.transcription.settings, self.transcription.prompt
        log_mel, frames = settings.log_mel, settings.frames
        audible = torch.tensor([[-(-len(item["samples"]) // log_mel.hop)] for item in items])
        longest = max(len(prompt) + len(item["labels"]) for item in items)
        longest = min(-(-longest // TOKENS_MULTIPLE) * TOKENS_MULTIPLE, settings.max_tokens)
        inputs = torch.full((len(items), longest), settings.special.end)
        labels = torch.full((len(items), longest), IGNORED_LABEL)
        for row, item in enumerate(items):
            tokens = torch.tensor([*prompt, *item["labels"], settings.special.end])
            inputs[row, : len(tokens) - 1] = tokens[:-1]
            labels[row, len(prompt) - 1 : len(tokens) - 1] = tokens[len(prompt) :]
        return {
            "input_features": torch.from_numpy(np.stack([log_mel(item["samples"], frames) for item in items])),
            "attention_mask": (torch.arange(frames) < audible).long(),
            "decoder_input_ids": inputs,
            "labels": labels,
        }
