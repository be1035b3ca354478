"""The tokens of a Whisper model: pieces of text in UTF-8, and special tokens that are no text."""

import json
import re
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from tokenizers import Tokenizer

from app.artifacts import Artifact, ArtifactError
from app.files import one_line

CONTROL = re.compile(r"<\|[^|]+\|>")
"""Spelling of control tokens and timestamps. They are special even if the files do not mark them so."""
SPECIAL_NAMES = ("bos_token", "eos_token", "unk_token", "pad_token")
"""Special tokens that files of the old format name, beside `additional_special_tokens`."""


@dataclass(frozen=True)
class Vocabulary:
    """The tokens that have a logit.

    ids: token, as the files spell it -> id. pieces: id -> UTF-8 of a token that is text; a letter may be split between
    several tokens. Ids without a piece are special tokens, or have no token at all. _tokenizer_json: a compressed
    `tokenizer.json`; the tokenizer takes 20 MB and is made for the first text that is encoded.
    """

    ids: Mapping[str, int]
    pieces: Mapping[int, bytes]
    _tokenizer_json: bytes = field(repr=False, compare=False)

    def decode(self, tokens: Iterable[int]) -> str:
        """Text of tokens, without the special ones. Invalid UTF-8, as of an incomplete letter, becomes U+FFFD."""
        return b"".join(self.pieces.get(token, b"") for token in tokens).decode("utf-8", errors="replace")

    def encode(self, text: str) -> list[int]:
        """Tokens of a text. Text that spells a special token, such as "<|endoftext|>", is encoded as any other text."""
        without_surrogates = text.encode("utf-8", errors="replace").decode("utf-8")  # a lone one has no UTF-8
        ids: list[int] = self._tokenizer.encode(without_surrogates, add_special_tokens=False).ids
        return ids

    @cached_property
    def _tokenizer(self) -> Tokenizer:
        tokenizer = Tokenizer.from_buffer(zlib.decompress(self._tokenizer_json))
        tokenizer.encode_special_tokens = True  # as text
        return tokenizer


def byte_letters() -> dict[int, str]:
    """Byte -> the letter that stands for it in byte-level vocabularies: itself if it is printable, else one from U+0100
    on (`bytes_to_unicode` in openai/gpt-2, encoder.py).
    """
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in printable]
    return {byte: chr(byte) for byte in printable} | {byte: chr(256 + place) for place, byte in enumerate(others)}


def read_vocabulary(artifact: Artifact, size: int) -> Vocabulary:
    """Read the tokens with an id below `size`, the model's number of logits.

    They are in `tokenizer.json` or, in the old format, in `vocab.json`, `merges.txt` and `added_tokens.json`. Raises
    ArtifactError if the files are missing, contradict each other or are not of a byte-level BPE.
    """
    options = artifact.read_json("tokenizer_config.json", default={})
    tokenizer = _read_tokenizer(artifact)
    model = tokenizer["model"]
    if model.get("type") != "BPE":
        raise ArtifactError(f"the tokenizer in {artifact.folder} is of type {model.get('type')}, not BPE")
    added = [token for token in _added_tokens(artifact, tokenizer, options) if token["id"] < size]
    ids = {token: int(index) for token, index in model["vocab"].items() if int(index) < size}
    byte_of = {letter: byte for byte, letter in byte_letters().items()}
    pieces = {
        index: bytes(byte_of[letter] for letter in token)
        for token, index in ids.items()
        if all(letter in byte_of for letter in token)
    }
    for token in added:
        content, index = token["content"], token["id"]
        ids[content] = index
        if token["special"]:
            pieces.pop(index, None)
        else:
            pieces[index] = content.encode()
    # The added tokens are in the model's vocabulary too, or they would get the ids that follow it.
    tokenizer |= {"model": model | {"vocab": model["vocab"] | ids}, "added_tokens": added, "post_processor": None}
    if (tokenizer.get("pre_tokenizer") or {}).get("type") == "ByteLevel":  # transformers does the same
        tokenizer["pre_tokenizer"] |= {"add_prefix_space": bool(options.get("add_prefix_space", False))}
    serialized = json.dumps(tokenizer)
    try:
        Tokenizer.from_str(serialized)
    except Exception as error:  # tokenizers raises Exception itself
        raise ArtifactError(f"the tokenizer in {artifact.folder} cannot be used: {one_line(error)}") from error
    return Vocabulary(ids, pieces, zlib.compress(serialized.encode()))


def _read_tokenizer(artifact: Artifact) -> dict[str, Any]:
    """`tokenizer.json`, or the same made of the files of the old format."""
    if (artifact.folder / "tokenizer.json").is_file():
        return artifact.read_json("tokenizer.json")
    merges = artifact.folder / "merges.txt"
    if not (artifact.folder / "vocab.json").is_file() or not merges.is_file():
        raise ArtifactError(f"there is neither tokenizer.json nor vocab.json with merges.txt in {artifact.folder}")
    lines = merges.read_text(encoding="utf-8").splitlines()
    return {
        "version": "1.0",
        "added_tokens": [
            {"content": token, "id": index}
            for token, index in artifact.read_json("added_tokens.json", default={}).items()
        ],
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True},
        "model": {
            "type": "BPE",
            "vocab": artifact.read_json("vocab.json"),
            "merges": [line for line in lines if line and not line.startswith("#version")],
        },
    }


def _added_tokens(artifact: Artifact, tokenizer: dict[str, Any], options: dict[str, Any]) -> list[dict[str, Any]]:
    """All added tokens, in the form of `tokenizer.json`, sorted by id."""
    ids = dict(tokenizer["model"]["vocab"])
    named = [{"content": token, "id": index} for token, index in ids.items() if is_control(token)]
    named += tokenizer.get("added_tokens", ())
    named += [token | {"id": int(index)} for index, token in options.get("added_tokens_decoder", {}).items()]
    found: dict[str, dict[str, Any]] = {}
    for token in named:
        content, index = token["content"], token["id"]
        if ids.setdefault(content, index) != index:
            raise ArtifactError(f"the files in {artifact.folder} give {content} both id {ids[content]} and id {index}")
        found[content] = found.get(content, {}) | token
    special = _named_special(options | artifact.read_json("special_tokens_map.json", default={}))
    return sorted(
        (
            dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
            | token
            | {"special": bool(token.get("special")) or content in special or is_control(content)}
            for content, token in found.items()
        ),
        key=lambda token: int(token["id"]),
    )


def is_control(token: str) -> bool:
    """Whether a token is spelled as Whisper's control tokens and timestamps are, such as "<|tr|>" or "<|0.02|>"."""
    return CONTROL.fullmatch(token) is not None


def _named_special(options: dict[str, Any]) -> set[str]:
    """Tokens that the old format marks as special; each is text or {"content": text, ...}."""
    tokens = [options.get(name) for name in SPECIAL_NAMES] + list(options.get("additional_special_tokens") or ())
    return {str(token["content"] if isinstance(token, dict) else token) for token in tokens if token is not None}
