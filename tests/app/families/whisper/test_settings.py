import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from app.artifacts import ArtifactError, UnprovenError, open_artifact, sha256_of, write_manifest
from app.families.whisper.log_mel import LogMel
from app.families.whisper.settings import SETTINGS_FILES, WhisperSettings, read_settings, read_special_tokens
from tests.checkpoints import rewrite
from tests.whisper_checkpoints import (
    END,
    LANGUAGES,
    NO_TIMESTAMPS,
    POSITIONS,
    START,
    Variant,
    make_whisper,
    vocabulary_of,
)

ALL_FILES: list[dict[str, Any]] = [
    {},
    {"multilingual": False},
    {"mel_bins": 128},
    {"decoder_layers": 1},
    {"tied": False},
    {"float16": True},
    {"processor_of_transformers_5": True},
]
LACKING: list[dict[str, Any]] = [
    {"generation_config": False},
    {"lang_to_id": False},
    {"tokenizer_json": False},
    {"timestamps_in_tokenizer": False},
    {"generation_config": False, "tokenizer_json": False, "timestamps_in_tokenizer": False},
]


def settings_in(folder: Path) -> WhisperSettings:
    return read_settings(open_artifact(folder))


def ids_of(**variant: Any) -> dict[str, int]:
    text, _, added = vocabulary_of(Variant(**variant))
    return text | added


@pytest.fixture
def folder(checkpoints: Path, tmp_path: Path) -> Path:
    """A copy of the usual checkpoint, to be changed."""
    return shutil.copytree(make_whisper(checkpoints), tmp_path / "model")


@pytest.mark.parametrize("variant", ALL_FILES, ids=str)
def test_of_published_models(variant: dict[str, Any], checkpoints: Path) -> None:
    settings = settings_in(make_whisper(checkpoints, **variant))
    ids = ids_of(**variant)
    layers = variant.get("decoder_layers", 2)
    assert settings.log_mel == LogMel(variant.get("mel_bins", 80), rate_hz=16_000, window=400, hop=160)
    assert (settings.positions, settings.frames) == (POSITIONS, 2 * POSITIONS)
    assert settings.window_s == pytest.approx(30)
    assert settings.time_step_s == pytest.approx(0.02)
    assert (settings.max_tokens, settings.layers, settings.heads, settings.width) == (448, layers, 2, 64)
    assert settings.max_first_timestamp == 50
    assert settings.alignment_heads == ((layers - 1, 0), (layers - 1, 1))
    special = settings.special
    assert (special.start, special.end) == (ids[START], ids[END])
    assert special.no_timestamps == ids[NO_TIMESTAMPS]
    assert special.timestamps == range(ids["<|0.00|>"], ids["<|30.00|>"] + 1)
    assert special.previous == ids["<|startofprev|>"]
    assert special.no_speech == ids[NO_TIMESTAMPS] - 1
    assert set(settings.suppressed_first) == {ids["Ġ"], ids[END]}
    assert {ids["("], ids[START], ids["<|transcribe|>"], ids["<|startoflm|>"]} <= set(settings.suppressed)
    assert settings.has_timestamps


def test_of_a_multilingual_model(checkpoints: Path) -> None:
    settings = settings_in(make_whisper(checkpoints))
    ids = ids_of()
    assert settings.is_multilingual
    assert settings.can_translate
    assert settings.special.languages == {code: ids[f"<|{code}|>"] for code in LANGUAGES}
    assert (settings.special.transcribe, settings.special.translate) == (ids["<|transcribe|>"], ids["<|translate|>"])


def test_an_english_only_model_uses_no_tokens_of_languages_and_tasks(checkpoints: Path) -> None:
    """Its vocabulary has them."""
    settings = settings_in(make_whisper(checkpoints, multilingual=False))
    assert "<|en|>" in settings.vocabulary.ids
    assert not settings.is_multilingual
    assert not settings.can_translate
    assert settings.special.languages == {}
    assert settings.special.transcribe is settings.special.translate is None


@pytest.mark.parametrize("lacking", LACKING, ids=str)
def test_what_a_fine_tune_lacks_is_derived(lacking: dict[str, Any], checkpoints: Path) -> None:
    usual, settings = (settings_in(make_whisper(checkpoints, **variant)) for variant in ({}, lacking))
    assert settings.special == usual.special
    if lacking.get("generation_config", True):
        assert replace(settings, vocabulary=usual.vocabulary) == usual
    else:
        controls = {START, "<|translate|>", "<|transcribe|>", "<|startoflm|>", "<|startofprev|>", "<|nospeech|>"}
        assert set(settings.suppressed) == {ids_of()[token] for token in controls}
        assert settings.max_first_timestamp is None
        assert settings.alignment_heads == ()


