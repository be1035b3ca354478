from argparse import Namespace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import (
    GenerationConfig,
    WhisperFeatureExtractor,
    WhisperForConditionalGeneration,
    WhisperTokenizerFast,
)
from transformers.trainer_utils import EvalPrediction

from app.artifacts import open_artifact
from app.families.whisper.checkpoint import load_checkpoint
from app.families.whisper.padding import CONDENSED_POSITIONS, KEPT_POSITIONS
from app.families.whisper.settings import read_settings
from scripts.speech.text import TextNormalizer
from scripts.training.batches import IGNORED_LABEL
from scripts.training.whisper_batches import Transcription, WhisperCollator
from scripts.training.whisper_trainer import TextErrorRates, WhisperTrainer, cut, generate
from scripts.training.whisper_windows import Windows
from tests.checkpoints import RATE_HZ, babbling
from tests.whisper_checkpoints import make_whisper

CLIPS = [babbling(0.8, 0), babbling(1.9, 1)]
TEXTS = ["Bir, ve güzel.", "için ışıklar"]


@pytest.fixture(scope="module")
def folder(checkpoints: Path) -> Path:
    return make_whisper(checkpoints)


@pytest.fixture(scope="module")
def turkish(folder: Path) -> Transcription:
    return Transcription(read_settings(open_artifact(folder)), "tr")


@pytest.fixture(scope="module")
def batch(turkish: Transcription) -> dict[str, torch.Tensor]:
    pairs = zip(CLIPS, TEXTS, strict=True)
    return WhisperCollator(turkish)([{"samples": clip, "labels": turkish.encode(text)} for clip, text in pairs])


@pytest.fixture
def model(folder: Path) -> WhisperForConditionalGeneration:
    return load_checkpoint(folder)


def trainer(turkish: Transcription, model: WhisperForConditionalGeneration, condense_silence: float) -> WhisperTrainer:
    made = object.__new__(WhisperTrainer)
    made.transcription, made.condense_silence = turkish, condense_silence
    made.windows = Windows(model)
    return made


def test_the_loss_is_that_of_transformers_for_text_and_end(
    folder: Path, turkish: Transcription, batch: dict[str, torch.Tensor], model: WhisperForConditionalGeneration
) -> None:
    """Labels, shift and spectrograms by transformers alone, as in the recipe of Hugging Face."""
    tokenizer = WhisperTokenizerFast.from_pretrained(folder)
    extractor = WhisperFeatureExtractor.from_pretrained(folder)
    prompt = tokenizer.convert_tokens_to_ids(["<|tr|>", "<|transcribe|>", "<|notimestamps|>"])
    encoded = [tokenizer(f" {text}", add_special_tokens=False).input_ids for text in TEXTS]
    rows = [[*prompt, *tokens, tokenizer.eos_token_id] for tokens in encoded]  # the start is no label
    labels = torch.full((2, max(map(len, rows))), IGNORED_LABEL)
    for index, row in enumerate(rows):
        labels[index, : len(row)] = torch.tensor(row)
    features = extractor(CLIPS, sampling_rate=RATE_HZ, return_tensors="pt").input_features
    stock = WhisperForConditionalGeneration.from_pretrained(folder).eval()
    with torch.no_grad():
        logits = stock(input_features=features, labels=labels).logits
        labels[:, :3] = IGNORED_LABEL  # language, task, <|notimestamps|>
        expected = torch.nn.functional.cross_entropy(logits.flatten(0, 1), labels.flatten())
        loss, outputs = trainer(turkish, model, 1.0).compute_loss(model.eval(), batch, return_outputs=True)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-4)
    assert outputs.encoder_last_hidden_state.shape[1] == 1_500, "silence is not condensed at evaluation"


def test_a_cut_batch_has_the_spectrograms_of_that_length(
    turkish: Transcription, batch: dict[str, torch.Tensor]
) -> None:
    short = cut(batch, 300)
    assert short["attention_mask"].sum(dim=1).tolist() == [80, 190]
    assert torch.equal(short["labels"], batch["labels"])
    for row, clip in enumerate(CLIPS):
        np.testing.assert_allclose(short["input_features"][row], turkish.settings.log_mel(clip, 300), atol=1e-6)


@pytest.mark.parametrize(("share", "low", "high"), [(0.0, 0, 0), (0.5, 3, 17), (1.0, 20, 20)])
def test_the_share_of_batches_with_condensed_silence(
    turkish: Transcription,
    batch: dict[str, torch.Tensor],
    model: WhisperForConditionalGeneration,
    share: float,
    low: int,
    high: int,
) -> None:
    lengths = []
    made = trainer(turkish, model, share)

    def record(input_features: torch.Tensor, **_: object) -> Namespace:
        lengths.append(input_features.shape[-1])
        return Namespace(loss=torch.zeros(()))

    recorder = torch.nn.Module()
    recorder.forward = record
    torch.manual_seed(0)
    for _ in range(20):
        made.compute_loss(recorder, batch)
    condensed = 2 * (95 + KEPT_POSITIONS + CONDENSED_POSITIONS)  # for the longest clip, of 1.9 s
    assert set(lengths) <= {condensed, 3_000}
    assert low <= lengths.count(condensed) <= high


@pytest.mark.parametrize("multilingual", [True, False])
def test_generation_is_that_of_transformers(checkpoints: Path, multilingual: bool) -> None:
    folder = make_whisper(checkpoints, multilingual=multilingual)
    settings = read_settings(open_artifact(folder))
    transcription = Transcription(settings, "tr" if multilingual else None)
    model = load_checkpoint(folder)
    features = WhisperCollator(transcription)([{"samples": clip, "labels": []} for clip in CLIPS])["input_features"]
    named: dict[str, Any] = {"language": "tr", "task": "transcribe"} if multilingual else {}
    config = GenerationConfig.from_pretrained(folder)
    with torch.no_grad():
        expected = model.generate(features, generation_config=config, max_new_tokens=40, **named)
        ids = generate(model, transcription, model.model.encoder(features).last_hidden_state, frames=190)
    for row, other in zip(ids.tolist(), expected.tolist(), strict=True):
        texts = [settings.vocabulary.decode(tokens) for tokens in (row[: 40 + len(transcription.prompt)], other)]
        assert texts[0] == texts[1] != ""
        assert row[: len(transcription.prompt)] == list(transcription.prompt)


def test_error_rates_are_those_of_normalized_texts(turkish: Transcription) -> None:
    end = turkish.settings.special.end
    rates = TextErrorRates(turkish, TextNormalizer(language="tr"), Namespace(add_text=lambda *_: None))  # type: ignore[arg-type]
    hypothesis = [*turkish.prompt, *turkish.encode("bir güzel ışık"), end, end, IGNORED_LABEL]
    reference = [*[IGNORED_LABEL] * 3, *turkish.encode("Bir güzel IŞIK; 3!"), end]
    figures = rates(EvalPrediction(np.array([hypothesis]), np.array([reference])))
    assert figures["wer"] == pytest.approx(1 / 4)
