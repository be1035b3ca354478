"""Whatever shape a tokenizer's files have, the text is what transformers' own tokenizer prints, less special tokens."""

import json
import re
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from tokenizers import Tokenizer, decoders, models
from transformers import AutoTokenizer, PreTrainedTokenizerBase, PreTrainedTokenizerFast, Wav2Vec2CTCTokenizer

from app.artifacts import Artifact, ArtifactError
from app.families.ctc.decoding import decode_ctc
from app.families.ctc.settings import read_vocabulary

FRAMES = 60
LETTERS = "abcçdefgğhıijklmnoöprsştuüvyz"
SPECIAL = {"pad_token": "<pad>", "unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>"}

Build = Callable[[Path], int]
"""Writes the files of a tokenizer into a folder and gives the number of logits of its model."""


def write(path: Path, value: dict[str, Any]) -> None:
    path.write_text(json.dumps(value, ensure_ascii=False), encoding="utf-8")


def of(tokens: list[str], logits: int | None = None, **options: Any) -> Build:
    """What Wav2Vec2CTCTokenizer saves, with tokens added beyond `vocab.json` where it finds them missing."""

    def build(folder: Path) -> int:
        write(folder / "vocab.json", {token: index for index, token in enumerate(tokens)})
        tokenizer = Wav2Vec2CTCTokenizer(str(folder / "vocab.json"), **(SPECIAL | options))
        tokenizer.save_pretrained(folder)
        return logits or len(tokenizer)

    return build


def without(build: Build, *names: str) -> Build:
    """The same, but files that others leave out are missing."""

    def rebuild(folder: Path) -> int:
        logits = build(folder)
        for name in names:
            (folder / name).unlink()
        return logits

    return rebuild


def nested(folder: Path) -> int:
    """facebook/mms-1b-all: a vocabulary per language, one of which the tokenizer is set to."""
    languages = {"eng": [*SPECIAL.values(), "|", *"abc"], "tur": ["|", *SPECIAL.values(), *LETTERS]}
    write(folder / "vocab.json", {name: {token: i for i, token in enumerate(of)} for name, of in languages.items()})
    Wav2Vec2CTCTokenizer(str(folder / "vocab.json"), target_lang="tur").save_pretrained(folder)
    return len(languages["tur"])


def fast(model: Callable[[list[str]], Any]) -> Build:
    """A tokenizer that has no other file than `tokenizer.json`."""

    def build(folder: Path) -> int:
        tokens = ["[UNK]", *LETTERS, "th", "_", "[PAD]"]
        tokenizer = Tokenizer(model(tokens))
        tokenizer.decoder = decoders.CTC(pad_token="[PAD]", word_delimiter_token="_")
        names = {"pad_token": "[PAD]", "unk_token": "[UNK]"}
        PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names).save_pretrained(folder)
        return len(tokens)

    return build


TOKENIZERS: dict[str, Build] = {
    "letters": of([*SPECIAL.values(), "|", *LETTERS]),
    "facebook/wav2vec2-base-960h": of(["<pad>", "<s>", "</s>", "<unk>", "|", *"ETAONIHSRDLUMWCFGYPBVK'XJQZ"]),
    "capitals, to be lower-cased": of(["<pad>", "|", "<unk>", *"ABCÇIİÖŞÜ"], do_lower_case=True),
    "tokens of several characters": of([*"|abt", "th", "<unk>", "sch", "<pad>", "<s>", "</s>", "''"]),
    "special tokens among letters": of(["a", "<unk>", "|", "b", "</s>", "<pad>", "c", "<s>"]),
    "other special tokens": of(
        ["a", "<c>", "|", "b", "<m>", "<pad>", "<x>"],
        cls_token="<c>",
        mask_token="<m>",
        additional_special_tokens=["<x>"],
        bos_token=None,
        eos_token=None,
    ),
    "blank beyond the vocabulary": of(["|", *LETTERS], pad_token="[PAD]"),
    "blank named in the options alone": without(of(["|", *LETTERS], pad_token="[PAD]"), "added_tokens.json"),
    "more tokens than logits": of(["<pad>", "|", *LETTERS, "<unk>"], logits=len(LETTERS) + 3),
    "spaces between words": of(["<pad>", " ", *LETTERS, "<unk>"], word_delimiter_token=" "),
    "bars are letters": of(["<pad>", "|", " ", "a", "b"], word_delimiter_token=None, unk_token="<pad>"),
    "nothing but a vocabulary": without(
        of([*SPECIAL.values(), "|", *LETTERS]), "tokenizer_config.json", "special_tokens_map.json"
    ),
    "a language of several": nested,
    "tokenizer.json of words": fast(lambda tokens: models.WordLevel({t: i for i, t in enumerate(tokens)}, "[UNK]")),
    "tokenizer.json of pieces": fast(lambda tokens: models.Unigram([(token, 0.0) for token in tokens], 0)),
}