def test_the_control_tokens_between_start_and_tasks_are_no_languages(folder: Path) -> None:
    rewrite(folder / "generation_config.json", lang_to_id=None, task_to_id=None)
    assert set(settings_in(folder).special.languages) == set(LANGUAGES)


def test_without_is_multilingual_languages_say_it(folder: Path, checkpoints: Path) -> None:
    rewrite(folder / "generation_config.json", is_multilingual=None)
    assert settings_in(folder).is_multilingual


@pytest.mark.parametrize(("end", "languages"), [(50_256, {}), (50_257, {"en": 50_259})])
def test_without_a_generation_config_the_vocabulary_of_gpt_2_is_english(
    end: int, languages: dict[str, int], checkpoints: Path
) -> None:
    """Both published vocabularies have the tokens of languages and tasks; the English-only one ends one id earlier."""
    tokens = [END, START, "<|en|>", "<|translate|>", "<|transcribe|>", NO_TIMESTAMPS]
    ids = {token: end + place for place, token in enumerate(tokens)}
    vocabulary = replace(settings_in(make_whisper(checkpoints)).vocabulary, ids=ids)
    special = read_special_tokens(vocabulary, {}, size=60_000, positions=POSITIONS)
    assert special.languages == languages
    assert (special.transcribe is None) == (not languages)
    assert len(special.timestamps) == POSITIONS + 1


def test_the_default_alignment_heads_are_those_of_the_upper_half(checkpoints: Path) -> None:
    settings = settings_in(make_whisper(checkpoints, alignment_heads=False))
    assert settings.alignment_heads == ()
    assert settings.default_alignment_heads == ((1, 0), (1, 1))
    assert replace(settings, layers=3).default_alignment_heads == ((1, 0), (1, 1), (2, 0), (2, 1))
    assert replace(settings, layers=1).default_alignment_heads == ((0, 0), (0, 1))


def test_the_alignment_heads_of_a_teacher_do_not_count(folder: Path) -> None:
    rewrite(folder / "generation_config.json", alignment_heads=[[1, 0], [24, 1]])
    assert settings_in(folder).alignment_heads == ()


def test_keys_of_old_fine_tunes_are_in_config_json(folder: Path) -> None:
    (folder / "generation_config.json").unlink()
    rewrite(folder / "config.json", suppress_tokens=[5, 6, -1], begin_suppress_tokens=[7], forced_decoder_ids=[[1, 9]])
    settings = settings_in(folder)
    assert settings.suppressed == (5, 6)
    assert settings.suppressed_first == (7,)


@pytest.mark.parametrize("listed", [[], [3]])
def test_an_empty_list_suppresses_nothing(listed: list[int], folder: Path) -> None:
    rewrite(folder / "generation_config.json", suppress_tokens=listed, begin_suppress_tokens=listed)
    settings = settings_in(folder)
    assert settings.suppressed == settings.suppressed_first == tuple(listed)


def test_without_lists_the_space_and_the_end_do_not_come_first(folder: Path) -> None:
    rewrite(folder / "generation_config.json", suppress_tokens=None, begin_suppress_tokens=None)
    ids = ids_of()
    assert settings_in(folder).suppressed_first == (ids["Ġ"], ids[END])


def test_a_first_timestamp_of_zero_is_a_limit(folder: Path) -> None:
    rewrite(folder / "generation_config.json", max_initial_timestamp_index=0)
    assert settings_in(folder).max_first_timestamp == 0


def test_ids_that_no_token_has_are_suppressed(checkpoints: Path) -> None:
    usual, padded = (settings_in(make_whisper(checkpoints, **v)) for v in ({}, {"vocabulary_padding": 2}))
    size = usual.special.timestamps.stop
    assert padded.suppressed == (*usual.suppressed, size, size + 1)
    assert padded.special == usual.special


def test_an_added_token_is_no_timestamp(checkpoints: Path) -> None:
    variants: list[dict[str, Any]] = [{}, {"text_token": "Dikteci", "timestamps_in_tokenizer": False}]
    usual, settings = (settings_in(make_whisper(checkpoints, **variant)) for variant in variants)
    assert settings.special == usual.special
    assert settings.special.timestamps.stop in settings.vocabulary.pieces


