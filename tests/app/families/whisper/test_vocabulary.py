import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from app.artifacts import ArtifactError, open_artifact
from app.families.whisper.vocabulary import Vocabulary, read_vocabulary
from tests.checkpoints import rewrite
from tests.whisper_checkpoints import END, LANGUAGES, NO_TIMESTAMPS, START, make_whisper

TEXTS = [
    "",
    "   ",
    "Merhaba dünya, bugün hava çok güzel!",
    " the year 1234 -- it's  a   test\n\nof İSTANBUL'un ışıkları\t",
    "日本語 😀 e\u0301 \u00a0x\x00y",
    "I'LL <| |> a<|b |x|>",
]
INJECTIONS = [
    END,
    START,
    f"<|{LANGUAGES[0]}|>",
    "<|transcribe|>",
    "<|startofprev|>",
    NO_TIMESTAMPS,
    "<|0.00|>",
    "<|1.50|>",
]
VARIANTS = [
    {},
    {"multilingual": False},
    {"tokenizer_json": False},
    {"tokenizer_json": False, "timestamps_in_tokenizer": False, "multilingual": False},
    {"timestamps_in_tokenizer": False},
]


def size_of(folder: Path) -> int:
    return int(json.loads((folder / "config.json").read_text())["vocab_size"])


def read(folder: Path) -> Vocabulary:
    return read_vocabulary(open_artifact(folder), size_of(folder))


def tokenizers_of(folder: Path) -> list[PreTrainedTokenizerBase]:
    return [AutoTokenizer.from_pretrained(folder, use_fast=fast) for fast in (True, False)]


def changeable(folder: Path, tmp_path: Path, **variant: object) -> Path:
    return shutil.copytree(make_whisper(folder, **variant), tmp_path / "model")


@pytest.mark.parametrize("variant", VARIANTS, ids=str)
def test_texts_are_encoded_and_decoded_as_by_transformers(variant: dict[str, bool], checkpoints: Path) -> None:
    folder = make_whisper(checkpoints, **variant)
    vocabulary = read(folder)
    for tokenizer in tokenizers_of(folder):
        for text in TEXTS:
            tokens = vocabulary.encode(text)
            assert tokens == tokenizer(text, add_special_tokens=False).input_ids
            assert vocabulary.decode(tokens) == text


@pytest.mark.parametrize("variant", VARIANTS, ids=str)
def test_any_tokens_are_decoded_as_by_transformers(variant: dict[str, bool], checkpoints: Path) -> None:
    """Nearly all such sequences are invalid UTF-8. Timestamps are left out: transformers writes them into the bytes and
    takes them out of the text, so that a letter around one becomes two replacement characters.
    """
    folder = make_whisper(checkpoints, **variant)
    vocabulary = read(folder)
    tokenizer = tokenizers_of(folder)[0]
    random = np.random.default_rng(4)
    for limit in (256, vocabulary.ids[END], vocabulary.ids[NO_TIMESTAMPS] + 1):
        for length in random.integers(1, 12, 300):
            tokens = random.integers(0, limit, length).tolist()
            if tokens[0] == vocabulary.ids["<|startofprev|>"]:
                continue  # transformers takes off what follows as a prompt
            expected = tokenizer.decode(tokens, skip_special_tokens=True, clean_up_tokenization_spaces=False)
            assert vocabulary.decode(tokens) == expected


@pytest.mark.parametrize("variant", VARIANTS, ids=str)
@pytest.mark.parametrize("text", INJECTIONS)
def test_text_that_spells_a_special_token_stays_text(text: str, variant: dict[str, bool], checkpoints: Path) -> None:
    vocabulary = read(make_whisper(checkpoints, **variant))
    tokens = vocabulary.encode(f" a {text}{text} b")
    assert set(tokens) <= set(vocabulary.pieces)
    assert vocabulary.decode(tokens) == f" a {text}{text} b"


def test_lone_surrogates_are_encoded_as_question_marks(checkpoints: Path) -> None:
    vocabulary = read(make_whisper(checkpoints))
    assert vocabulary.decode(vocabulary.encode("a\ud800b")) == "a?b"


def test_special_tokens_and_unknown_ids_are_no_text(checkpoints: Path) -> None:
    vocabulary = read(make_whisper(checkpoints))
    assert vocabulary.decode([*range(vocabulary.ids[END], len(vocabulary.ids)), 10**6]) == ""


