from pathlib import Path

import pytest
import torch
from transformers import WhisperForConditionalGeneration

from app.artifacts import open_artifact
from app.families.whisper import ENCODER, WhisperFamily
from app.families.whisper.checkpoint import load_checkpoint
from app.families.whisper.modules import torch_modules
from app.families.whisper.padding import condensed_layout, full_layout
from scripts.training.whisper_windows import Windows
from tests.whisper_checkpoints import POSITIONS, make_whisper

LAYOUT = condensed_layout(100, POSITIONS)
FRAMES = 2 * len(LAYOUT.positions)


@pytest.fixture
def model(checkpoints: Path) -> WhisperForConditionalGeneration:
    return load_checkpoint(make_whisper(checkpoints))


@pytest.fixture
def stock(checkpoints: Path) -> WhisperForConditionalGeneration:
    return load_checkpoint(make_whisper(checkpoints))


def logits(model: WhisperForConditionalGeneration, features: torch.Tensor) -> torch.Tensor:
    tokens = torch.tensor([[300, 301, 302]]).expand(len(features), -1)
    with torch.no_grad():
        found: torch.Tensor = model(input_features=features, decoder_input_ids=tokens).logits
    return found


def test_a_full_window_is_that_of_transformers(
    model: WhisperForConditionalGeneration, stock: WhisperForConditionalGeneration
) -> None:
    names = set(model.state_dict())
    Windows(model)
    features = torch.randn(2, 80, 2 * POSITIONS)
    torch.testing.assert_close(logits(model, features), logits(stock, features))
    assert set(model.state_dict()) == names


def test_condensed_silence_is_encoded_as_by_the_service(
    checkpoints: Path, model: WhisperForConditionalGeneration, stock: WhisperForConditionalGeneration
) -> None:
    family = WhisperFamily(open_artifact(make_whisper(checkpoints)))
    encoder = torch_modules(stock, family.shape.query_layers)[ENCODER].module
    features = torch.randn(1, 80, FRAMES)
    windows = Windows(model)
    with torch.no_grad(), windows.laid_out(LAYOUT):
        encoded = model.model.encoder(features).last_hidden_state
        keys = model.model.decoder.layers[0].encoder_attn.k_proj(encoded)
        positions, log_weights = torch.from_numpy(LAYOUT.positions), torch.from_numpy(LAYOUT.log_weights)
        expected = encoder(features, positions, log_weights)["cross_key_0"][..., :32]  # without the log-weights
    torch.testing.assert_close(keys.unflatten(-1, (2, -1)).transpose(1, 2), expected, atol=1e-4, rtol=1e-4)


def test_a_position_that_stands_for_n_weighs_as_much_as_n(model: WhisperForConditionalGeneration) -> None:
    """Without positional embeddings, the positions of silence are the same, and condensing them is exact."""
    model.model.encoder.embed_positions.weight.data.zero_()
    features = torch.cat([torch.randn(1, 80, 200), torch.zeros(1, 80, 2 * POSITIONS - 200)], dim=-1)
    windows = Windows(model)
    full = logits(model, features)
    with windows.laid_out(LAYOUT):
        condensed = logits(model, features[..., :FRAMES])
    # The convolutions see the end of the window, so its last position differs from other silence.
    torch.testing.assert_close(condensed, full, atol=0.05, rtol=0.05)
    with windows.laid_out(full_layout(len(LAYOUT.positions))):
        assert (logits(model, features[..., :FRAMES]) - full).abs().max() > 10 * (condensed - full).abs().max()


def test_the_layout_is_full_again_afterwards(model: WhisperForConditionalGeneration) -> None:
    windows = Windows(model)
    features = torch.randn(1, 80, 2 * POSITIONS)
    before = logits(model, features)
    with pytest.raises(KeyboardInterrupt), windows.laid_out(LAYOUT):
        raise KeyboardInterrupt
    torch.testing.assert_close(logits(model, features), before)


def test_gradients_are_finite_in_bfloat16(model: WhisperForConditionalGeneration) -> None:
    windows = Windows(model)
    tokens = torch.tensor([[300, 301]])
    with torch.autocast("cpu", torch.bfloat16), windows.laid_out(LAYOUT):
        loss = model(input_features=torch.randn(1, 80, FRAMES), decoder_input_ids=tokens, labels=tokens).loss
    loss.backward()
    gradient = model.model.encoder.conv1.weight.grad
    assert gradient is not None
    assert gradient.isfinite().all()
    assert gradient.any()


def test_dropout_and_layerdrop_are_those_of_the_config(checkpoints: Path) -> None:
    model = load_checkpoint(make_whisper(checkpoints), dropout=0.5, encoder_layerdrop=0.5).train()
    windows = Windows(model)
    torch.manual_seed(0)
    with windows.laid_out(LAYOUT):
        features = torch.randn(1, 80, FRAMES)
        assert not torch.equal(logits(model, features), logits(model, features))
