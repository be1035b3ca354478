"""The settings of a CTC model, from the same files that transformers reads: features, framing and vocabulary.

Checkpoints and artifacts have the same files, so the same code reads both. Serving does not need transformers.
"""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from app.artifacts import CONFIG_NAME, Artifact, ArtifactError
from app.families.ctc.decoding import Vocabulary
from app.families.ctc.windows import Framing

SETTINGS_FILES = (
    CONFIG_NAME,
    "preprocessor_config.json",
    "processor_config.json",
    "vocab.json",
    "tokenizer.json",
    "added_tokens.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
)
"""The files that `read_settings` reads, if they exist."""
WAVEFORM_FEATURES = "Wav2Vec2FeatureExtractor"
SPECTRAL_TYPES = frozenset({"mctct", "parakeet_ctc", "wav2vec2-bert"})
"""The CTC models of transformers that take `input_features` (log-mel) instead of samples."""
ADAPTER_PADDING = 1
"""Padding of the convolutions after the encoder, in transformers' Wav2Vec2AdapterLayer."""
SPECIAL_TOKENS = {"pad_token": "<pad>", "unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>"}
"""Defaults of transformers' Wav2Vec2CTCTokenizer."""
OTHER_SPECIAL_TOKENS = ("sep_token", "cls_token", "mask_token")


@dataclass(frozen=True)
class FeatureSettings:
    """Preprocessing of the audio: sample rate in Hz, and whether it is scaled to zero mean and unit variance."""

    sample_rate_hz: int
    normalize: bool


@dataclass(frozen=True)
class CtcSettings:
    """Everything about a CTC model except its weights. language: ISO 639 code, if the model card names one."""

    features: FeatureSettings
    framing: Framing
    vocabulary: Vocabulary
    language: str | None = None

    @cached_property
    def frame_s(self) -> float:
        """Seconds from one frame of emissions to the next."""
        return self.framing.hop / self.features.sample_rate_hz


