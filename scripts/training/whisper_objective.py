"""Trains Whisper models: windows of log-mel, labels of tokens after a prompt with language and task."""

import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from torch.utils.tensorboard import SummaryWriter
from transformers import PreTrainedModel, WhisperForConditionalGeneration

from app.artifacts import CONFIG_NAME, ArtifactError, open_artifact
from app.families.whisper import SETTINGS_FILES
from app.families.whisper.checkpoint import load_checkpoint
from app.families.whisper.settings import WhisperSettings, read_settings
from scripts.speech.data import DataError, SpeechRows
from scripts.speech.text import TextNormalizer
from scripts.training.augment import AugmentationPolicy
from scripts.training.whisper_batches import Transcription, WhisperCollator, WhisperDataset
from scripts.training.whisper_trainer import EvaluateAtEnd, TextErrorRates, WhisperTrainer
from scripts.training.whisper_windows import Windows

ENGLISH = "en"
FULL_LEARNING_RATE, LORA_LEARNING_RATE = 1e-5, 1e-3
"""Default peaks: that of Hugging Face's recipe for whisper-small, and that of PEFT's example for Whisper."""
OUTPUT_WEIGHT = "proj_out.weight"
"""The output layer; in most models it is the embedding, and only that is stored."""
LORA_LAYERS = r"model\.{part}\.layers\..*\.(q_proj|k_proj|v_proj|out_proj|fc1|fc2)"
"""All linear layers of encoder and decoder: adapters in all of them match full fine-tuning, which those of attention
alone do not (T. Dettmers et al., "QLoRA", 2023)."""
LORA_ALPHA_PER_RANK = 2
"""The updates are scaled by alpha / rank, so this keeps their size when the rank changes."""


@dataclass(frozen=True)
class WhisperOptions:
    """Options of Whisper training.

    language: code of the texts, a key of the model's languages; None for a model of one language. dropout: probability;
    None keeps that of the checkpoint. spec_augment: mask times and mel bins, as much as the `mask_*` fields of the
    checkpoint's `config.json` say. freeze_encoder: train the decoder only. lora_rank: train adapters of this rank
    instead of the weights; 0 trains the weights. condense_silence: share of the batches whose silence is condensed.
    """

    language: str | None = None
    dropout: float | None = None
    spec_augment: bool = False
    freeze_encoder: bool = False
    lora_rank: int = 0
    condense_silence: float = 0.0


@dataclass(frozen=True)
class SettingsFiles:
    """The files of a checkpoint besides its weights and `config.json`: generation_config, tokenizer, feature extractor.

    They are copied, so that the fine-tuned model keeps exactly the settings of the original one.
    """

    files: Sequence[Path]

    @classmethod
    def of(cls, folder: Path) -> Self:
        """Those in a checkpoint folder."""
        names = [name for name in SETTINGS_FILES if name != CONFIG_NAME and (folder / name).is_file()]
        return cls([folder / name for name in names])

    def save_pretrained(self, folder: str | Path) -> None:
        """Copy them to a folder; the Trainer calls this for each checkpoint."""
        for file in self.files:
            if file.parent.resolve() != Path(folder).resolve():
                shutil.copyfile(file, Path(folder) / file.name)


