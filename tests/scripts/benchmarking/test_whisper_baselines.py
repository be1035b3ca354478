"""The conversion for CTranslate2, with a converter that records what it is asked for."""

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from tokenizers import Tokenizer

from scripts.benchmarking.baselines import Source
from scripts.benchmarking.whisper_baselines import convert_to_ctranslate2
from tests.whisper_checkpoints import make_whisper


def convert(checkpoint: Path, target: Path) -> None:
    convert_to_ctranslate2("int8")(Source(checkpoint, target.parent, target.parent), target)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the converter was asked for: the checkpoint, the files to copy, the target and its quantization."""
    calls: dict[str, Any] = {}

    class Converter:
        def __init__(self, name: str, copy_files: list[str]) -> None:
            calls.update(checkpoint=name, copied=copy_files)

        def convert(self, target: str, quantization: str) -> None:
            calls.update(target=target, quantization=quantization)
            Path(target).mkdir()
            for name in calls["copied"]:
                (Path(target) / name).write_bytes((Path(calls["checkpoint"]) / name).read_bytes())

    module = ModuleType("ctranslate2.converters")
    module.__dict__["TransformersConverter"] = Converter
    monkeypatch.setitem(sys.modules, "ctranslate2", ModuleType("ctranslate2"))
    monkeypatch.setitem(sys.modules, "ctranslate2.converters", module)
    return calls


def test_a_checkpoint_is_converted_with_the_files_that_faster_whisper_reads(
    asked: dict[str, Any], checkpoints: Path, tmp_path: Path
) -> None:
    checkpoint, target = make_whisper(checkpoints), tmp_path / "model"
    convert(checkpoint, target)
    assert asked == {
        "checkpoint": str(checkpoint),
        "copied": ["tokenizer.json", "preprocessor_config.json"],
        "target": str(target),
        "quantization": "int8",
    }


def test_a_tokenizer_in_the_old_format_is_converted(asked: dict[str, Any], checkpoints: Path, tmp_path: Path) -> None:
    convert(make_whisper(checkpoints, tokenizer_json=False), tmp_path / "old")
    convert(make_whisper(checkpoints), tmp_path / "new")
    assert asked["copied"] == ["tokenizer.json", "preprocessor_config.json"]
    old, new = (Tokenizer.from_file(str(tmp_path / name / "tokenizer.json")) for name in ("old", "new"))
    old_ids, new_ids = (tokenizer.encode(" ve çok güzel", add_special_tokens=False).ids for tokenizer in (old, new))
    assert old_ids == new_ids
    assert old.token_to_id("<|tr|>") == new.token_to_id("<|tr|>")
