import json
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import WhisperFeatureExtractor, WhisperTokenizerFast

from app.artifacts import open_artifact
from app.families.whisper.settings import read_settings
from scripts.speech.data import DataError
from scripts.training.augment import AugmentationPolicy
from scripts.training.batches import IGNORED_LABEL
from scripts.training.whisper_batches import TOKENS_MULTIPLE, Transcription, WhisperCollator, WhisperDataset, clean
from tests.checkpoints import RATE_HZ, babbling
from tests.speech import speech_rows
from tests.whisper_checkpoints import make_whisper


@pytest.fixture(scope="module")
def folder(checkpoints: Path) -> Path:
    return make_whisper(checkpoints)


@pytest.fixture(scope="module")
def turkish(folder: Path) -> Transcription:
    return Transcription(read_settings(open_artifact(folder)), "tr")


def tokens_named(folder: Path, *names: str) -> list[int]:
    ids = json.loads((folder / "vocab.json").read_text()) | json.loads((folder / "added_tokens.json").read_text())
    return [ids[name] for name in names]


class TestTranscription:
    def test_a_multilingual_model_is_told_language_and_task(self, turkish: Transcription, folder: Path) -> None:
        named = ("<|startoftranscript|>", "<|tr|>", "<|transcribe|>", "<|notimestamps|>")
        assert list(turkish.prompt) == tokens_named(folder, *named)

    def test_an_english_model_is_not(self, checkpoints: Path) -> None:
        folder = make_whisper(checkpoints, multilingual=False)
        english = Transcription(read_settings(open_artifact(folder)), None)
        assert list(english.prompt) == tokens_named(folder, "<|startoftranscript|>", "<|notimestamps|>")
        assert english.max_text_tokens == 448 - 2

    def test_texts_keep_case_and_punctuation_and_begin_with_a_space(self, turkish: Transcription, folder: Path) -> None:
        tokens = turkish.encode("  Şimdi,\ngüzel   mi? ")
        assert turkish.settings.vocabulary.decode(tokens) == " Şimdi, güzel mi?"
        tokenizer = WhisperTokenizerFast.from_pretrained(folder)
        assert tokens == tokenizer(" Şimdi, güzel mi?", add_special_tokens=False).input_ids

    def test_languages_without_spaces_have_none(self, turkish: Transcription) -> None:
        chinese = Transcription(turkish.settings, "zh")
        assert turkish.settings.vocabulary.decode(chinese.encode("日本")) == "日本"

    def test_an_empty_text_has_no_tokens(self, turkish: Transcription) -> None:
        assert turkish.encode(" ") == []

    def test_a_spelled_control_token_is_text(self, turkish: Transcription) -> None:
        assert turkish.settings.special.end not in turkish.encode("<|endoftext|>")

    def test_letters_are_composed(self) -> None:
        assert clean("s\u0327") == "ş"


class TestCollator:
    def test_a_batch(self, turkish: Transcription, folder: Path) -> None:
        clips = [babbling(0.5, 0), babbling(1.234, 1)]
        labels = [turkish.encode("bir"), turkish.encode("bir ve ışık için")]
        items = [{"samples": clip, "labels": tokens} for clip, tokens in zip(clips, labels, strict=True)]
        batch = WhisperCollator(turkish)(items)
        extractor = WhisperFeatureExtractor.from_pretrained(folder)
        expected = extractor(clips, sampling_rate=RATE_HZ, return_attention_mask=True, return_tensors="pt")
        torch.testing.assert_close(batch["input_features"], expected.input_features, atol=1e-4, rtol=0)
        assert torch.equal(batch["attention_mask"], expected.attention_mask.long())

        prompt, end = list(turkish.prompt), turkish.settings.special.end
        length = batch["labels"].shape[1]
        assert length % TOKENS_MULTIPLE == 0
        assert length - TOKENS_MULTIPLE < len(prompt) + len(labels[1]) <= length
        for row, tokens in enumerate(labels):
            inputs = [*prompt, *tokens]
            assert batch["decoder_input_ids"][row].tolist() == inputs + [end] * (length - len(inputs))
            counted = [IGNORED_LABEL] * (len(prompt) - 1) + [*tokens, end]
            assert batch["labels"][row].tolist() == counted + [IGNORED_LABEL] * (length - len(counted))

    def test_the_longest_text_fits_the_decoder(self, turkish: Transcription) -> None:
        tokens = [300] * turkish.max_text_tokens
        batch = WhisperCollator(turkish)([{"samples": babbling(0.5, 0), "labels": tokens}])
        assert batch["decoder_input_ids"].shape == (1, turkish.settings.max_tokens)
        assert batch["labels"][0, -1] == turkish.settings.special.end


class TestDataset:
    def test_an_item_has_samples_and_tokens(self, turkish: Transcription) -> None:
        rows = speech_rows(["Bir.", "iki"])
        item = WhisperDataset(rows, turkish)[0]
        np.testing.assert_array_equal(item["samples"], rows.samples(0, RATE_HZ))
        assert turkish.settings.vocabulary.decode(item["labels"]) == " Bir."

    def test_joined_rows_are_one_text(self, turkish: Transcription) -> None:
        dataset = WhisperDataset(speech_rows(["Bir.", "İki."]), turkish, groups=[(1, 0)])
        assert turkish.settings.vocabulary.decode(dataset.labels[0]) == " İki. Bir."
        assert len(dataset[0]["samples"]) > 1.1 * RATE_HZ

    def test_noise_has_no_tokens(self, turkish: Transcription) -> None:
        policy = AugmentationPolicy(no_speech=1.0)
        assert WhisperDataset(speech_rows(["Bir."]), turkish, policy)[0]["labels"] == []

    def test_joined_rows_with_too_long_a_text_are_refused(self, turkish: Transcription) -> None:
        rows = speech_rows(["x" * 300, "y" * 300])
        with pytest.raises(DataError, match=r"joined rows have a text of \d+ tokens, more than 444"):
            WhisperDataset(rows, turkish, groups=[(0, 1)])