class WhisperObjective:
    """The `Objective` of Whisper models.

    folder: the checkpoint. Raises DataError if the language does not suit the model, and ArtifactError if the
    checkpoint cannot be loaded.
    """

    keeps_best = True

    def __init__(self, folder: Path, options: WhisperOptions = WhisperOptions()) -> None:
        settings = read_settings(open_artifact(folder))
        self._transcription = Transcription(settings, find_language(settings, options.language))
        language = self._transcription.language or ENGLISH
        self.options = asdict(options) | {"language": language}
        self._normalizer = TextNormalizer(language=language)
        self._files = SettingsFiles.of(folder)
        self._condense_silence = options.condense_silence
        changed: dict[str, Any] = {} if not options.spec_augment else {"apply_spec_augment": True}
        if options.dropout is not None:
            changed |= {"dropout": options.dropout, "attention_dropout": options.dropout}
        self._whisper = load_checkpoint(folder, **changed)
        self._whisper.gradient_checkpointing_disable()
        self._windows = Windows(self._whisper)
        if self._whisper.config.tie_word_embeddings:  # the Trainer expects to find this weight in its checkpoints
            self._whisper._keys_to_ignore_on_save = [OUTPUT_WEIGHT]  # type: ignore[assignment]  # typed as None
        if options.freeze_encoder:
            self._whisper.freeze_encoder()
        self.model: PreTrainedModel = self._whisper
        self.learning_rate = FULL_LEARNING_RATE
        if options.lora_rank:
            self.model = with_adapters(self._whisper, options.lora_rank, options.freeze_encoder)
            self.learning_rate = LORA_LEARNING_RATE

    def usable(self, rows: SpeechRows, min_s: float, max_s: float, *, evaluation: bool = False) -> list[int]:
        """Indices of the rows with words, but no more tokens than the decoder takes. Prints why others are skipped.

        Raises DataError if `max_s` exceeds the model's window.
        """
        window_s, limit = self._transcription.settings.window_s, self._transcription.max_text_tokens
        if max_s > window_s:
            raise DataError(f"--max_duration_s is {max_s:g}, but the model's windows are {window_s:g} s long")
        kept: list[int] = []
        skipped: Counter[str] = Counter()
        for index, (duration_s, text) in enumerate(zip(rows.durations_s, rows.texts(), strict=True)):
            if not min_s <= duration_s <= max_s:
                skipped[f"not of {min_s:g} to {max_s:g} s"] += 1
            elif not self._normalizer(text):
                skipped["without words"] += 1
            elif len(self._transcription.encode(text)) > limit:
                skipped[f"with more than {limit} tokens, which the decoder does not take"] += 1
            else:
                kept.append(index)
        if skipped:
            reasons = ", ".join(f"{count} {reason}" for reason, count in skipped.items())
            print(f"Skipped {skipped.total()} of {len(rows)} clips: {reasons}")
        return kept

    def dataset(
        self,
        rows: SpeechRows,
        policy: AugmentationPolicy | None = None,
        seed: int = 0,
        groups: list[tuple[int, ...]] | None = None,
    ) -> WhisperDataset:
        """Samples and tokens. Raises DataError if clips can get longer than the model's window."""
        dataset = WhisperDataset(rows, self._transcription, policy, seed, groups)
        longest_s, window_s = dataset.longest_s, self._transcription.settings.window_s
        if longest_s > window_s:
            raise DataError(
                f"--augment and --join can make clips of {longest_s:.1f} s, but the model's windows are {window_s:g} s "
                "long: lower --max_duration_s"
            )
        return dataset

    def trainer(self, writer: SummaryWriter, **options: Any) -> WhisperTrainer:
        """A trainer that evaluates by generation."""
        callbacks = [*options.pop("callbacks", ()), EvaluateAtEnd()]
        return WhisperTrainer(
            whisper=self._whisper,
            windows=self._windows,
            transcription=self._transcription,
            condense_silence=self._condense_silence,
            model=self.model,
            data_collator=WhisperCollator(self._transcription),
            processing_class=self._files,  # saved with every checkpoint
            compute_metrics=TextErrorRates(self._transcription, self._normalizer, writer),
            callbacks=callbacks,
            **options,
        )

    def save(self, folder: Path) -> None:
        """Write the model, with adapters merged into its weights, and the files of its settings."""
        model: Any = self.model
        if model is not self._whisper:
            model = model.merge_and_unload()
        model.save_pretrained(folder)
        self._files.save_pretrained(folder)


def find_language(settings: WhisperSettings, language: str | None) -> str | None:
    """The language of the prompt; None for a model of one language. Raises DataError if the model does not have it."""
    if not settings.is_multilingual:
        if language not in (None, ENGLISH):
            raise DataError(f"--language is {language}, but the model is English-only")
        return None
    known = ", ".join(sorted(settings.special.languages))
    if language is None:
        raise DataError(f"a multilingual model needs the --language of the texts, one of: {known}")
    if language not in settings.special.languages:
        raise DataError(f"the model does not know the language {language!r}; it knows {known}")
    return language


def with_adapters(model: WhisperForConditionalGeneration, rank: int, decoder_only: bool) -> Any:
    """A PEFT model whose only trained weights are low-rank adapters, inserted into `model`.

    LoRA: E. Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models", 2021. Raises ArtifactError if the package
    `peft` is missing.
    """
    try:
        from peft import LoraConfig, get_peft_model
    except ImportError as error:
        raise ArtifactError("LoRA needs the package peft: pip install -r requirements-train.txt") from error
    layers = LORA_LAYERS.format(part="decoder" if decoder_only else "(encoder|decoder)")
    return get_peft_model(model, LoraConfig(r=rank, lora_alpha=LORA_ALPHA_PER_RANK * rank, target_modules=layers))