def read_settings(artifact: Artifact) -> CtcSettings:
    """Read the settings of an artifact or checkpoint.

    Raises ArtifactError if they are missing or broken; UnprovenError if they differ from the manifest, unless that is
    allowed: other settings can give other words.
    """
    config = artifact.read_json(CONFIG_NAME)
    try:
        settings = CtcSettings(
            read_features(artifact, config),
            read_framing(config),
            read_vocabulary(artifact, config),
            artifact.language,
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ArtifactError(f"the settings in {artifact.folder} cannot be used: {error!r}") from error
    for name in SETTINGS_FILES:
        if name in artifact.files or (artifact.folder / name).exists():
            artifact.verify(name)
    return settings


def read_features(artifact: Artifact, config: dict[str, Any]) -> FeatureSettings:
    """The feature extractor's settings, with transformers' defaults.

    They are in `preprocessor_config.json` or, as transformers 5 writes them, inside `processor_config.json`. Raises
    ArtifactError if the model does not take samples.
    """
    processor = artifact.read_json("processor_config.json", default={})
    settings = artifact.read_json("preprocessor_config.json", default=processor)
    settings = settings.get("feature_extractor", settings)
    wanted = settings.get("feature_extractor_type", WAVEFORM_FEATURES)
    model_type = config.get("model_type")
    if wanted != WAVEFORM_FEATURES or settings.get("feature_size", 1) != 1 or model_type in SPECTRAL_TYPES:
        raise ArtifactError(
            f"the checkpoint in {artifact.folder} ({model_type}, {wanted}) needs spectral features; "
            "Dikte serves only models on raw waveform so far"
        )
    return FeatureSettings(
        sample_rate_hz=int(settings.get("sampling_rate", 16_000)),
        normalize=bool(settings.get("do_normalize", True)),
    )


def read_framing(config: dict[str, Any]) -> Framing:
    """Hop and receptive field, in samples, of the convolutions in a wav2vec2-like `config.json`.

    A convolution with kernel k, stride s and padding p, on frames that are `hop` samples apart, extends the receptive
    field by (k - 1 - 2 p) hop, because 2 p of its k inputs are padding, and multiplies the hop by s. SEW's squeezed
    encoder outputs as many frames as it gets, but needs at least `squeeze_factor` of them.
    """
    convolutions = [
        (kernel, stride, 0) for kernel, stride in zip(config["conv_kernel"], config["conv_stride"], strict=True)
    ]
    if config.get("add_adapter"):
        adapter = (int(config.get("adapter_kernel_size", 3)), int(config.get("adapter_stride", 2)), ADAPTER_PADDING)
        convolutions += [adapter] * int(config.get("num_adapter_layers", 3))
    receptive_field, hop = 1, 1
    for kernel, stride, padding in convolutions:
        if kernel <= 2 * padding:
            raise ArtifactError(f"an adapter of kernel {kernel} makes frames of nothing but padding")
        receptive_field += (kernel - 1 - 2 * padding) * hop
        hop *= stride
    return Framing(hop, receptive_field, min_frames=int(config.get("squeeze_factor", 1)))


def read_vocabulary(artifact: Artifact, config: dict[str, Any]) -> Vocabulary:
    """The tokens that have a logit, from the tokenizer's files.

    Published checkpoints may name more tokens than there are logits (`added_tokens.json`); those are left out. The
    blank is the tokenizer's padding token or, if that has no logit, the model's `pad_token_id`.
    """
    size = int(config["vocab_size"])
    options = _tokenizer_options(artifact)
    if str(options.get("tokenizer_class")).endswith("PhonemeCTCTokenizer"):
        raise ArtifactError(f"the checkpoint in {artifact.folder} writes phonemes, not words")
    tokens = [""] * size
    for token, index in _token_ids(artifact, options, size):
        if 0 <= index < size:
            tokens[index] = token
    pad = options["pad_token"]
    blank = tokens.index(_content(pad)) if pad is not None and _content(pad) in tokens else int(config["pad_token_id"])
    if not 0 <= blank < size:
        raise ArtifactError(f"{artifact.folder} names no padding token that has a logit, so there is no blank")
    special = [options.get(name) for name in (*SPECIAL_TOKENS, *OTHER_SPECIAL_TOKENS)]
    special += options.get("additional_special_tokens") or []
    delimiter = options["word_delimiter_token"]
    return Vocabulary(
        tokens=tuple(tokens),
        blank=blank,
        word_delimiter=" " if delimiter is None else _content(delimiter),
        special=frozenset({*(_content(token) for token in special if token is not None), ""}),
        lower_case=bool(options.get("do_lower_case", False)),
    )


def _tokenizer_options(artifact: Artifact) -> dict[str, Any]:
    """The tokenizer's settings as transformers reads them.

    `special_tokens_map.json` counts only in the old file format, without `added_tokens_decoder`.
    """
    options = SPECIAL_TOKENS | {"word_delimiter_token": "|"} | artifact.read_json("tokenizer_config.json", default={})
    if "added_tokens_decoder" not in options:
        options |= artifact.read_json("special_tokens_map.json", default={})
    if _is_fast(artifact.folder):
        decoder = artifact.read_json("tokenizer.json").get("decoder") or {}
        if decoder.get("type") != "CTC":
            raise ArtifactError(f"{artifact.folder}/tokenizer.json does not decode CTC, but {decoder.get('type')}")
        options |= {name: decoder[name] for name in ("pad_token", "word_delimiter_token")} | {"do_lower_case": False}
    return options


def _token_ids(artifact: Artifact, options: dict[str, Any], size: int) -> list[tuple[str, int]]:
    """Tokens with their ids; added tokens come last, because they win where an id has two tokens."""
    added = [(_content(token), int(index)) for index, token in options.get("added_tokens_decoder", {}).items()]
    if _is_fast(artifact.folder):
        tokenizer = artifact.read_json("tokenizer.json")
        known = tokenizer["model"]["vocab"]  # {token: id} or, of a unigram model, [[token, score], ...]
        if isinstance(known, list):
            known = {token: index for index, (token, _) in enumerate(known)}
        return [*known.items(), *((token["content"], token["id"]) for token in tokenizer["added_tokens"]), *added]
    ids = artifact.read_json("vocab.json")
    if any(isinstance(value, dict) for value in ids.values()):
        ids = _of_one_language(ids, options.get("target_lang"), size)
    return [*ids.items(), *artifact.read_json("added_tokens.json", default={}).items(), *added]


def _of_one_language(languages: dict[str, Any], wanted: str | None, size: int) -> dict[str, int]:
    """From a multilingual `vocab.json`, the vocabulary of the language that the tokenizer is set to."""
    if wanted not in languages:
        raise ArtifactError(
            f"vocab.json holds several languages ({len(languages)}): name one of them as target_lang in "
            "tokenizer_config.json"
        )
    ids: dict[str, int] = languages[wanted]
    if len(ids) != size:
        raise ArtifactError(
            f"the vocabulary of {wanted} has {len(ids)} tokens, the model {size} logits: load the language's adapter "
            f"into the model (load_adapter({wanted!r})) and save both"
        )
    return ids


def _is_fast(folder: Path) -> bool:
    """Whether the tokenizer was saved as `tokenizer.json` only."""
    return not (folder / "vocab.json").is_file() and (folder / "tokenizer.json").is_file()


def _content(token: Any) -> str:
    """The text of a special token, which the files store as text or as {"content": text, ...}."""
    return str(token["content"] if isinstance(token, dict) else token)
