from pathlib import Path

import pytest
import torch
from torch import nn
from transformers import WhisperForConditionalGeneration

from app.families.whisper.checkpoint import load_checkpoint
from scripts.training.whisper_encoder import encode, take_any_length
from tests.whisper_checkpoints import make_whisper


@pytest.fixture
def model(checkpoints: Path) -> WhisperForConditionalGeneration:
    return load_checkpoint(make_whisper(checkpoints))


def test_it_is_transformers_encoder(model: WhisperForConditionalGeneration) -> None:
    features = torch.randn(2, 80, 3_000)
    with torch.no_grad():
        expected = model.model.encoder(features).last_hidden_state
        torch.testing.assert_close(encode(model.model.encoder, features).last_hidden_state, expected)


def test_a_short_window_has_the_first_positions(model: WhisperForConditionalGeneration) -> None:
    features = torch.randn(1, 80, 300)
    encoder = model.model.encoder
    with torch.no_grad():
        short = encode(encoder, features).last_hidden_state
        encoder.config.max_source_positions = 150
        encoder.embed_positions = nn.Embedding.from_pretrained(encoder.embed_positions.weight[:150])
        torch.testing.assert_close(short, encoder(features).last_hidden_state)


def test_the_model_takes_any_length_and_keeps_its_weights(model: WhisperForConditionalGeneration) -> None:
    names = set(model.state_dict())
    take_any_length(model)
    assert set(model.state_dict()) == names
    with torch.no_grad():
        output = model(input_features=torch.randn(1, 80, 300), decoder_input_ids=torch.tensor([[300]]))
    assert output.encoder_last_hidden_state.shape == (1, 150, 64)


def test_dropout_and_layerdrop_are_those_of_the_config(checkpoints: Path) -> None:
    model = load_checkpoint(make_whisper(checkpoints), dropout=0.5, encoder_layerdrop=0.5).train()
    features = torch.randn(1, 80, 300)
    with torch.no_grad():
        torch.manual_seed(0)
        first, second = (encode(model.model.encoder, features).last_hidden_state for _ in range(2))
    assert first is not None
    assert second is not None
    assert not torch.equal(first, second)
