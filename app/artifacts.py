"""What a model folder holds: the settings that serving needs, and `manifest.json` with what is known of its files.

An artifact is a folder with ONNX files, the tokenizer and feature extractor files in their Hugging Face names, and a
manifest. A checkpoint folder has the same settings files and PyTorch weights, so both are read by the same code, and
nothing of transformers is needed to serve.
"""

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from app.decoding import Vocabulary
from app.windows import Framing

MANIFEST_NAME = "manifest.json"


SPECIAL_TOKENS = {"pad_token": "<pad>", "unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>"}
"""What transformers' Wav2Vec2CTCTokenizer takes where the files do not say."""


class ArtifactError(Exception):
    """A model folder that cannot be served; the message says why and what to do."""


@dataclass(frozen=True)
class FeatureSettings:
    """What is done to sound before the model: sample rate in Hz, and scaling to zero mean and unit variance or not."""

    sample_rate_hz: int
    normalize: bool


@dataclass(frozen=True)
class Artifact:
    """An opened model folder."""

    folder: Path
    name: str
    features: FeatureSettings
    framing: Framing
    vocabulary: Vocabulary
    manifest: dict[str, Any]

    @cached_property
    def frame_s(self) -> float:
        """Seconds from one frame of emissions to the next."""
        return self.framing.hop / self.features.sample_rate_hz

    def file(self, name: str) -> Path:
        """Path of a file that an engine needs, after its hash was compared with the manifest.

        Raises ArtifactError if it is missing or not the file the manifest speaks of.
        """
        path = self.folder / name
        if not path.is_file():
            raise ArtifactError(
                f"{name} is missing in {self.folder}: make it with "
                f"`python scripts/export.py --checkpoint_dir CHECKPOINT --onnx_dir {self.folder}`"
            )
        expected = self.manifest.get("files", {}).get(name, {}).get("sha256")
        if expected is not None and sha256_of(path) != expected:
            raise ArtifactError(f"{name} in {self.folder} is not the file that {MANIFEST_NAME} describes (sha256)")
        return path


def open_artifact(folder: Path) -> Artifact:
    """Read the settings of an artifact or checkpoint folder. Raises ArtifactError if they are missing or broken."""
    if not folder.is_dir():
        raise ArtifactError(f"there is no model folder {folder}")
    config = _read_json(folder / "config.json")
    features = _read_json(folder / "preprocessor_config.json", default={})
    manifest = _read_json(folder / MANIFEST_NAME, default={})
    try:
        return Artifact(
            folder=folder,
            name=str(manifest.get("name") or folder.resolve().name),
            features=FeatureSettings(
                sample_rate_hz=int(features.get("sampling_rate", 16_000)),
                normalize=bool(features.get("do_normalize", True)),
            ),
            framing=read_framing(config),
            vocabulary=read_vocabulary(folder, config),
            manifest=manifest,
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ArtifactError(f"the settings in {folder} cannot be used: {error!r}") from error


def read_framing(config: dict[str, Any]) -> Framing:
    """Hop and receptive field, in samples, of the convolutions in a wav2vec2-like `config.json`."""
    if config.get("add_adapter"):
        raise ArtifactError("checkpoints with an adapter after the encoder (add_adapter) are not supported")
    kernels, strides = config["conv_kernel"], config["conv_stride"]
    receptive_field, hop = 1, 1
    for kernel, stride in zip(kernels, strides, strict=True):
        receptive_field += (kernel - 1) * hop
        hop *= stride
    return Framing(hop, receptive_field)


def read_vocabulary(folder: Path, config: dict[str, Any]) -> Vocabulary:
    """The tokens that have a logit, from the tokenizer's files.

    Published checkpoints may name more tokens than there are logits (`added_tokens.json`); those are left out. The
    blank is the tokenizer's padding token or, where that has no logit, the model's `pad_token_id`.
    """
    size = int(config["vocab_size"])
    ids: dict[str, int] = _read_json(folder / "vocab.json") | _read_json(folder / "added_tokens.json", default={})
    if any(isinstance(value, dict) for value in ids.values()):
        raise ArtifactError(f"{folder}/vocab.json holds several languages: keep the one that is served")
    tokens = [""] * size
    for token, index in ids.items():
        if 0 <= index < size:
            tokens[index] = token
    options = _read_json(folder / "tokenizer_config.json", default={})
    named = SPECIAL_TOKENS | options | _read_json(folder / "special_tokens_map.json", default={})
    special = {name: _content(named[name]) for name in SPECIAL_TOKENS if named[name] is not None}
    blank = ids.get(special.get("pad_token", ""), size)
    if blank >= size:
        blank = int(config["pad_token_id"])
    if not 0 <= blank < size:
        raise ArtifactError(f"{folder} names no padding token that has a logit, so there is no blank")
    return Vocabulary(
        tokens=tuple(tokens),
        blank=blank,
        word_delimiter=_content(options.get("word_delimiter_token") or "|"),
        special=frozenset({*special.values(), ""}),
        lower_case=bool(options.get("do_lower_case", False)),
    )


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
        raise ArtifactError(f"{path} is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise ArtifactError(f"{path} does not hold a JSON object")
    return value
