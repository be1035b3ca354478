from pathlib import Path

import pytest

from scripts.compression.stage_folders import RESULT, Stage, hash_of_checkpoint, hash_of_data, key_of


def test_a_key_depends_on_values_and_not_on_their_order() -> None:
    assert key_of({"a": 1, "b": [2, None]}) == key_of({"b": [2, None], "a": 1})
    assert key_of({"a": 1}) != key_of({"a": 2})


def test_a_checkpoint_is_its_files_wherever_it_lies(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name / "runs").mkdir(parents=True)
        (tmp_path / name / "config.json").write_text("{}")
        (tmp_path / name / "model.safetensors").write_bytes(b"weights")
    before = hash_of_checkpoint(tmp_path / "one")
    (tmp_path / "two" / "model.onnx").write_bytes(b"an export")
    (tmp_path / "two" / "runs" / "log").write_bytes(b"a log")
    assert hash_of_checkpoint(tmp_path / "two") == before
    (tmp_path / "two" / "model.safetensors").write_bytes(b"others")
    assert hash_of_checkpoint(tmp_path / "two") != before
    (tmp_path / "one" / "language_model").mkdir()
    (tmp_path / "one" / "language_model" / "attrs.json").write_text("{}")
    assert hash_of_checkpoint(tmp_path / "one") != before, "it belongs to the checkpoint"


def test_data_is_a_table_or_a_folder_or_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    table, clip = tmp_path / "data" / "metadata.csv", tmp_path / "data" / "clip.wav"
    table.write_text("file_name,text\n")
    clip.write_bytes(b"12")
    folder, alone = hash_of_data("data"), hash_of_data("data/metadata.csv")
    clip.write_bytes(b"123")
    assert hash_of_data("data") != folder
    assert hash_of_data("data/metadata.csv") == alone
    table.write_text("file_name,text\nclip.wav,bir\n")
    assert hash_of_data("data/metadata.csv") != alone
    assert hash_of_data("some/id") == hash_of_data("some/id") != hash_of_data("some/other")
    assert hash_of_data("") == "", "no data, not the current folder"


def test_a_result_is_complete_or_absent(tmp_path: Path) -> None:
    stage = Stage(tmp_path, "kind", "name", "key")
    made = []

    def make(folder: Path) -> dict[str, int]:
        made.append(sorted(path.name for path in folder.iterdir()))
        (folder / "file").write_text("content")
        if len(made) == 1:
            raise KeyboardInterrupt
        return {"answer": 42}

    with pytest.raises(KeyboardInterrupt):
        stage.made(make)
    assert not stage.is_done
    assert not stage.folder.exists()
    assert stage.made(make)["answer"] == 42
    assert stage.made(make)["answer"] == 42
    assert made == [[], []], "each try begins with an empty folder, and the result is made once"
    assert sorted(path.name for path in stage.folder.iterdir()) == ["file", RESULT]
    assert not stage.partial.exists()


def test_a_training_finds_what_an_earlier_try_left(tmp_path: Path) -> None:
    stage = Stage(tmp_path, "kind", "name", "key")
    (stage.partial / "checkpoint-5").mkdir(parents=True)
    stage.made(lambda folder: {"found": [path.name for path in folder.iterdir()]}, resumes=True)
    assert stage.result()["found"] == ["checkpoint-5"]


def test_a_copy_that_was_interrupted_is_made_again(tmp_path: Path) -> None:
    stage = Stage(tmp_path, "kind", "name", "key")
    stage.folder.mkdir(parents=True)
    (stage.folder / "half").touch()
    stage.made(lambda folder: {})
    assert not (stage.folder / "half").exists()
