"""The tokens of a Whisper model: bytes, and special tokens that are not text."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

from app.artifacts import Artifact, ArtifactError


@dataclass(frozen=True)
class Vocabulary:
    """numbers: token, as the files spell it -> its number. special: the numbers of those that are not text."""

    numbers: Mapping[str, int]
    special: frozenset[int]

    @cached_property
    def pieces(self) -> Mapping[int, bytes]:
        """The bytes of each token that is text. A letter may lie in several tokens."""
        byte_of = {letter: byte for byte, letter in byte_letters().items()}
        return {
            index: bytes(byte_of[letter] for letter in token)
            for token, index in self.numbers.items()
            if index not in self.special and all(letter in byte_of for letter in token)
        }

    def text(self, tokens: Iterable[int]) -> str:
        """What tokens spell; special ones nothing, and half a letter the replacement character."""
        return b"".join(self.pieces.get(token, b"") for token in tokens).decode("utf-8", errors="replace")


def byte_letters() -> dict[int, str]:
    """Byte -> the letter that stands for it in GPT-2's vocabularies: itself where it can be seen, else one from 256 on
    (`bytes_to_unicode` in openai/gpt-2).
    """
    visible = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    hidden = [byte for byte in range(256) if byte not in visible]
    return {byte: chr(byte) for byte in visible} | {byte: chr(256 + place) for place, byte in enumerate(hidden)}


def read_vocabulary(artifact: Artifact, size: int) -> Vocabulary:
    """The tokens that have a logit, of which the model has `size`.

    From `tokenizer.json`, or where it is missing from `vocab.json` and what names added tokens. Raises ArtifactError if
    there is neither.
    """
    if (artifact.folder / "tokenizer.json").is_file():
        tokenizer = artifact.read_json("tokenizer.json")
        numbers = dict(tokenizer["model"]["vocab"])
        added = {token["content"]: int(token["id"]) for token in tokenizer.get("added_tokens", ())}
    elif (artifact.folder / "vocab.json").is_file():
        numbers = artifact.read_json("vocab.json")
        added = artifact.read_json("added_tokens.json", default={})
    else:
        raise ArtifactError(f"there is neither tokenizer.json nor vocab.json in {artifact.folder}")
    decoder = artifact.read_json("tokenizer_config.json", default={}).get("added_tokens_decoder", {})
    added |= {token["content"]: int(index) for index, token in decoder.items()}
    spelled = {token: int(index) for token, index in (numbers | added).items() if int(index) < size}
    special = {index for token, index in spelled.items() if token in added or token.startswith("<|")}
    return Vocabulary(spelled, frozenset(special))
