"""What a model folder holds: the settings that serving needs, and `manifest.json` with what is proven of its files.

An artifact is a folder with ONNX files, the tokenizer and feature extractor files in their Hugging Face names, and a
manifest. A checkpoint folder has the same settings files and PyTorch weights, so both are read by the same code, and
nothing of transformers is needed to serve.

The manifest has the hash of every file and the proofs, each with what was measured and the limit that it kept. Whatever
speaks against using a folder is a doubt: it is an error, or noted down where the one who opens it takes the risk.
"""

import hashlib
import json
import logging
import math
import re
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Self

from app.decoding import Vocabulary
from app.files import describe_broken_file
from app.windows import Framing

logger = logging.getLogger("dikte")

MANIFEST_NAME = "manifest.json"
MANIFEST_FORMAT = 3
"""Format 1 had no proofs, format 2 no evidence of them."""
NUMBERS = re.compile(r"\[[\s\d.,e+-]+\]")
"""A JSON array of nothing but numbers. Hundreds of them are written on one line, not each on its own."""
SETTINGS_FILES = (
    "config.json",
    "preprocessor_config.json",
    "processor_config.json",
    "vocab.json",
    "tokenizer.json",
    "added_tokens.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
)
"""What `open_artifact` reads, where it is there."""
REFERENCE_BACKEND = "pytorch"
"""The checkpoint itself: others are proven against it, it needs no proof."""

WAVEFORM_FEATURES = "Wav2Vec2FeatureExtractor"
SPECTRAL_FAMILIES = frozenset({"mctct", "parakeet_ctc", "wav2vec2-bert"})
"""The CTC families of transformers whose models take `input_features` (log-mel) instead of samples."""
ADAPTER_PADDING = 1
"""Padding of the convolutions after the encoder, in transformers' Wav2Vec2AdapterLayer."""
SPECIAL_TOKENS = {"pad_token": "<pad>", "unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>"}
"""What transformers' Wav2Vec2CTCTokenizer takes where the files do not say."""
OTHER_SPECIAL_TOKENS = ("sep_token", "cls_token", "mask_token")


class ArtifactError(Exception):
    """A model folder that cannot be served; the message says why and what to do."""


class UnprovenError(ArtifactError):
    """A model folder that would run, but may not say what its checkpoint says."""


@dataclass(frozen=True)
class Proof:
    """One figure that was measured of a backend's model, and whether it kept its limit.

    measured is None where the measurement gave no finite number; that is no proof.
    """

    backend: str
    name: str
    measured: float | None
    bound: Literal["at most", "at least"]
    limit: float
    passed: bool

    @classmethod
    def judge(
        cls, backend: str, name: str, measured: float, bound: Literal["at most", "at least"], limit: float
    ) -> Self:
        """Hold a figure against its limit."""
        kept = measured <= limit if bound == "at most" else measured >= limit
        finite = math.isfinite(measured)
        return cls(backend, name, measured if finite else None, bound, limit, passed=finite and kept)

    def __str__(self) -> str:
        measured = "no number" if self.measured is None else f"{self.measured:.4g}"
        return f"{self.name} of {self.backend} is {measured}, must be {self.bound} {self.limit:g}"


@dataclass(frozen=True)
class FeatureSettings:
    """What is done to sound before the model: sample rate in Hz, and scaling to zero mean and unit variance or not."""

    sample_rate_hz: int
    normalize: bool


@dataclass(frozen=True)
class Artifact:
    """An opened model folder.

    doubts: what speaks against using it, noted down in the course of its use; only with `allow_unproven`, for else a
    doubt is an error.
    """

    folder: Path
    name: str
    features: FeatureSettings
    framing: Framing
    vocabulary: Vocabulary
    manifest: dict[str, Any]
    allow_unproven: bool = False
    doubts: list[str] = field(default_factory=list, compare=False)

    @cached_property
    def frame_s(self) -> float:
        """Seconds from one frame of emissions to the next."""
        return self.framing.hop / self.features.sample_rate_hz

    @property
    def proving_command(self) -> str:
        """What proves the files in the folder anew."""
        return f"python scripts/export.py --adopt --checkpoint_dir CHECKPOINT --onnx_dir {self.folder}"

    @property
    def files(self) -> dict[str, Any]:
        """Name -> what the manifest says of a file; empty without a manifest."""
        files = self.manifest.get("files")
        return files if isinstance(files, dict) else {}

    def file(self, name: str) -> Path:
        """Path of a file that an engine needs, after its hash, and that of weights beside it, was compared.

        Raises ArtifactError if it is missing or broken, UnprovenError if it is not the file the manifest speaks of.
        """
        path = self.folder / name
        for part in (name, f"{name}_data", f"{name}.data"):  # above 2 GB the weights lie outside, under these names
            if broken := describe_broken_file(self.folder / part):
                raise ArtifactError(broken)
        if not path.is_file():
            raise ArtifactError(
                f"{name} is missing in {self.folder}: make it with "
                f"`python scripts/export.py --checkpoint_dir CHECKPOINT --onnx_dir {self.folder}`"
            )
        self.verify(name)
        for weights in self.files:
            if weights.startswith((f"{name}_", f"{name}.")):
                self.verify(weights)
        return path

    def verify(self, name: str) -> None:
        """Compare a file's hash with the manifest. Without a manifest there is nothing to compare with.

        Raises ArtifactError if it is broken, UnprovenError if it differs or is not described, unless that is allowed.
        """
        if broken := describe_broken_file(self.folder / name):
            raise ArtifactError(broken)
        if not self.files:
            return
        described = self.files.get(name)
        if not isinstance(described, dict):
            self.doubt(f"{MANIFEST_NAME} does not describe {name}")
        elif not (self.folder / name).is_file() or sha256_of(self.folder / name) != described.get("sha256"):
            self.doubt(f"{name} is not the file that {MANIFEST_NAME} describes (sha256)")

    def check_proofs(self, backend: str) -> None:
        """Look whether everything that was to be proven is, for this backend too.

        Raises UnprovenError if not, unless that is allowed. The reference is the checkpoint itself and needs no proof.
        """
        if backend != REFERENCE_BACKEND and (reason := why_unproven(self.manifest, backend)):
            self.doubt(f"{reason}; prove it anew with `{self.proving_command}`")

    def doubt(self, reason: str) -> None:
        """Note what speaks against using it down, loudly. Raises UnprovenError instead, unless that is allowed."""
        doubt = f"{self.name} is not proven: {reason}"
        if not self.allow_unproven:
            raise UnprovenError(doubt)
        if doubt not in self.doubts:  # two engines of one model say the same
            logger.error("USED ALL THE SAME: %s", doubt)
            self.doubts.append(doubt)


