"""The settings of a Whisper model, from the same files that transformers reads: log-mel, tokens and decoding rules.

No token id is a constant: published checkpoints and fine-tunes have other vocabularies (English only, 99 or 100
languages, added tokens) and lack some of the files. What is missing is derived, or None if the model works without.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
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
"""The files that `read_settings` reads, if they exist."""
FEATURE_DEFAULTS = {"sampling_rate": 16_000, "n_fft": 400, "hop_length": 160}
"""Defaults of transformers' WhisperFeatureExtractor: Hz, samples, samples."""
FRAMES_PER_POSITION = 2
"""Frames of the log-mel per position of the encoder: the stride of its second convolution."""
LANGUAGE = re.compile(r"<\|([a-z]{2,3})\|>")
"""Spelling of a language token: a code of ISO 639 of two or three letters."""
TIMESTAMP = re.compile(r"<\|(\d+\.\d+)\|>")
"""Spelling of a timestamp, in seconds."""
NO_SPEECH = ("<|nospeech|>", "<|nocaptions|>")
"""Two spellings of one token, in newer and in older files."""
START_OF_LANGUAGE_MODEL = "<|startoflm|>"
ENGLISH_END = 50_256
"""Id of <|endoftext|> in GPT-2's vocabulary, which only OpenAI's English-only models have. They have language tokens
too, but were not trained with them.
"""


@dataclass(frozen=True)
class SpecialTokens:
    """Ids of the special tokens; None if the model does not have one.

    languages: code, such as "tr" -> id; empty if the model is English-only, and the tokens of tasks are None then.
    timestamps: ids, that of 0.00 s first; empty if there are none. previous: begins a prompt of earlier text.
    """

    start: int
    end: int
    no_timestamps: int | None
    timestamps: range
    no_speech: int | None
    previous: int | None
    transcribe: int | None
    translate: int | None
    languages: Mapping[str, int]


