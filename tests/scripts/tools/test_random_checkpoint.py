import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoConfig, AutoModelForCTC, Wav2Vec2CTCTokenizer, Wav2Vec2FeatureExtractor

from app.artifacts import open_artifact
from app.models import warm_up
from scripts.tools import random_checkpoint
from scripts.tools.random_checkpoint import CONFIGS, write_checkpoint
from tests.checkpoints import CAHYA_TOKENS, babbling
from tests.recognizers import ctc_recognizer

TINY = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 4, "intermediate_size": 32}
NARROW = {"conv_dim": [32] * 7, "num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 4}


@pytest.mark.parametrize("name", CONFIGS)
def test_it_can_be_served_and_gives_a_text(name: str, tmp_path: Path) -> None:
    tokens, options = CONFIGS[name]
    write_checkpoint(tmp_path, tokens, options | TINY | NARROW, seed=0)
    recognizer = ctc_recognizer(tmp_path, "pytorch")
    warm_up(recognizer, open_artifact(tmp_path))
    (emissions,) = recognizer.emissions([babbling(1.0, seed=1)])
    assert np.exp(emissions).max(axis=1).mean() > 0.2
    assert recognizer.settings.vocabulary.tokens == tokens
    assert tokens[recognizer.settings.vocabulary.blank] == "[PAD]"
    assert len(Wav2Vec2CTCTokenizer.from_pretrained(tmp_path)) == len(tokens)
    assert Wav2Vec2FeatureExtractor.from_pretrained(tmp_path).do_normalize


def test_the_base_has_the_shape_of_the_published_one() -> None:
    tokens, options = CONFIGS["wav2vec2-base"]
    assert list(tokens) == CAHYA_TOKENS
    config = AutoConfig.for_model("wav2vec2", **options, vocab_size=len(tokens), pad_token_id=tokens.index("[PAD]"))
    assert (config.vocab_size, config.pad_token_id) == (40, 39)
    with torch.device("meta"):
        model = AutoModelForCTC.from_config(config)
    assert model.num_parameters() == 94_402_472


def test_the_same_seed_gives_the_same_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tokens, options = CONFIGS["wav2vec2-base"]
    monkeypatch.setitem(random_checkpoint.CONFIGS, "wav2vec2-base", (tokens, options | TINY | NARROW))
    written = []
    for folder, seed in (("a", "7"), ("b", "7"), ("c", "8")):
        out = tmp_path / folder / "new"
        monkeypatch.setattr(sys, "argv", ["random_checkpoint.py", "--out", str(out), "--seed", seed])
        random_checkpoint.main()
        written.append((out / "model.safetensors").read_bytes())
    assert written[0] == written[1] != written[2]


def test_it_can_have_the_shape_of_a_student(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tokens, options = CONFIGS["wav2vec2-base"]
    monkeypatch.setitem(random_checkpoint.CONFIGS, "wav2vec2-base", (tokens, options | TINY | NARROW))
    arguments = ["random_checkpoint.py", "--out", str(tmp_path / "out"), "--shape"]
    monkeypatch.setattr(sys, "argv", [*arguments, "f16-c20"])
    random_checkpoint.main()
    config = AutoConfig.from_pretrained(tmp_path / "out")
    assert (config.num_hidden_layers, config.intermediate_size, config.conv_dim) == (1, 16, [20] * 7)
    warm_up(ctc_recognizer(tmp_path / "out", "pytorch"), open_artifact(tmp_path / "out"))
    for shape, message in (("l2", "at most the 1 layers of its teacher"), ("7", "invalid")):
        monkeypatch.setattr(sys, "argv", [*arguments, shape])
        with pytest.raises(SystemExit):
            random_checkpoint.main()
        assert message in capsys.readouterr().err