def open_artifact(folder: Path, allow_unproven: bool = False) -> Artifact:
    """Read the settings of an artifact or checkpoint folder.

    Raises ArtifactError if they are missing or broken; UnprovenError if there is a manifest and they are not those that
    it describes (other settings are other words), unless that is allowed.
    """
    if not folder.is_dir():
        raise ArtifactError(f"there is no model folder {folder}")
    config = _read_json(folder / "config.json")
    manifest = read_manifest(folder)
    try:
        artifact = Artifact(
            folder=folder,
            name=str(manifest.get("name") or folder.resolve().name),
            features=read_features(folder, config),
            framing=read_framing(config),
            vocabulary=read_vocabulary(folder, config),
            manifest=manifest,
            allow_unproven=allow_unproven,
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ArtifactError(f"the settings in {folder} cannot be used: {error!r}") from error
    for name in SETTINGS_FILES:
        if name in artifact.files or (folder / name).exists():
            artifact.verify(name)
    return artifact


def read_manifest(folder: Path) -> dict[str, Any]:
    """What is written of a folder; empty if there is no manifest. Raises ArtifactError if it is broken."""
    return _read_json(folder / MANIFEST_NAME, default={})


def write_manifest(folder: Path, manifest: dict[str, Any]) -> Path:
    """Write the manifest whole or not at all, and give its path."""
    path = folder / MANIFEST_NAME
    part = folder / f".{MANIFEST_NAME}.part"
    try:
        text = json.dumps(manifest, indent=2, ensure_ascii=False, allow_nan=False)
        part.write_text(NUMBERS.sub(lambda found: " ".join(found[0].split()), text) + "\n", encoding="utf-8")
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    return path


def why_unproven(manifest: dict[str, Any], backend: str) -> str | None:
    """What keeps a manifest from proving that a backend says what the checkpoint says; None if nothing does."""
    if not manifest:
        return f"there is no {MANIFEST_NAME}"
    if manifest.get("format") != MANIFEST_FORMAT:
        return f"{MANIFEST_NAME} is of format {manifest.get('format')}, not {MANIFEST_FORMAT}, which keeps the evidence"
    if not isinstance(manifest.get("files"), dict) or not manifest["files"]:
        return f"{MANIFEST_NAME} describes no files"
    try:
        record = manifest["proofs"]
        proofs = [Proof(**proof) for proof in record["checks"]]
        failed = [str(proof) for proof in proofs if proof.passed is not True]
    except (KeyError, TypeError, ValueError):
        return f"{MANIFEST_NAME} lists no proofs that can be read"
    if failed:
        return "; ".join(failed)
    if backend not in {proof.backend for proof in proofs}:
        return f"{MANIFEST_NAME} lists no proof for {backend}"
    if record.get("proven") is not True:
        return f"{MANIFEST_NAME} says that it is not"
    try:
        said = any(backend in said_by for said_by in manifest["evidence"]["clips"].values())
    except (AttributeError, KeyError, TypeError):
        said = False
    return None if said else f"{MANIFEST_NAME} keeps no evidence of {backend}"


def read_features(folder: Path, config: dict[str, Any]) -> FeatureSettings:
    """The feature extractor's settings; where the files do not say, those of transformers hold.

    They are in `preprocessor_config.json` or, as transformers 5 writes them, inside `processor_config.json`. Raises
    ArtifactError if the model does not take samples.
    """
    processor = _read_json(folder / "processor_config.json", default={})
    settings = _read_json(folder / "preprocessor_config.json", default=processor)
    settings = settings.get("feature_extractor", settings)
    wanted = settings.get("feature_extractor_type", WAVEFORM_FEATURES)
    family = config.get("model_type")
    if wanted != WAVEFORM_FEATURES or settings.get("feature_size", 1) != 1 or family in SPECTRAL_FAMILIES:
        raise ArtifactError(
            f"the checkpoint in {folder} ({family}, {wanted}) wants spectral features; "
            "Dikte serves models on raw waveform so far"
        )
    return FeatureSettings(
        sample_rate_hz=int(settings.get("sampling_rate", 16_000)),
        normalize=bool(settings.get("do_normalize", True)),
    )


def read_framing(config: dict[str, Any]) -> Framing:
    """Hop and receptive field, in samples, of the convolutions in a wav2vec2-like `config.json`.

    A convolution of kernel k, stride s and padding p over frames `hop` samples apart makes one frame of k of them, less
    the 2 p that its padding stands in for: the receptive field grows by (k - 1 - 2 p) hop, and the hop s times. SEW's
    squeezed encoder gives as many frames as it was given, but needs `squeeze_factor` of them to run.
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
    return Framing(hop, receptive_field, least_frames=int(config.get("squeeze_factor", 1)))


def read_vocabulary(folder: Path, config: dict[str, Any]) -> Vocabulary:
    """The tokens that have a logit, from the tokenizer's files.

    Published checkpoints may name more tokens than there are logits (`added_tokens.json`); those are left out. The
    blank is the tokenizer's padding token or, where that has no logit, the model's `pad_token_id`.
    """
    size = int(config["vocab_size"])
    options = _tokenizer_options(folder)
    if str(options.get("tokenizer_class")).endswith("PhonemeCTCTokenizer"):
        raise ArtifactError(f"the checkpoint in {folder} writes phonemes, not words")
    tokens = [""] * size
    for token, index in _token_ids(folder, options, size):
        if 0 <= index < size:
            tokens[index] = token
    pad = options["pad_token"]
    blank = tokens.index(_content(pad)) if pad is not None and _content(pad) in tokens else int(config["pad_token_id"])
    if not 0 <= blank < size:
        raise ArtifactError(f"{folder} names no padding token that has a logit, so there is no blank")
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


def _tokenizer_options(folder: Path) -> dict[str, Any]:
    """The tokenizer's settings as transformers reads them: `special_tokens_map.json` counts only for files of old."""
    options = SPECIAL_TOKENS | {"word_delimiter_token": "|"} | _read_json(folder / "tokenizer_config.json", default={})
    if "added_tokens_decoder" not in options:
        options |= _read_json(folder / "special_tokens_map.json", default={})
    if _is_fast(folder):
        decoder = _read_json(folder / "tokenizer.json").get("decoder") or {}
        if decoder.get("type") != "CTC":
            raise ArtifactError(f"{folder}/tokenizer.json does not decode CTC, but {decoder.get('type')}")
        options |= {name: decoder[name] for name in ("pad_token", "word_delimiter_token")} | {"do_lower_case": False}
    return options


def _token_ids(folder: Path, options: dict[str, Any], size: int) -> list[tuple[str, int]]:
    """Tokens with their ids; what the files say of added tokens comes last, for it holds where an id is named twice."""
    added = [(_content(token), int(index)) for index, token in options.get("added_tokens_decoder", {}).items()]
    if _is_fast(folder):
        tokenizer = _read_json(folder / "tokenizer.json")
        known = tokenizer["model"]["vocab"]  # {token: id} or, of a unigram model, [[token, score], ...]
        if isinstance(known, list):
            known = {token: index for index, (token, _) in enumerate(known)}
        return [*known.items(), *((token["content"], token["id"]) for token in tokenizer["added_tokens"]), *added]
    ids = _read_json(folder / "vocab.json")
    if any(isinstance(value, dict) for value in ids.values()):
        ids = _of_one_language(ids, options.get("target_lang"), size)
    return [*ids.items(), *_read_json(folder / "added_tokens.json", default={}).items(), *added]


def _of_one_language(languages: dict[str, Any], wanted: str | None, size: int) -> dict[str, int]:
    """The vocabulary of the language that the tokenizer was set to, of a multilingual `vocab.json`."""
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
    """Whether the tokenizer was saved as `tokenizer.json` alone."""
    return not (folder / "vocab.json").is_file() and (folder / "tokenizer.json").is_file()


def sha256_of(path: Path) -> str:
    """Hexadecimal SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _content(token: Any) -> str:
    """A special token stands in the files as text, or as {"content": text, ...}."""
    return str(token["content"] if isinstance(token, dict) else token)


def _read_json(path: Path, default: dict[str, Any] | None = None) -> dict[str, Any]:
    if not path.is_file():
        if default is not None:
            return default
        raise ArtifactError(f"{path.name} is missing in {path.parent}")
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ArtifactError(describe_broken_file(path) or f"{path} is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise ArtifactError(f"{path} does not hold a JSON object")
    return value
