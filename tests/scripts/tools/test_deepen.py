from pathlib import Path

import numpy as np
import pytest
import torch

from scripts.tools.deepen import deepen, main
from scripts.training.checkpoints import load_with_head
from tests.checkpoints import babbling, tiny_model

BUNDLED = Path("models/tr-small")


def logits(model: torch.nn.Module, seed: int) -> torch.Tensor:
    """Of two seconds, shape (1, frames, vocabulary)."""
    samples = torch.from_numpy(babbling(2.0, seed))[None]
    with torch.no_grad():
        output: torch.Tensor = model.eval()(samples).logits
    return output


def test_new_layers_in_front_of_the_norm_change_nothing() -> None:
    model = tiny_model("wav2vec2", "layer", do_stable_layer_norm=True)
    layers, units = model.config.num_hidden_layers, model.config.intermediate_size
    before = logits(model, 1)
    deepen(model, 2 * layers + 1, 2 * units)
    assert len(model.wav2vec2.encoder.layers) == model.config.num_hidden_layers == 2 * layers + 1
    assert model.wav2vec2.encoder.layers[-1].feed_forward.output_dense.weight.shape[1] == 2 * units
    torch.testing.assert_close(logits(model, 1), before, atol=1e-5, rtol=0)


def test_a_trained_model_says_the_same_with_twice_the_layers(tmp_path: Path) -> None:
    main(
        ["--checkpoint_dir", str(BUNDLED), "--layers", "12", "--feed_forward", "1280", "--out", str(tmp_path / "deep")]
    )
    (model, *_), (deeper, tokenizer, *_) = (load_with_head(folder, "tr") for folder in (BUNDLED, tmp_path / "deep"))
    assert tokenizer.get_vocab()
    assert deeper.config.num_hidden_layers == 12
    before, after = logits(model, 2).argmax(-1).numpy(), logits(deeper, 2).argmax(-1).numpy()
    assert np.mean(before == after) > 0.9


def test_original_layers_are_spread_over_the_depth() -> None:
    model = tiny_model("wav2vec2", "group", num_hidden_layers=2)
    originals = list(model.wav2vec2.encoder.layers)
    deepen(model, 5, model.config.intermediate_size)
    layers = list(model.wav2vec2.encoder.layers)
    assert [layers.index(layer) for layer in originals] == [0, 3]


def test_a_model_is_not_made_smaller() -> None:
    model = tiny_model("wav2vec2", "group", num_hidden_layers=2)
    with pytest.raises(ValueError, match="has 2 layers"):
        deepen(model, 1, model.config.intermediate_size)
