from pathlib import Path

import pytest
from transformers import WhisperTokenizerFast

from app.models import open_model
from scripts.tools.random_whisper import SHAPES, Shape, tokenizer_json, write_checkpoint


@pytest.mark.parametrize(("name", "tokens"), [("base", 51_865), ("large-v2", 51_865), ("large-v3", 51_866)])
def test_it_has_as_many_tokens_as_the_published_model(name: str, tokens: int) -> None:
    tokenizer = tokenizer_json(SHAPES[name])
    assert len(tokenizer["model"]["vocab"]) + len(tokenizer["added_tokens"]) == tokens


def test_the_service_and_transformers_read_it(tmp_path: Path) -> None:
    parameters = write_checkpoint(tmp_path, Shape(64, 1, 2, 128, 100), seed=0)
    model = open_model(tmp_path)
    settings = model.family.settings  # type: ignore[attr-defined]  # Whisper's
    assert parameters > settings.vocabulary_size * 64
    assert (settings.layers, settings.vocabulary_size) == (2, 51_866)
    assert len(settings.special.languages) == 100
    assert settings.special.languages["yue"] == settings.special.start + 100
    text = " Merhaba, dünya"
    tokens = settings.vocabulary.encode(text)
    assert settings.vocabulary.decode(tokens) == text
    assert WhisperTokenizerFast.from_pretrained(tmp_path).encode(text, add_special_tokens=False) == tokens
