from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import Wav2Vec2ForCTC

from scripts.common import ROOT
from scripts.tools.deepen import deepen, main
from scripts.training.checkpoints import load_with_head
from tests.checkpoints import babbling, tiny_model

BUNDLED = ROOT / "models" / "tr-small"


def tiny_wav2vec2(norm: str, **changes: Any) -> Wav2Vec2ForCTC:
    model = tiny_model("wav2vec2", norm, **changes)
    assert isinstance(model, Wav2Vec2ForCTC)
    return model


def layers_of(model: Wav2Vec2ForCTC) -> list[Any]:
    return list(model.wav2vec2.encoder.layers)


def logits(model: torch.nn.Module, seed: int) -> torch.Tensor:
    """Of two seconds, shape (1, frames, vocabulary)."""
    samples = torch.from_numpy(babbling(2.0, seed))[None]
    with torch.no_grad():
        output: torch.Tensor = model.eval()(samples).logits
    return output


def test_new_layers_in_front_of_the_norm_change_nothing() -> None:
    model = tiny_wav2vec2("layer", do_stable_layer_norm=True)
    layers, units = model.config.num_hidden_layers, model.config.intermediate_size
    before = logits(model, 1)
    deepen(model, 2 * layers + 1, 2 * units)
    assert len(layers_of(model)) == model.config.num_hidden_layers == 2 * layers + 1
    assert layers_of(model)[-1].feed_forward.output_dense.weight.shape[1] == 2 * units
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
    model = tiny_wav2vec2("group", num_hidden_layers=2)
    originals = layers_of(model)
    deepen(model, 5, model.config.intermediate_size)
    layers = layers_of(model)
    assert [layers.index(layer) for layer in originals] == [0, 3]


def test_a_model_is_not_made_smaller() -> None:
    model = tiny_wav2vec2("group", num_hidden_layers=2)
    with pytest.raises(ValueError, match="has 2 layers"):
        deepen(model, 1, model.config.intermediate_size)


def test_the_command_says_so_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--checkpoint_dir", str(BUNDLED), "--layers", "1", "--out", str(tmp_path / "out")])
    assert "more than 1 with" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
