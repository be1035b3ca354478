import io
import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from datasets import Audio, Dataset

from scripts.speech.data import DataError, SpeechRows, load_speech
from tests.checkpoints import RATE_HZ, babbling

TEXTS = ["Merhaba dünya.", "Bugün 3 kitap aldım.", "Iğdır'a gittik."]
DURATIONS_S = [0.5, 1.25, 0.75]


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`datasets` keeps what it has read: here, in a folder of the test."""
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")


def sound(index: int, rate_hz: int = RATE_HZ) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    return babbling(DURATIONS_S[index], seed=index)[:: RATE_HZ // rate_hz]


def encoded(index: int, kind: str = "WAV", rate_hz: int = RATE_HZ) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, sound(index, rate_hz), rate_hz, format=kind)
    return buffer.getvalue()


def hub_folder(folder: Path, columns: dict[str, list[Any]], audio_column: str = "audio", **splits: list[int]) -> Path:
    """A folder as the hub has it, written by `datasets`: parquet files with the bytes of the sound."""
    (folder / "data").mkdir(parents=True)
    for split, indices in splits.items():
        cells = [{"path": f"{index}.wav", "bytes": encoded(index)} for index in indices]
        chosen = {name: [values[index] for index in indices] for name, values in columns.items()}
        rows = Dataset.from_dict({audio_column: cells} | chosen).cast_column(
            audio_column, Audio(sampling_rate=RATE_HZ, decode=False)
        )
        rows.to_parquet(folder / "data" / f"{split}-00000-of-00001.parquet")
    return folder


def check(rows: SpeechRows, indices: list[int]) -> None:
    """The rows are those of `indices`, with their sound, text and duration."""
    assert len(rows) == len(indices)
    assert rows.texts() == [rows.text(row) for row in range(len(rows))] == [TEXTS[index] for index in indices]
    assert rows.durations_s == pytest.approx([DURATIONS_S[index] for index in indices], abs=1e-3)
    for row, index in enumerate(indices):
        np.testing.assert_allclose(rows.samples(row, RATE_HZ), sound(index), atol=2 / 32_768)


def test_a_manifest_is_one_training_split(tmp_path: Path) -> None:
    (tmp_path / "clips").mkdir()
    manifest = tmp_path / "manifest.jsonl"
    lines = []
    for index, text in enumerate(TEXTS):
        (tmp_path / "clips" / f"{index}.wav").write_bytes(encoded(index))
        line = {"audio": f"clips/{index}.wav", "text": text, "voice": "f2", "duration": DURATIONS_S[index]}
        lines.append(json.dumps(line, ensure_ascii=False))
    manifest.write_text("\n".join(lines) + "\n\n", encoding="utf-8")
    splits = load_speech(str(manifest))
    assert list(splits) == ["train"]
    check(splits["train"], [0, 1, 2])
    assert splits["train"].name(1) == "clips/1.wav"
    assert len(splits["train"].samples(1, 8_000)) == pytest.approx(DURATIONS_S[1] * 8_000, abs=1)


@pytest.mark.parametrize("text_column", ["transcription", "sentence", "text"])
def test_parquet_with_the_bytes_of_the_sound(tmp_path: Path, text_column: str) -> None:
    folder = hub_folder(tmp_path / "hub", {text_column: TEXTS, "speaker": [1, 2, 3]}, train=[0, 2], test=[1])
    splits = load_speech(str(folder))
    assert set(splits) == {"train", "test"}
    check(splits["train"], [0, 2])
    check(splits["test"], [1])
    assert (splits["train"].audio_column, splits["train"].text_column) == ("audio", text_column)
    assert splits["train"].name(1) == "2.wav"


def test_an_audio_column_is_known_by_its_type(tmp_path: Path) -> None:
    columns = {"path": ["a", "b", "c"], "text": TEXTS}
    rows = load_speech(str(hub_folder(tmp_path / "hub", columns, audio_column="recording", train=[0, 1])))["train"]
    assert rows.audio_column == "recording"
    check(rows, [0, 1])


def audio_folder(folder: Path, indices: list[int], kinds: tuple[str, ...] = ("WAV", "FLAC", "AIFF")) -> None:
    """Sound files in folder/clips and a table of them."""
    (folder / "clips").mkdir(parents=True)
    metadata = ["file_name,transcription"]
    for index in indices:
        name = f"clips/{index}.{kinds[index].lower()}"
        (folder / name).write_bytes(encoded(index, kinds[index]))
        metadata.append(f'{name},"{TEXTS[index]}"')
    (folder / "metadata.csv").write_text("\n".join(metadata) + "\n", encoding="utf-8")


def test_an_audiofolder_with_metadata(tmp_path: Path) -> None:
    audio_folder(tmp_path / "recordings", [0, 1, 2])
    splits = load_speech(str(tmp_path / "recordings"))
    assert list(splits) == ["train"]
    check(splits["train"], [0, 1, 2])
    assert splits["train"].text_column == "transcription"
    assert splits["train"].name(1) == "clips/1.flac"


def test_an_audiofolder_with_splits(tmp_path: Path) -> None:
    audio_folder(tmp_path / "train", [0, 2])
    audio_folder(tmp_path / "dev", [1])
    splits = load_speech(str(tmp_path))
    check(splits["train"], [0, 2])
    check(splits["validation"], [1])


def test_an_audiofolder_without_rows(tmp_path: Path) -> None:
    (tmp_path / "metadata.csv").write_text("file_name,text\n", encoding="utf-8")
    with pytest.raises(DataError, match="has no rows"):
        load_speech(str(tmp_path))


def test_an_audiofolder_whose_table_names_no_files(tmp_path: Path) -> None:
    (tmp_path / "metadata.csv").write_text("clip,text\n0.wav,bir\n", encoding="utf-8")
    with pytest.raises(DataError, match="file_name"):
        load_speech(str(tmp_path))


def test_an_audiofolder_with_json_metadata(tmp_path: Path) -> None:
    audio_folder(tmp_path, [0, 1, 2])
    lines = [
        json.dumps({"file_name": f"clips/{i}.{k}", "text": TEXTS[i]}) for i, k in enumerate(("wav", "flac", "aiff"))
    ]
    (tmp_path / "metadata.csv").unlink()
    (tmp_path / "metadata.jsonl").write_text("\n".join(lines), encoding="utf-8-sig")
    check(load_speech(str(tmp_path))["train"], [0, 1, 2])


def test_a_table_may_name_files_anywhere(tmp_path: Path) -> None:
    audio_folder(tmp_path / "elsewhere", [0])
    (tmp_path / "table").mkdir()
    table = f"file_name,text\n{tmp_path / 'elsewhere/clips/0.wav'},{TEXTS[0]}\n"
    (tmp_path / "table/metadata.csv").write_text(table, encoding="utf-8")
    check(load_speech(str(tmp_path / "table"))["train"], [0])


def test_where_no_text_is_needed_a_folder_of_sound_will_do(tmp_path: Path) -> None:
    audio_folder(tmp_path, [0, 1, 2])
    (tmp_path / "metadata.csv").unlink()
    rows = load_speech(str(tmp_path), with_text=False)["train"]
    assert [rows.name(row) for row in range(3)] == ["clips/0.wav", "clips/1.flac", "clips/2.aiff"]
    np.testing.assert_allclose(rows.samples(1, RATE_HZ), sound(1), atol=2 / 32_768)
    assert (rows.texts(), rows.text(2)) == (["", "", ""], "")
    folder = hub_folder(tmp_path / "hub", {"speaker": [1, 2, 3]}, train=[0, 1])
    assert load_speech(str(folder), with_text=False)["train"].texts() == ["", ""]


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ('{"audio": "0.wav", "text": "bir"}\nbroken', "line 2 of .* is no JSON"),
        ('["0.wav"]', "line 1 of .* is no JSON object"),
        ('{"audio": "0.wav", "text": "bir"}\n{"audio": "0.wav", "text": 1}', "manifest.jsonl: "),
        ('{"audio": "0.wav", "text": "bir", "duration": "long"}', "manifest.jsonl: "),
    ],
)
def test_a_manifest_that_cannot_be_read(tmp_path: Path, lines: str, said: str) -> None:
    (tmp_path / "0.wav").write_bytes(encoded(0))
    (tmp_path / "manifest.jsonl").write_text(lines, encoding="utf-8")
    with pytest.raises(DataError, match=said):
        load_speech(str(tmp_path / "manifest.jsonl"))


def test_a_manifest_that_is_made_by_hand(tmp_path: Path) -> None:
    """A byte order mark, another name for the sound, durations of some rows only."""
    for index in range(2):
        (tmp_path / f"{index}.wav").write_bytes(encoded(index))
    rows = [
        {"audio_filepath": "0.wav", "text": TEXTS[0], "duration": 99.0},
        {"audio_filepath": "1.wav", "text": TEXTS[1]},
    ]
    lines = "\n".join(json.dumps(row) for row in rows)
    (tmp_path / "manifest.jsonl").write_text(lines, encoding="utf-8-sig")
    check(load_speech(str(tmp_path / "manifest.jsonl"))["train"], [0, 1])


def test_a_folder_that_datasets_cannot_read(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data/train.parquet").write_bytes(b"broken")
    with pytest.raises(DataError):
        load_speech(str(tmp_path))


def test_sound_that_libsndfile_cannot_read_has_a_duration(tmp_path: Path) -> None:
    wav, m4a = tmp_path / "0.wav", tmp_path / "0.m4a"
    wav.write_bytes(encoded(1))
    subprocess.run(["ffmpeg", "-loglevel", "error", "-i", wav, m4a], check=True)
    manifest = tmp_path / "manifest.jsonl"
    manifest.write_text(json.dumps({"audio": "0.m4a", "text": "bir"}) + "\n", encoding="utf-8")
    rows = load_speech(str(manifest))["train"]
    assert rows.durations_s == pytest.approx([DURATIONS_S[1]], abs=0.1)


def test_a_row_without_text_says_nothing(tmp_path: Path) -> None:
    rows = load_speech(str(hub_folder(tmp_path / "hub", {"text": [TEXTS[0], None, TEXTS[2]]}, train=[0, 1, 2])))[
        "train"
    ]
    assert rows.texts() == [TEXTS[0], "", TEXTS[2]]
    assert rows.text(1) == ""


def test_columns_can_be_named(tmp_path: Path) -> None:
    columns = {"raw": TEXTS, "text": ["x", "y", "z"]}
    folder = hub_folder(tmp_path / "hub", columns, audio_column="talk", train=[0, 1])
    check(load_speech(str(folder), None, "talk", "raw")["train"], [0, 1])


def test_a_column_that_cannot_be_found_names_the_option(tmp_path: Path) -> None:
    manifest = tmp_path / "manifest.jsonl"
    manifest.write_text(json.dumps({"audio": "0.wav", "words": "bir", "duration": 1.0}) + "\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"words.*--text_column"):
        load_speech(str(manifest))
    manifest.write_text(json.dumps({"clip": "0.wav", "text": "bir", "duration": 1.0}) + "\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"clip.*--audio_column"):
        load_speech(str(manifest))
    with pytest.raises(DataError, match="no column 'talk'; there are clip, text"):
        load_speech(str(manifest), audio_column="talk")


def test_one_split_can_be_chosen(tmp_path: Path) -> None:
    folder = hub_folder(tmp_path / "hub", {"text": TEXTS}, train=[0], test=[1, 2])
    splits = load_speech(str(folder), "test")
    assert list(splits) == ["test"]
    check(splits["test"], [1, 2])
    with pytest.raises(DataError, match=r"no split 'validation'; it has .*train"):
        load_speech(str(folder), "validation")


def test_rows_can_be_selected(tmp_path: Path) -> None:
    rows = load_speech(str(hub_folder(tmp_path / "hub", {"text": TEXTS}, train=[0, 1, 2])))["train"]
    check(rows.select([2, 0]), [2, 0])
    assert len(rows.select([])) == 0


def test_broken_sound_raises_where_it_is_read(tmp_path: Path) -> None:
    (tmp_path / "0.wav").write_bytes(encoded(0)[:20])
    manifest = tmp_path / "manifest.jsonl"
    manifest.write_text(json.dumps({"audio": "0.wav", "text": "bir", "duration": 0.5}) + "\n", encoding="utf-8")
    rows = load_speech(str(manifest))["train"]
    with pytest.raises(DataError, match=r"0\.wav cannot be read: "):
        rows.samples(0, RATE_HZ)
    (tmp_path / "0.wav").unlink()
    with pytest.raises(DataError, match=r"0\.wav cannot be read: "):
        rows.samples(0, RATE_HZ)
