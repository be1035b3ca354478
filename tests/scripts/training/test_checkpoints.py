import json
import shutil
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCTC, Wav2Vec2ForCTC

from scripts.language_modeling.making import Unit
from scripts.speech.text import PAD_TOKEN, TURKISH_ALPHABET, TextNormalizer
from scripts.tools.random_checkpoint import COMBINING_DOT
from scripts.training.checkpoints import SMALL_CONFIGS, load_for_training, new_tokenizer, normalizer_of
from tests.checkpoints import CAHYA_TOKENS, built
from tests.language_models import add_language_model

TEXTS = ["Kâğıt, İnci ve 3 ıhlamur.", "Çok güzel; şu bağ, jüri, fötr, zor."]


def test_a_published_checkpoint_keeps_its_tokenizer(checkpoints: Path) -> None:
    checkpoint = load_for_training(str(built("cahya_like", checkpoints)), ["ignored"], "tr", alphabet="abc")
    assert checkpoint.model.config.vocab_size == 40
    assert checkpoint.model.config.pad_token_id == checkpoint.tokenizer.pad_token_id == 39
    assert checkpoint.normalizer.alphabet == "".join(sorted("abcdefghijklmnopqrstuvwxyzâçëîöüğış"))
    labels = checkpoint.tokenizer(checkpoint.normalizer(f"I{COMBINING_DOT}yi ki kâğıt var")).input_ids
    assert [CAHYA_TOKENS[label] for label in labels] == [*"iyi|ki|kâğıt|var"]


def test_old_weight_names_are_read(checkpoints: Path) -> None:
    folder = built("cahya_like", checkpoints)
    model = load_for_training(str(folder), [], "tr").model
    stored = torch.load(folder / "pytorch_model.bin", weights_only=True)
    prefix = "wav2vec2.encoder.pos_conv_embed.conv."
    assert {f"{prefix}weight_g", f"{prefix}weight_v"} <= stored.keys()
    loaded = model.state_dict()
    torch.testing.assert_close(loaded[f"{prefix}parametrizations.weight.original0"], stored[f"{prefix}weight_g"])
    torch.testing.assert_close(loaded[f"{prefix}parametrizations.weight.original1"], stored[f"{prefix}weight_v"])
    torch.testing.assert_close(loaded["lm_head.weight"], stored["lm_head.weight"])


# Old config files have this option. transformers still accepts it, with a deprecation warning.
@pytest.mark.filterwarnings("ignore:Passing `gradient_checkpointing` to a config initialization:UserWarning")
def test_a_pretrained_encoder_gets_a_head_and_a_tokenizer(checkpoints: Path) -> None:
    folder = built("pretrained_like", checkpoints)
    checkpoint = load_for_training(str(folder), TEXTS, "tr")
    letters = "".join(sorted(set("kâğıt inci ve üç ıhlamur çok güzel şu bağ jüri fötr zor") - {" "}))
    assert checkpoint.normalizer == TextNormalizer(letters, "tr")
    assert checkpoint.tokenizer.get_vocab().keys() == {PAD_TOKEN, "[UNK]", "|", *letters}
    assert checkpoint.tokenizer.pad_token_id == checkpoint.model.config.pad_token_id == 0
    assert checkpoint.model.config.vocab_size == len(checkpoint.tokenizer) == len(letters) + 3
    assert isinstance(checkpoint.model, Wav2Vec2ForCTC)
    assert checkpoint.model.lm_head.out_features == len(letters) + 3
    stored = torch.load(folder / "pytorch_model.bin", weights_only=True)
    encoder = "wav2vec2.encoder.layers.1.attention.k_proj.weight"
    torch.testing.assert_close(checkpoint.model.state_dict()[encoder], stored[encoder])


# Old config files have this option. transformers still accepts it, with a deprecation warning.
@pytest.mark.filterwarnings("ignore:Passing `gradient_checkpointing` to a config initialization:UserWarning")
@pytest.mark.parametrize("source", ["cahya_like", "pretrained_like"])
def test_layers_are_computed_once_whatever_the_config_says(checkpoints: Path, tmp_path: Path, source: str) -> None:
    folder = shutil.copytree(built(source, checkpoints), tmp_path / "checkpoint")
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    (folder / "config.json").write_text(json.dumps(config | {"gradient_checkpointing": True}), encoding="utf-8")
    assert AutoModelForCTC.from_pretrained(folder).is_gradient_checkpointing
    assert not load_for_training(str(folder), TEXTS, "tr").model.is_gradient_checkpointing


# Old config files have this option. transformers still accepts it, with a deprecation warning.
@pytest.mark.filterwarnings("ignore:Passing `gradient_checkpointing` to a config initialization:UserWarning")
@pytest.mark.parametrize("source", ["cahya_like", "pretrained_like", "tr-small"])
def test_dropout_can_be_changed(checkpoints: Path, source: str) -> None:
    name = source if source in SMALL_CONFIGS else str(built(source, checkpoints))
    kept = load_for_training(name, TEXTS, "tr").model.config
    changed = load_for_training(name, TEXTS, "tr", dropout=0.3).model
    assert kept.hidden_dropout != 0.3
    assert (changed.config.hidden_dropout, changed.config.attention_dropout, changed.config.final_dropout) == (0.3,) * 3
    assert {part.p for part in changed.modules() if isinstance(part, torch.nn.Dropout)} >= {0.3}


def test_a_small_configuration_from_scratch() -> None:
    checkpoint = load_for_training("tr-small", TEXTS, "tr", alphabet=TURKISH_ALPHABET)
    config = SMALL_CONFIGS["tr-small"]
    assert checkpoint.model.config.hidden_size == config["hidden_size"]
    assert checkpoint.model.config.conv_dim == config["conv_dim"]
    assert checkpoint.normalizer.alphabet == TURKISH_ALPHABET
    assert checkpoint.model.config.vocab_size == len(TURKISH_ALPHABET) + 3
    assert checkpoint.feature_extractor.do_normalize


def test_a_new_tokenizer_reproduces_its_input() -> None:
    tokenizer = new_tokenizer(TURKISH_ALPHABET)
    ids = tokenizer("iğne ve ıhlamur").input_ids
    assert tokenizer.unk_token_id not in ids
    assert tokenizer.decode(ids, group_tokens=False) == "iğne ve ıhlamur"
    assert len(tokenizer) == len(TURKISH_ALPHABET) + 3
    assert tokenizer.pad_token_id == 0


def test_texts_are_normalized_to_letters_that_have_a_logit() -> None:
    tokenizer = new_tokenizer("abcç")
    assert normalizer_of(tokenizer, len(tokenizer), "tr").alphabet == "abcç"
    assert normalizer_of(tokenizer, len(tokenizer) - 1, "tr").alphabet == "abc"


@pytest.mark.parametrize("unit", ["letter", "word"])
def test_the_language_model_stays_with_the_tokens(unit: Unit, checkpoints: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(built("small", checkpoints), tmp_path / "checkpoint")
    add_language_model(folder, unit)
    load_for_training(str(folder), [], "tr").save(tmp_path / "trained")
    assert folder_of(tmp_path / "trained") == folder_of(folder) != {}


def test_new_tokens_have_no_language_model(tmp_path: Path) -> None:
    load_for_training("tr-small", TEXTS, "tr").save(tmp_path)
    assert not (tmp_path / "language_model").exists()


def folder_of(checkpoint: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (checkpoint / "language_model").iterdir()}