def test_a_model_without_timestamps(folder: Path) -> None:
    """Its vocabulary ends before them."""
    ids = ids_of()
    rewrite(folder / "config.json", vocab_size=ids[NO_TIMESTAMPS])
    rewrite(folder / "generation_config.json", no_timestamps_token_id=None)
    settings = settings_in(folder)
    assert not settings.has_timestamps
    assert settings.special.no_timestamps is None
    assert settings.is_multilingual


def test_without_a_preprocessor_the_defaults_of_transformers_hold(folder: Path) -> None:
    usual = settings_in(folder).log_mel
    (folder / "preprocessor_config.json").unlink()
    assert settings_in(folder).log_mel == usual


IDS = ids_of()
CONTRADICTIONS: dict[str, tuple[str, dict[str, Any], str]] = {
    "mel bins": ("preprocessor_config.json", {"feature_size": 128}, "gives 128 mel bins, the model takes 80"),
    "window": ("preprocessor_config.json", {"chunk_length": 15}, "windows of 15 s, the model takes 3000 frames"),
    "positions": ("config.json", {"max_source_positions": 750}, "windows of 30 s, the model takes 1500 frames"),
    "start": ("generation_config.json", {"decoder_start_token_id": 5}, "<|startoftranscript|> has the ids [5, "),
    "end": ("generation_config.json", {"eos_token_id": 5}, "<|endoftext|> has the ids [5, "),
    "language": ("generation_config.json", {"lang_to_id": {"<|tr|>": 5}}, "<|tr|> has the ids [5, "),
    "language without a logit": (
        "generation_config.json",
        {"lang_to_id": {"<|xx|>": 9_999}},
        "<|xx|> has the ids [9999]",
    ),
    "task": ("generation_config.json", {"task_to_id": {"translate": 5}}, "<|translate|> has the ids [5, "),
    "no timestamps": (
        "generation_config.json",
        {"no_timestamps_token_id": IDS[NO_TIMESTAMPS] - 1},
        "<|notimestamps|> has the ids",
    ),
    "no transcription": ("config.json", {"vocab_size": IDS["<|translate|>"]}, "has the ids"),
    "time step": ("preprocessor_config.json", {"hop_length": 80, "chunk_length": 15}, "timestamps are 0.01 s apart"),
    "dimension": ("config.json", {"decoder_layers": 0}, "decoder_layers is 0"),
    "missing dimension": ("config.json", {"d_model": None}, "KeyError('d_model')"),
    "no number": ("config.json", {"max_target_positions": "many"}, "cannot be used"),
    "no list": ("generation_config.json", {"suppress_tokens": 7}, "cannot be used"),
    "no object": ("generation_config.json", {"lang_to_id": [1]}, "cannot be used"),
    "hop": ("preprocessor_config.json", {"hop_length": 0}, "hop_length is 0"),
}


@pytest.mark.parametrize("name", CONTRADICTIONS)
def test_contradictory_files_are_refused_in_one_line(name: str, folder: Path) -> None:
    file, changes, message = CONTRADICTIONS[name]
    rewrite(folder / file, **changes)
    with pytest.raises(ArtifactError) as raised:
        settings_in(folder)
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_multilingual_model_without_languages_is_refused(folder: Path) -> None:
    generation = json.loads((folder / "generation_config.json").read_text())
    rewrite(folder / "generation_config.json", lang_to_id=None, task_to_id={})
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    kept = [token for token in tokenizer["added_tokens"] if token["content"][2:-2] not in LANGUAGES]
    rewrite(folder / "tokenizer.json", added_tokens=kept)
    rewrite(folder / "tokenizer_config.json", added_tokens_decoder=None)
    assert generation["is_multilingual"]
    with pytest.raises(ArtifactError, match="no tokens of languages"):
        settings_in(folder)


@pytest.mark.parametrize("name", ["generation_config.json", "tokenizer.json", "vocab.json", "merges.txt"])
def test_every_file_that_is_read_is_verified(name: str, folder: Path) -> None:
    files = {file: {"sha256": sha256_of(folder / file)} for file in SETTINGS_FILES if (folder / file).exists()}
    write_manifest(folder, {"name": "test", "files": files})
    settings_in(folder)
    with (folder / name).open("a") as file:
        file.write("\n")
    with pytest.raises(UnprovenError, match=f"{name} is not the file"):
        settings_in(folder)