@dataclass(frozen=True)
class WhisperSettings:
    """Everything about a Whisper model except its weights.

    vocabulary_size: number of logits. positions: of the encoder in the longest window. max_tokens: of the decoder,
    prompt included. layers, heads: of the decoder. width: of the hidden states. suppressed: tokens that are never
    written. suppressed_first: tokens that are not written first. max_first_timestamp: number of timestamp steps before
    which the first segment begins; None is no limit. alignment_heads: (layer, head) of the decoder whose
    cross-attention follows the words; empty if the files do not say.
    """

    log_mel: LogMel
    vocabulary_size: int
    positions: int
    max_tokens: int
    layers: int
    heads: int
    width: int
    vocabulary: Vocabulary
    special: SpecialTokens
    suppressed: tuple[int, ...]
    suppressed_first: tuple[int, ...]
    max_first_timestamp: int | None
    alignment_heads: tuple[tuple[int, int], ...]

    @property
    def frames(self) -> int:
        """Frames of the log-mel of the longest window."""
        return FRAMES_PER_POSITION * self.positions

    @property
    def window_s(self) -> float:
        """The longest window in seconds: 30 in all published models."""
        return self.positions * self.time_step_s

    @property
    def time_step_s(self) -> float:
        """Seconds from one timestamp to the next, and from one position of the encoder to the next."""
        return FRAMES_PER_POSITION * self.log_mel.hop / self.log_mel.rate_hz

    @property
    def is_multilingual(self) -> bool:
        """Whether the prompt has a language and a task."""
        return bool(self.special.languages)

    @property
    def can_translate(self) -> bool:
        """Whether there is a token for translation into English. Some models have it but were not trained with it, such
        as large-v3-turbo; the files do not tell.
        """
        return self.special.translate is not None

    @property
    def has_timestamps(self) -> bool:
        """Whether the model can write timestamps."""
        return bool(self.special.timestamps)

    @property
    def default_alignment_heads(self) -> tuple[tuple[int, int], ...]:
        """All heads of the upper half of the decoder's layers, for models without `alignment_heads`.

        The same as openai/whisper's default (model.py).
        """
        return tuple((layer, head) for layer in range(self.layers // 2, self.layers) for head in range(self.heads))


def read_settings(artifact: Artifact) -> WhisperSettings:
    """Read the settings of an artifact or checkpoint.

    Raises ArtifactError if they are missing, broken or contradict each other; UnprovenError if they differ from the
    manifest, unless that is allowed: other settings can give other words.
    """
    config = artifact.read_json(CONFIG_NAME)
    generation = artifact.read_json(GENERATION_NAME, default=config)  # where fine-tunes without that file have its keys
    try:
        size = _positive(config, "vocab_size")
        positions = _positive(config, "max_source_positions")
        layers, heads = _positive(config, "decoder_layers"), _positive(config, "decoder_attention_heads")
        vocabulary = read_vocabulary(artifact, size)
        log_mel = read_log_mel(artifact, config, positions)
        special = read_special_tokens(vocabulary, generation, size, positions)
        settings = WhisperSettings(
            log_mel=log_mel,
            vocabulary_size=size,
            positions=positions,
            max_tokens=_positive(config, "max_target_positions"),
            layers=layers,
            heads=heads,
            width=_positive(config, "d_model"),
            vocabulary=vocabulary,
            special=special,
            suppressed=read_suppressed(vocabulary, special, generation, size),
            suppressed_first=read_suppressed_first(vocabulary, special, generation, size),
            max_first_timestamp=_optional(generation.get("max_initial_timestamp_index")),
            alignment_heads=read_alignment_heads(generation, layers, heads),
        )
        check_spelled_timestamps(vocabulary, special, settings.time_step_s)
    except (AttributeError, KeyError, OverflowError, TypeError, ValueError) as error:
        raise ArtifactError(f"the settings in {artifact.folder} cannot be used: {error!r}") from error
    for name in SETTINGS_FILES:
        if name in artifact.files or (artifact.folder / name).exists():
            artifact.verify(name)
    return settings


def read_log_mel(artifact: Artifact, config: dict[str, Any], positions: int) -> LogMel:
    """The feature extractor's settings, with transformers' defaults.

    They are in `preprocessor_config.json` or, as transformers 5 writes them, inside `processor_config.json`. Raises
    ValueError if the model takes another number of mel bins or windows of another length.
    """
    processor = artifact.read_json("processor_config.json", default={})
    settings = artifact.read_json("preprocessor_config.json", default=processor)
    settings = FEATURE_DEFAULTS | settings.get("feature_extractor", settings)
    bins = _positive(config, "num_mel_bins")
    given = settings.get("feature_size", bins)
    if given != bins:
        raise ValueError(f"the feature extractor gives {given} mel bins, the model takes {bins}")
    log_mel = LogMel(
        bins,
        rate_hz=_positive(settings, "sampling_rate"),
        window=_positive(settings, "n_fft"),
        hop=_positive(settings, "hop_length"),
    )
    frames = FRAMES_PER_POSITION * positions
    window_s = settings.get("chunk_length")
    if window_s is not None and round(float(window_s) * log_mel.rate_hz) // log_mel.hop != frames:
        raise ValueError(f"the feature extractor gives windows of {window_s} s, the model takes {frames} frames")
    return log_mel


def read_special_tokens(
    vocabulary: Vocabulary, generation: Mapping[str, Any], size: int, positions: int
) -> SpecialTokens:
    """The special tokens, by their spelling in the tokenizer's files or from `generation_config.json`.

    size: number of logits. positions: of the encoder. Where the files do not name the timestamps, these follow
    <|notimestamps|>, as in every vocabulary. Raises ValueError if a necessary token is missing, or if the files
    contradict each other.
    """
    ids = vocabulary.ids
    tasks = generation.get("task_to_id") or {}

    def find(token: str, *others: Any) -> int | None:
        """The id of a token by its spelling, checked against those that other files give."""
        found = {int(index) for index in (ids.get(token), *others) if index is not None}
        if len(found) > 1 or any(not 0 <= index < size for index in found):
            raise ValueError(f"{token} has the ids {sorted(found)}, the model has {size} logits")
        return found.pop() if found else None

    start = find("<|startoftranscript|>", generation.get("decoder_start_token_id"))
    ends = generation.get("eos_token_id")
    end = find("<|endoftext|>", None if isinstance(ends, list) else ends)
    if start is None or end is None:
        raise ValueError("there is no <|startoftranscript|> or no <|endoftext|>")
    no_timestamps = find("<|notimestamps|>", generation.get("no_timestamps_token_id"))
    after = None if no_timestamps is None else no_timestamps + 1
    first_timestamp = find("<|0.00|>", after if after != size else None)
    transcribe = find("<|transcribe|>", tasks.get("transcribe"))
    translate = find("<|translate|>", tasks.get("translate"))
    named = {token: find(token, index) for token, index in (generation.get("lang_to_id") or {}).items()}
    before = next(index for index in (translate, transcribe, no_timestamps, size) if index is not None)
    languages = _languages_among(named) or _languages_among(ids, after=start, before=before)
    is_multilingual = generation.get("is_multilingual")
    if is_multilingual is None:
        is_multilingual = bool(named) or (bool(languages) and end != ENGLISH_END)
    if is_multilingual and (not languages or transcribe is None):
        raise ValueError("a multilingual model has no tokens of languages, or no <|transcribe|>")
    return SpecialTokens(
        start=start,
        end=end,
        no_timestamps=no_timestamps,
        timestamps=range(0) if first_timestamp is None else _timestamps_from(first_timestamp, ids, size, positions),
        no_speech=next((ids[token] for token in NO_SPEECH if token in ids), None),
        previous=find("<|startofprev|>", generation.get("prev_sot_token_id")),
        transcribe=transcribe if is_multilingual else None,
        translate=translate if is_multilingual else None,
        languages=languages if is_multilingual else {},
    )


def _languages_among(ids: Mapping[str, int | None], after: int = -1, before: float = math.inf) -> dict[str, int]:
    """The languages among tokens: code -> id. In a vocabulary they lie between the start and the tasks."""
    return {
        found[1]: index
        for token, index in ids.items()
        if index is not None and after < index < before and (found := LANGUAGE.fullmatch(token))
    }


def _timestamps_from(first: int, ids: Mapping[str, int], size: int, positions: int) -> range:
    """Ids of the timestamps: those that are spelled or, if none are, one for each end of a position."""
    spelled = [index for token, index in ids.items() if TIMESTAMP.fullmatch(token)]
    if not spelled:
        return range(first, min(first + positions + 1, size))
    if sorted(spelled) != list(range(first, first + len(spelled))):
        raise ValueError("the ids of the timestamps do not follow each other, or not <|notimestamps|>")
    return range(first, first + len(spelled))


def check_spelled_timestamps(vocabulary: Vocabulary, special: SpecialTokens, time_step_s: float) -> None:
    """Raises ValueError if the tokenizer's files spell other times than those of the timestamps' places."""
    for token, index in vocabulary.ids.items():
        spelled = TIMESTAMP.fullmatch(token)
        if spelled and abs(float(spelled[1]) - (index - special.timestamps.start) * time_step_s) > time_step_s / 2:
            raise ValueError(f"{token} is not the time of id {index}: timestamps are {time_step_s:g} s apart")


def read_suppressed(
    vocabulary: Vocabulary, special: SpecialTokens, generation: Mapping[str, Any], size: int
) -> tuple[int, ...]:
    """Ids that are never written: the model's `suppress_tokens`, and ids that no token has.

    Without `suppress_tokens`, the control tokens that openai/whisper never writes (decoding.py, _get_suppress_tokens).
    An empty list is a list.
    """
    listed = _read_tokens(generation, "suppress_tokens", size)
    if listed is None:
        controls = [special.start, special.transcribe, special.translate, special.previous, special.no_speech]
        controls.append(vocabulary.ids.get(START_OF_LANGUAGE_MODEL))
        listed = tuple(index for index in controls if index is not None)
    unnamed = set(range(size)).difference(vocabulary.ids.values(), special.timestamps)
    if special.no_timestamps is not None:
        unnamed.discard(special.no_timestamps)
    return tuple(sorted(unnamed.union(listed)))


def read_suppressed_first(
    vocabulary: Vocabulary, special: SpecialTokens, generation: Mapping[str, Any], size: int
) -> tuple[int, ...]:
    """Ids that are not written first: the model's `begin_suppress_tokens`.

    Without them, the space and the end, as in openai/whisper (decoding.py, SuppressBlank).
    """
    listed = _read_tokens(generation, "begin_suppress_tokens", size)
    return (*vocabulary.encode(" "), special.end) if listed is None else listed


def read_alignment_heads(generation: Mapping[str, Any], layers: int, heads: int) -> tuple[tuple[int, int], ...]:
    """The (layer, head) pairs of `alignment_heads`; empty if there are none.

    Distilled models may have the list of their teacher: if the decoder lacks one of them, it is not this model's list.
    """
    pairs = tuple((int(layer), int(head)) for layer, head in generation.get("alignment_heads") or ())
    return pairs if all(0 <= layer < layers and 0 <= head < heads for layer, head in pairs) else ()


def _positive(settings: Mapping[str, Any], name: str) -> int:
    value = int(settings[name])
    if value <= 0:
        raise ValueError(f"{name} is {value}")
    return value


def _optional(value: Any) -> int | None:
    return None if value is None else int(value)


def _read_tokens(generation: Mapping[str, Any], name: str, size: int) -> tuple[int, ...] | None:
    """A list of ids, or None if there is none.

    Ids without a logit are left out, such as -1, which stands for a default of openai/whisper.
    """
    listed = generation.get(name)
    return None if listed is None else tuple(index for index in map(int, listed) if 0 <= index < size)
