"""The settings of a Whisper model, from the files that transformers reads too: log-mel, tokens and what may follow.

No number of a token is a constant here: published checkpoints and fine-tunes have other vocabularies (English only, 99
or 100 languages, added tokens), and lack some of the files. What is missing is derived, or the feature that needs it is
refused.
"""

import re
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from app.artifacts import CONFIG_NAME, Artifact, ArtifactError
from app.families.whisper.log_mel import LogMel
from app.families.whisper.vocabulary import Vocabulary, read_vocabulary

GENERATION_NAME = "generation_config.json"
SETTINGS_FILES = (
    CONFIG_NAME,
    GENERATION_NAME,
    "preprocessor_config.json",
    "processor_config.json",
    "vocab.json",
    "merges.txt",
    "tokenizer.json",
    "added_tokens.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
)
"""What `read_settings` reads, where it is there."""
LANGUAGE = re.compile(r"<\|([a-z]{2,3})\|>")
"""How a token of a language is written."""
NO_SPEECH = ("<|nospeech|>", "<|nocaptions|>")
"""Two spellings of one token, of newer and of older files."""
TIME_STEP_S = 0.02
"""Seconds from one timestamp token to the next, and from one position of the encoder to the next."""


@dataclass(frozen=True)
class SpecialTokens:
    """Numbers of the tokens that are not text. None where the model has none.

    languages: code, such as "tr" -> token; empty for a model of one language. first_timestamp: of 0.00 s; those of the
    other times follow it, `TIME_STEP_S` apart.
    """

    start: int
    end: int
    first_timestamp: int
    no_timestamps: int
    no_speech: int | None
    previous: int | None
    transcribe: int | None
    translate: int | None
    languages: dict[str, int]


@dataclass(frozen=True)
class WhisperSettings:
    """All that is known of a Whisper model but its weights.

    positions: of the encoder, at most; two frames of the log-mel each. max_tokens: of the decoder, the prompt included.
    suppressed: tokens that are never written. suppressed_first: nor those as the first. max_first_timestamp_s: time at
    which the first words may begin. alignment_heads: (layer, head) of the decoder whose cross-attention follows the
    words; empty if nobody told.
    """

    log_mel: LogMel
    positions: int
    max_tokens: int
    layers: int
    heads: int
    width: int
    vocabulary: Vocabulary
    special: SpecialTokens
    suppressed: tuple[int, ...]
    suppressed_first: tuple[int, ...]
    max_first_timestamp_s: float
    alignment_heads: tuple[tuple[int, int], ...]

    @property
    def frames(self) -> int:
        """Of the log-mel of the longest window."""
        return 2 * self.positions

    @cached_property
    def window_s(self) -> float:
        """The longest window, seconds: 30 in all published models."""
        return self.frames * self.log_mel.hop / self.log_mel.rate_hz

    @property
    def is_multilingual(self) -> bool:
        """Whether the prompt names a language and a task."""
        return bool(self.special.languages) and self.special.transcribe is not None


def read_settings(artifact: Artifact) -> WhisperSettings:
    """Read the settings of an artifact or checkpoint.

    Raises ArtifactError if they are missing or broken; UnprovenError if there is a manifest and they are not those that
    it describes, unless that is allowed.
    """
    config = artifact.read_json(CONFIG_NAME)
    generation = artifact.read_json(GENERATION_NAME, default={})
    try:
        vocabulary = read_vocabulary(artifact, int(config["vocab_size"]))
        special = read_special_tokens(vocabulary, config, generation)
        settings = WhisperSettings(
            log_mel=read_log_mel(artifact, config),
            positions=int(config["max_source_positions"]),
            max_tokens=int(config["max_target_positions"]),
            layers=int(config["decoder_layers"]),
            heads=int(config["decoder_attention_heads"]),
            width=int(config["d_model"]),
            vocabulary=vocabulary,
            special=special,
            suppressed=_tokens(generation, config, "suppress_tokens"),
            suppressed_first=_tokens(generation, config, "begin_suppress_tokens"),
            max_first_timestamp_s=int(generation.get("max_initial_timestamp_index") or 50) * TIME_STEP_S,
            alignment_heads=tuple((int(layer), int(head)) for layer, head in generation.get("alignment_heads") or ()),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ArtifactError(f"the settings in {artifact.folder} cannot be used: {error!r}") from error
    for name in SETTINGS_FILES:
        if name in artifact.files or (artifact.folder / name).exists():
            artifact.verify(name)
    return settings


def read_log_mel(artifact: Artifact, config: dict[str, Any]) -> LogMel:
    """The feature extractor's settings, from `preprocessor_config.json` or, as transformers 5 writes them, from inside
    `processor_config.json`. Raises ArtifactError if the model takes another number of mel bins.
    """
    processor = artifact.read_json("processor_config.json", default={})
    settings = artifact.read_json("preprocessor_config.json", default=processor)
    settings = settings.get("feature_extractor", settings)
    bins = int(settings.get("feature_size", config["num_mel_bins"]))
    if bins != int(config["num_mel_bins"]):
        raise ArtifactError(
            f"the feature extractor in {artifact.folder} gives {bins} mel bins, the model takes {config['num_mel_bins']}"
        )
    return LogMel(
        bins,
        rate_hz=int(settings.get("sampling_rate", 16_000)),
        window=int(settings.get("n_fft", 400)),
        hop=int(settings.get("hop_length", 160)),
    )


def read_special_tokens(vocabulary: Vocabulary, config: dict[str, Any], generation: dict[str, Any]) -> SpecialTokens:
    """The special tokens, by their spelling in the tokenizer's files; what is missing there from the model's.

    Timestamps follow `<|notimestamps|>` in every vocabulary, whether the files name them or not.
    """
    number = vocabulary.numbers.get
    start = _first_of(number("<|startoftranscript|>"), config.get("decoder_start_token_id"))
    end = _first_of(number("<|endoftext|>"), config.get("eos_token_id"))
    no_timestamps = _first_of(number("<|notimestamps|>"), generation.get("no_timestamps_token_id"))
    named = {str(token): int(index) for token, index in (generation.get("lang_to_id") or {}).items()}
    named = named or {token: index for token, index in vocabulary.numbers.items() if start < index < no_timestamps}
    languages = {found[1]: index for token, index in named.items() if (found := LANGUAGE.fullmatch(token))}
    return SpecialTokens(
        start=start,
        end=end,
        first_timestamp=no_timestamps + 1,
        no_timestamps=no_timestamps,
        no_speech=next((vocabulary.numbers[token] for token in NO_SPEECH if token in vocabulary.numbers), None),
        previous=number("<|startofprev|>"),
        transcribe=number("<|transcribe|>") if languages else None,
        translate=number("<|translate|>") if languages else None,
        languages=languages,
    )


def _first_of(*numbers: int | None) -> int:
    for number in numbers:
        if number is not None:
            return number
    raise ValueError("a special token has no number")


def _tokens(generation: dict[str, Any], config: dict[str, Any], name: str) -> tuple[int, ...]:
    """Fine-tunes made before there was a `generation_config.json` have these in `config.json`."""
    return tuple(map(int, generation.get(name, config.get(name)) or ()))