def emissions(path: NDArray[np.int64], logits: int) -> NDArray[np.float32]:
    """Frames that are sure of the tokens of `path`."""
    probabilities = np.full((len(path), logits), 0.1 / (logits - 1), dtype=np.float32)
    probabilities[np.arange(len(path)), path] = 0.9
    return np.log(probabilities)


def printed(tokenizer: PreTrainedTokenizerBase, path: NDArray[np.int64], special: frozenset[str]) -> str:
    """What the tokenizer prints, with spaces as in written text, without special tokens and leftover dots of an İ."""
    (text,) = tokenizer.batch_decode([path.tolist()])
    for token in special - {""}:
        text = text.replace(token, "")
    return unicodedata.normalize("NFC", re.sub(r"\s+", " ", text).strip()).replace("i\u0307", "i")


@pytest.mark.parametrize("name", TOKENIZERS)
def test_the_text_is_what_transformers_prints(name: str, tmp_path: Path) -> None:
    logits = TOKENIZERS[name](tmp_path)
    auto = Wav2Vec2CTCTokenizer if (tmp_path / "vocab.json").exists() else AutoTokenizer
    tokenizer = auto.from_pretrained(tmp_path)
    vocabulary = read_vocabulary(
        Artifact(tmp_path, "", {}), {"vocab_size": logits, "pad_token_id": tokenizer.pad_token_id}
    )
    assert vocabulary.blank == tokenizer.pad_token_id
    assert len(vocabulary.tokens) == logits
    random = np.random.default_rng(1)
    texts = set()
    for _ in range(50):
        # Tokens that last for some frames, often with a blank between them, so that repeats and doubles both occur.
        path = np.repeat(random.integers(0, logits, FRAMES), random.integers(1, 4, FRAMES))
        path[random.random(len(path)) < 0.4] = vocabulary.blank
        text = " ".join(word.text for word in decode_ctc(emissions(path, logits), vocabulary, 0.02))
        assert text == printed(tokenizer, path, vocabulary.special)
        texts.add(text)
    assert len(texts) == 50


@pytest.mark.parametrize("language", [None, "deu"])
def test_one_of_several_languages_must_be_named(language: str | None, tmp_path: Path) -> None:
    logits = nested(tmp_path)
    write(tmp_path / "tokenizer_config.json", {"target_lang": language})
    with pytest.raises(ArtifactError, match=r"several languages \(2\): name one of them as target_lang"):
        read_vocabulary(Artifact(tmp_path, "", {}), {"vocab_size": logits, "pad_token_id": 0})


def test_the_model_must_be_of_the_language_of_the_tokenizer(tmp_path: Path) -> None:
    nested(tmp_path)
    with pytest.raises(ArtifactError, match=r"of tur has 34 tokens, the model 8 logits: .*load_adapter\('tur'\)"):
        read_vocabulary(Artifact(tmp_path, "", {}), {"vocab_size": 8, "pad_token_id": 0})


def test_tokens_that_are_no_letters_are_refused(tmp_path: Path) -> None:
    tokenizer = Tokenizer(models.BPE({"a": 0, "[PAD]": 1}, []))
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(ArtifactError, match=r"tokenizer\.json does not decode CTC, but ByteLevel"):
        read_vocabulary(Artifact(tmp_path, "", {}), {"vocab_size": 2, "pad_token_id": 1})


def test_phonemes_are_refused(tmp_path: Path) -> None:
    logits = of([*SPECIAL.values(), "|", *LETTERS])(tmp_path)
    write(tmp_path / "tokenizer_config.json", {"tokenizer_class": "Wav2Vec2PhonemeCTCTokenizer"})
    with pytest.raises(ArtifactError, match="writes phonemes, not words"):
        read_vocabulary(Artifact(tmp_path, "", {}), {"vocab_size": logits, "pad_token_id": 0})