@pytest.mark.parametrize("tokenizer_json", [True, False])
@pytest.mark.parametrize("token", ["Dikteci", "café", "ışığı"])
def test_an_added_token_of_text_is_itself(token: str, tokenizer_json: bool, checkpoints: Path) -> None:
    """Its letters are no bytes: "é" alone is a letter of byte-level vocabularies too, for byte 0xE9."""
    folder = make_whisper(checkpoints, tokenizer_json=tokenizer_json, text_token=token)
    vocabulary = read(folder)
    index = size_of(folder) - 1
    assert vocabulary.pieces[index] == token.encode()
    assert vocabulary.encode(f"a{token} b") == [*vocabulary.encode("a"), index, *vocabulary.encode(" b")]
    assert tokenizers_of(folder)[0](token, add_special_tokens=False).input_ids == [index]


def test_tokens_that_the_files_do_not_mark_as_special_are_so_by_their_spelling(
    checkpoints: Path, tmp_path: Path
) -> None:
    folder = changeable(checkpoints, tmp_path, tokenizer_json=False)
    (folder / "special_tokens_map.json").unlink()
    rewrite(folder / "tokenizer_config.json", additional_special_tokens=None)
    vocabulary = read(folder)
    assert vocabulary.decode([vocabulary.ids["<|tr|>"], vocabulary.ids["<|0.00|>"]]) == ""
    assert vocabulary.decode(vocabulary.encode("<|tr|>")) == "<|tr|>"


def test_a_special_token_of_another_spelling_is_no_text(checkpoints: Path, tmp_path: Path) -> None:
    folder = changeable(checkpoints, tmp_path, tokenizer_json=False, text_token="<pad>")
    rewrite(folder / "special_tokens_map.json", pad_token="<pad>")
    assert read(folder).decode([size_of(folder) - 1]) == ""


def test_tokens_without_a_logit_are_left_out(checkpoints: Path, tmp_path: Path) -> None:
    folder = changeable(checkpoints, tmp_path, text_token="Dikteci")
    vocabulary = read_vocabulary(open_artifact(folder), size_of(folder) - 1)
    assert "Dikteci" not in vocabulary.ids
    assert max(vocabulary.encode("Dikteci")) < vocabulary.ids[END]


def test_an_added_token_keeps_its_id_where_ids_are_left_out(checkpoints: Path, tmp_path: Path) -> None:
    folder = changeable(checkpoints, tmp_path, text_token="Dikteci", timestamps_in_tokenizer=False)
    vocabulary = read(folder)
    assert vocabulary.encode("Dikteci") == [size_of(folder) - 1]
    assert size_of(folder) - 1 > len(vocabulary.ids)


class TestBrokenFiles:
    def test_no_tokenizer(self, checkpoints: Path, tmp_path: Path) -> None:
        folder = changeable(checkpoints, tmp_path, tokenizer_json=False)
        (folder / "merges.txt").unlink()
        with pytest.raises(ArtifactError, match=r"neither tokenizer\.json nor vocab\.json with merges\.txt"):
            read(folder)

    def test_a_tokenizer_of_another_kind(self, checkpoints: Path, tmp_path: Path) -> None:
        folder = changeable(checkpoints, tmp_path)
        rewrite(folder / "tokenizer.json", model={"type": "Unigram", "vocab": []})
        with pytest.raises(ArtifactError, match="of type Unigram, not BPE"):
            read(folder)

    def test_a_broken_model(self, checkpoints: Path, tmp_path: Path) -> None:
        folder = changeable(checkpoints, tmp_path)
        model = json.loads((folder / "tokenizer.json").read_text())["model"]
        rewrite(folder / "tokenizer.json", model=model | {"merges": [["no", "token"]]})
        with pytest.raises(ArtifactError, match="cannot be used") as raised:
            read(folder)
        assert "\n" not in str(raised.value)

    def test_two_ids_of_a_token(self, checkpoints: Path, tmp_path: Path) -> None:
        folder = changeable(checkpoints, tmp_path)
        rewrite(folder / "tokenizer_config.json", added_tokens_decoder={"7": {"content": "<|tr|>", "special": True}})
        with pytest.raises(ArtifactError, match=r"give <\|tr\|> both id \d+ and id 7"):
            read(folder)
