import io
import json
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from datasets import Audio, Dataset

from app.files import LFS_POINTER
from scripts.speech.data import DataError, SpeechRows, load_speech
from tests.checkpoints import RATE_HZ, babbling

POINTER = LFS_POINTER + b"\noid sha256:" + b"0" * 64 + b"\nsize 1\n"
TEXTS = ["Merhaba dünya.", "Bugün 3 kitap aldım.", "Iğdır'a gittik."]
DURATIONS_S = [0.5, 1.25, 0.75]


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Use a folder of the test for the cache of `datasets`."""
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")


def audio(index: int, rate_hz: int = RATE_HZ) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    return babbling(DURATIONS_S[index], seed=index)[:: RATE_HZ // rate_hz]


def encoded(index: int, kind: str = "WAV", rate_hz: int = RATE_HZ) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, audio(index, rate_hz), rate_hz, format=kind)
    return buffer.getvalue()


def hub_folder(folder: Path, columns: dict[str, list[Any]], audio_column: str = "audio", **splits: list[int]) -> Path:
    """A folder in the hub's format, written by `datasets`: parquet files with audio bytes."""
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
    """Check that the rows are those of `indices`, with their audio, text and duration."""
    assert len(rows) == len(indices)
    assert rows.texts() == [rows.text(row) for row in range(len(rows))] == [TEXTS[index] for index in indices]
    assert rows.durations_s == pytest.approx([DURATIONS_S[index] for index in indices], abs=1e-3)
    for row, index in enumerate(indices):
        np.testing.assert_allclose(rows.samples(row, RATE_HZ), audio(index), atol=2 / 32_768)


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
def test_parquet_with_audio_bytes(tmp_path: Path, text_column: str) -> None:
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
    """Audio files in folder/clips and a table of them."""
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
    with pytest.raises(DataError, match="there are no rows"):
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


def test_without_texts_a_folder_of_audio_files_is_enough(tmp_path: Path) -> None:
    audio_folder(tmp_path, [0, 1, 2])
    (tmp_path / "metadata.csv").unlink()
    rows = load_speech(str(tmp_path), with_text=False)["train"]
    assert [rows.name(row) for row in range(3)] == ["clips/0.wav", "clips/1.flac", "clips/2.aiff"]
    np.testing.assert_allclose(rows.samples(1, RATE_HZ), audio(1), atol=2 / 32_768)
    assert (rows.texts(), rows.text(2)) == (["", "", ""], "")
    folder = hub_folder(tmp_path / "hub", {"speaker": [1, 2, 3]}, train=[0, 1])
    assert load_speech(str(folder), with_text=False)["train"].texts() == ["", ""]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ('{"audio": "0.wav", "text": "bir"}\nbroken', "line 2 of .* is not valid JSON"),
        ('["0.wav"]', "line 1 of .* is not a JSON object"),
        (
            '{"audio": "0.wav", "text": "bir"}\n{"audio": "0.wav", "text": ["bir"]}',
            "text of line 2 of .* is not a string",
        ),
        ('{"audio": "0.wav", "text": "bir"}\n{"text": "iki"}', "line 2 of .* has no path to an audio file"),
        ('{"audio": "1.wav", "text": "bir"}', "line 1 of .* names 1.wav, which does not exist"),
        ('{"audio": "0.wav", "text": "bir", "duration": "long"}', "duration of line 1 of .* 'long'"),
        (f'{{"audio": "0.wav", "text": "bir", "duration": {"9" * 400}}}', "duration of line 1 of .* is not a number"),
    ],
)
def test_a_manifest_that_cannot_be_read(tmp_path: Path, lines: str, message: str) -> None:
    (tmp_path / "0.wav").write_bytes(encoded(0))
    (tmp_path / "manifest.jsonl").write_text(lines, encoding="utf-8")
    with pytest.raises(DataError, match=message):
        load_speech(str(tmp_path / "manifest.jsonl"))


def test_a_manifest_that_is_made_by_hand(tmp_path: Path) -> None:
    """A byte order mark, another name of the audio column, and durations of some rows only."""
    for index in range(2):
        (tmp_path / f"{index}.wav").write_bytes(encoded(index))
    rows = [
        {"audio_filepath": "0.wav", "text": TEXTS[0], "duration": 0.4},
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


def test_audio_that_libsndfile_cannot_read_has_a_duration(tmp_path: Path) -> None:
    wav, m4a = tmp_path / "0.wav", tmp_path / "0.m4a"
    wav.write_bytes(encoded(1))
    subprocess.run(["ffmpeg", "-loglevel", "error", "-i", wav, m4a], check=True)
    manifest = tmp_path / "manifest.jsonl"
    manifest.write_text(json.dumps({"audio": "0.m4a", "text": "bir"}) + "\n", encoding="utf-8")
    rows = load_speech(str(manifest))["train"]
    assert rows.durations_s == pytest.approx([DURATIONS_S[1]], abs=0.1)


def test_a_row_without_text_has_an_empty_text(tmp_path: Path) -> None:
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
    with pytest.raises(DataError, match="no column 'talk'; there are clip, text, duration"):
        load_speech(str(manifest), audio_column="talk")


def test_one_split_can_be_chosen(tmp_path: Path) -> None:
    folder = hub_folder(tmp_path / "hub", {"text": TEXTS}, train=[0], test=[1, 2])
    splits = load_speech(str(folder), "test")
    assert list(splits) == ["test"]
    check(splits["test"], [1, 2])
    with pytest.raises(DataError, match=r"no split 'validation'; there are .*train"):
        load_speech(str(folder), "validation")


def test_rows_can_be_selected(tmp_path: Path) -> None:
    rows = load_speech(str(hub_folder(tmp_path / "hub", {"text": TEXTS}, train=[0, 1, 2])))["train"]
    check(rows.select([2, 0]), [2, 0])
    assert len(rows.select([])) == 0


def test_broken_audio_raises_when_it_is_read(tmp_path: Path) -> None:
    for index in range(2):
        (tmp_path / f"{index}.wav").write_bytes(encoded(index))
    rows = write_rows(tmp_path, *({"audio": f"{index}.wav", "text": "bir", "duration": 0.5} for index in range(2)))
    (tmp_path / "1.wav").write_bytes(encoded(1)[:20])
    message = r"^1\.wav \(line 2 of .*manifest\.jsonl\) cannot be read: "
    for broken in (rows, rows.select([1, 0]).select([0])):  # rows keep their names
        with pytest.raises(DataError, match=message):
            broken.samples(len(broken) - 1, RATE_HZ)
    (tmp_path / "1.wav").unlink()
    with pytest.raises(DataError, match=message):
        rows.samples(1, RATE_HZ)


def test_broken_audio_is_reported_when_its_duration_is_measured(tmp_path: Path) -> None:
    (tmp_path / "0.wav").write_bytes(encoded(0)[:20])
    with pytest.raises(DataError, match=r"manifest\.jsonl: 0\.wav \(line 1 of .*\) cannot be read: "):
        write_rows(tmp_path, {"audio": "0.wav", "text": "bir"})
    folder = hub_folder(tmp_path / "hub", {"text": TEXTS}, train=[0])
    Dataset.from_dict({"audio": [{"path": "0.wav", "bytes": b"broken"}], "text": ["bir"]}).cast_column(
        "audio", Audio(decode=False)
    ).to_parquet(folder / "data" / "train-00000-of-00001.parquet")
    with pytest.raises(DataError, match=r"hub: 0\.wav \(row 0 of train\) cannot be read: "):
        load_speech(str(folder))


class TestTables:
    @pytest.fixture(autouse=True)
    def audio_files(self, tmp_path: Path) -> None:
        for index in range(3):
            (tmp_path / f"{index}.wav").write_bytes(encoded(index))

    def test_json_as_an_array(self, tmp_path: Path) -> None:
        table = tmp_path / "manifest.json"
        table.write_text(json.dumps([{"audio": f"{i}.wav", "text": TEXTS[i]} for i in range(3)]), encoding="utf-8")
        check(load_speech(str(table))["train"], [0, 1, 2])

    def test_json_with_a_line_for_each_row(self, tmp_path: Path) -> None:
        """NeMo's manifests have this suffix."""
        table = tmp_path / "train_manifest.json"
        lines = [
            json.dumps({"audio_filepath": f"{i}.wav", "text": TEXTS[i], "duration": DURATIONS_S[i]}) for i in range(3)
        ]
        table.write_text("\n".join(lines), encoding="utf-8")
        check(load_speech(str(table))["train"], [0, 1, 2])

    @pytest.mark.parametrize("suffix", ["json", "jsonl"])
    def test_a_text_may_hold_any_line_separator_but_one(self, tmp_path: Path, suffix: str) -> None:
        table = tmp_path / f"manifest.{suffix}"
        row = {"audio": "0.wav", "text": "bir\u2028iki\x85üç"}
        table.write_text(json.dumps(row, ensure_ascii=False) + "\r\n", encoding="utf-8")
        assert load_speech(str(table))["train"].texts() == [row["text"]]

    @pytest.mark.parametrize(("suffix", "delimiter"), [("csv", ","), ("tsv", "\t")])
    def test_csv_and_tsv(self, tmp_path: Path, suffix: str, delimiter: str) -> None:
        table = tmp_path / f"clips.{suffix}"
        lines = [delimiter.join((f"{i}.wav", str(i), TEXTS[i])) for i in range(3)]
        table.write_text("\n".join([delimiter.join(("path", "speaker", "sentence")), *lines]), encoding="utf-8")
        check(load_speech(str(table))["train"], [0, 1, 2])

    def test_other_columns_may_hold_anything(self, tmp_path: Path) -> None:
        others: list[dict[str, Any]] = [
            {"speaker": 1},
            {"speaker": "f2", "words": [1, {"a": 2}]},
            {"speaker": None, "words": "x"},
        ]
        rows = write_rows(tmp_path, *({"audio": f"{i}.wav", "text": TEXTS[i]} | others[i] for i in range(3)))
        check(rows, [0, 1, 2])

    def test_a_text_may_be_a_number(self, tmp_path: Path) -> None:
        rows = write_rows(tmp_path, {"audio": "0.wav", "text": 12}, {"audio": "1.wav", "text": "on iki"})
        assert rows.texts() == ["12", "on iki"]

    @pytest.mark.parametrize(
        ("name", "content", "message"),
        [
            ("a.json", b"[1]", "row 1 of .*a.json is not a JSON object"),
            ("a.json", b"[", "a.json is not valid JSON: "),
            (
                "a.json",
                b'{\n "audio": "0.wav"\n}',
                "line 1 of .*a.json is not valid JSON: .*a line of JSON for each clip",
            ),
            ("a.csv", b"path,text\n0.wav,bir,iki\n", "line 2 of .*a.csv has more fields"),
            ("a.csv", b"0.wav,bir\n1.wav,iki\n", r"none of audio, .* is a column; there are 0.wav, bir"),
            ("a.tsv", "path\ttext\n0.wav\tığdır\n".encode("cp1254"), "a.tsv is not UTF-8"),
            ("a.jsonl", POINTER, "a.jsonl in .* is a Git LFS pointer"),
            ("a.txt", b"0.wav bir", "this format is not supported; supported are: tables"),
        ],
    )
    def test_a_table_that_cannot_be_read_is_one_line(
        self, tmp_path: Path, name: str, content: bytes, message: str
    ) -> None:
        (tmp_path / name).write_bytes(content)
        with pytest.raises(DataError, match=message) as error:
            load_speech(str(tmp_path / name))
        assert "\n" not in str(error.value)


@pytest.mark.parametrize(("content", "message"), [(POINTER, "is a Git LFS pointer"), (b"", "is empty")])
def test_a_file_without_audio_is_reported_at_the_start(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "0.wav").write_bytes(content)
    with pytest.raises(DataError, match=rf"line 1 of .* names 0\.wav: 0\.wav in .* {message}"):
        write_rows(tmp_path, {"audio": "0.wav", "text": "bir", "duration": 1.0})


def test_audio_in_parquet_that_is_a_git_lfs_pointer_is_reported(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    cells = [{"path": "0.wav", "bytes": POINTER}]
    rows = Dataset.from_dict({"audio": cells, "text": ["bir"]}).cast_column("audio", Audio(decode=False))
    rows.to_parquet(tmp_path / "data" / "train.parquet")
    with pytest.raises(DataError, match=r"0\.wav \(row 0 of train\) cannot be read: it is a Git LFS pointer"):
        load_speech(str(tmp_path))


def test_parquet_that_is_a_git_lfs_pointer_is_named(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data/train.parquet").write_bytes(POINTER)
    with pytest.raises(DataError, match=r"train\.parquet in .*data is a Git LFS pointer"):
        load_speech(str(tmp_path))


def test_a_file_of_parquet(tmp_path: Path) -> None:
    folder = hub_folder(tmp_path / "hub", {"text": TEXTS}, train=[0, 1])
    check(load_speech(str(folder / "data" / "train-00000-of-00001.parquet"))["train"], [0, 1])


def test_an_unsupported_folder_is_reported_in_one_line_with_its_content(tmp_path: Path) -> None:
    for name in ("a.txt", "b.txt", "c.mp3"):
        (tmp_path / name).write_bytes(b"x")
    with pytest.raises(DataError, match=r"2 \.txt, 1 \.mp3\); supported are: tables .*LibriSpeech") as error:
        load_speech(str(tmp_path))
    assert "\n" not in str(error.value)


class TestSegments:
    """Rows that are segments of one recording, which is the concatenation of three clips."""

    STARTS_S = (0.0, 0.5, 1.75)

    @pytest.fixture(params=["wav", "flac", "m4a"])
    def recording(self, request: pytest.FixtureRequest, tmp_path: Path) -> str:
        whole = np.concatenate([audio(index) for index in range(3)])
        soundfile.write(tmp_path / "recording.wav", whole, RATE_HZ)
        if request.param == "m4a":  # lossless, so that the samples can be compared
            command = ["ffmpeg", "-loglevel", "error", "-i", "recording.wav", "-c:a", "alac", "recording.m4a"]
            subprocess.run(command, cwd=tmp_path, check=True)
        elif request.param == "flac":
            soundfile.write(tmp_path / "recording.flac", whole, RATE_HZ)
        return f"recording.{request.param}"

    def rows(self, tmp_path: Path, recording: str, **columns: Sequence[float]) -> SpeechRows:
        return write_rows(
            tmp_path,
            *(
                {"audio": recording, "text": TEXTS[index]} | {name: values[index] for name, values in columns.items()}
                for index in range(3)
            ),
        )

    def test_offset_and_duration_cut(self, tmp_path: Path, recording: str) -> None:
        check(self.rows(tmp_path, recording, offset=self.STARTS_S, duration=DURATIONS_S), [0, 1, 2])

    def test_an_offset_of_zero_may_be_left_out(self, tmp_path: Path, recording: str) -> None:
        rows = [
            {"audio": recording, "text": TEXTS[0], "duration": DURATIONS_S[0]},
            {"audio": recording, "text": TEXTS[1], "duration": DURATIONS_S[1], "offset": self.STARTS_S[1]},
            {"audio": recording, "text": TEXTS[2], "offset": self.STARTS_S[2]},
        ]
        check(write_rows(tmp_path, *rows), [0, 1, 2])

    @pytest.mark.parametrize("names", [("start", "end"), ("start_time", "end_time")])
    def test_start_and_end_cut_a_file_that_several_rows_name(
        self, tmp_path: Path, recording: str, names: tuple[str, str]
    ) -> None:
        ends_s = [start + duration for start, duration in zip(self.STARTS_S, DURATIONS_S, strict=True)]
        check(self.rows(tmp_path, recording, **{names[0]: self.STARTS_S, names[1]: ends_s}), [0, 1, 2])

    def test_a_segment_is_part_of_the_name(self, tmp_path: Path, recording: str) -> None:
        rows = self.rows(tmp_path, recording, offset=self.STARTS_S, duration=DURATIONS_S)
        assert rows.name(1) == f"{recording} (0.5 s to 1.75 s)"
        (tmp_path / recording).write_bytes(b"broken")
        with pytest.raises(DataError, match=rf"{recording} \(0\.5 s to 1\.75 s\) \(line 2 of .*\) cannot be read"):
            rows.samples(1, RATE_HZ)

    @pytest.mark.parametrize(
        ("offset", "duration", "message"),
        [
            (2.5, 0.5, "the segment from 2.5 s to 3 s is not inside the file, which is 2.5 s long"),
            (2.0, 0.75, "the segment from 2 s to 2.75 s is not inside the file"),
            (9.0, None, "the segment from 9 s to the end is not inside the file"),
            (-1.0, 0.5, "offset of line 2 of .* is not a number of seconds: -1.0"),
            ("x", 0.5, "offset of line 2 of .* is not a number of seconds: 'x'"),
            (0.5, 0.0, "the segment from 0.5 s to 0.5 s is empty"),
        ],
    )
    def test_a_segment_outside_of_its_file_is_reported_with_its_row(
        self, tmp_path: Path, recording: str, offset: Any, duration: float | None, message: str
    ) -> None:
        wrong = {"audio": recording, "text": TEXTS[1], "offset": offset, "duration": duration}
        right = {"audio": recording, "text": TEXTS[0], "offset": 0.0, "duration": 0.5}
        with pytest.raises(DataError, match=message) as error:
            write_rows(tmp_path, right, wrong)
        assert "line 2 of" in str(error.value)

    def test_in_parquet_too(self, tmp_path: Path) -> None:
        columns: dict[str, list[Any]] = {"text": TEXTS, "offset": [0.0, 0.25, 0.5], "duration": [0.5, 0.5, 0.25]}
        rows = load_speech(str(hub_folder(tmp_path / "hub", columns, train=[0, 1, 2])))["train"]
        assert rows.durations_s == [0.5, 0.5, 0.25]
        np.testing.assert_allclose(rows.samples(1, RATE_HZ), audio(1)[4_000:12_000], atol=2 / 32_768)
        assert rows.name(1) == "1.wav (0.25 s to 0.75 s)"

    @pytest.mark.parametrize("suffix", ["mp3", "ogg", "opus"])
    def test_lossy_files_are_cut_at_the_samples_of_the_service(self, tmp_path: Path, suffix: str) -> None:
        soundfile.write(tmp_path / "whole.wav", babbling(20.0, 1), RATE_HZ)
        command = ["ffmpeg", "-loglevel", "error", "-i", "whole.wav", f"whole.{suffix}"]
        subprocess.run(command, cwd=tmp_path, check=True)
        rows = write_rows(
            tmp_path,
            *({"audio": f"whole.{suffix}", "text": "bir"} | part for part in ({}, {"offset": 12.3, "duration": 2.0})),
        )
        whole, part = rows.samples(0, RATE_HZ), rows.samples(1, RATE_HZ)
        assert len(part) == 2 * RATE_HZ
        start = round(12.3 * RATE_HZ)
        loud = np.abs(part).max()
        errors = {lag: np.abs(whole[start + lag :][: len(part)] - part).max() / loud for lag in (-1, 0, 1)}
        assert errors[0] < 0.1
        assert errors[0] < errors[1] / 3
        assert errors[0] < errors[-1] / 3

    def test_the_cut_is_made_at_the_rate_of_the_file(self, tmp_path: Path) -> None:
        soundfile.write(tmp_path / "low.wav", audio(1, 8_000), 8_000)
        rows = write_rows(tmp_path, {"audio": "low.wav", "text": "bir", "offset": 0.25, "duration": 0.5})
        np.testing.assert_allclose(rows.samples(0, 8_000), audio(1, 8_000)[2_000:6_000], atol=2 / 32_768)
        assert len(rows.samples(0, RATE_HZ)) == 8_000

    def test_channels_of_a_part_are_mixed_as_those_of_a_whole(self, tmp_path: Path) -> None:
        stereo = np.stack([audio(1), -0.5 * audio(1)], axis=1)
        soundfile.write(tmp_path / "stereo.wav", stereo, RATE_HZ, subtype="FLOAT")
        rows = write_rows(tmp_path, {"audio": "stereo.wav", "text": "bir", "offset": 0.25})
        np.testing.assert_allclose(rows.samples(0, RATE_HZ), 0.25 * audio(1)[4_000:], atol=1e-6)


class TestBoundsOfWhatWasCut:
    """Columns `start` and `end` of clips in separate files."""

    def rows(self, tmp_path: Path, **bounds: float | str) -> SpeechRows:
        (tmp_path / "1.wav").write_bytes(encoded(1))
        return write_rows(tmp_path, {"audio": "1.wav", "text": TEXTS[1]} | bounds)

    def test_a_clip_with_the_duration_between_its_bounds_is_whole(self, tmp_path: Path) -> None:
        check(self.rows(tmp_path, start=100.0, end=101.3), [1])

    def test_any_other_clip_is_ambiguous(self, tmp_path: Path) -> None:
        message = (
            r"1\.wav \(line 1 of .*\) is 1\.25 s long, but its start and end are 100 and 200: .*offset and duration"
        )
        with pytest.raises(DataError, match=message):
            self.rows(tmp_path, start=100.0, end=200.0)
        with pytest.raises(DataError, match=r"start of line 1 of .* is not a number of seconds: '00:01'"):
            self.rows(tmp_path, start="00:01", end="00:02")

    def test_in_parquet_too(self, tmp_path: Path) -> None:
        bounds = {"start": [10.0] * 3, "end": [10 + duration for duration in DURATIONS_S]}
        folder = hub_folder(tmp_path / "hub", {"text": TEXTS} | bounds, train=[0, 1, 2])
        check(load_speech(str(folder))["train"], [0, 1, 2])


def test_a_duration_that_the_file_contradicts_names_the_row(tmp_path: Path) -> None:
    """The text may belong to a segment whose offset is missing."""
    soundfile.write(tmp_path / "0.wav", babbling(30.0, 1), RATE_HZ)
    rows = write_rows(tmp_path, {"audio": "0.wav", "text": "bir", "duration": 2.5})
    message = r"0\.wav \(line 1 of .*\) cannot be read: its duration is stated as 2\.5 s, but it is 30 s long .*offset"
    with pytest.raises(DataError, match=message):
        rows.samples(0, RATE_HZ)
    (tmp_path / "1.wav").write_bytes(encoded(1))
    with pytest.raises(DataError, match=r"manifest\.jsonl: 0\.wav \(line 1 of .*\): its duration is stated as 2\.5 s"):
        write_rows(tmp_path, {"audio": "0.wav", "text": "bir", "duration": 2.5}, {"audio": "1.wav", "text": "iki"})


def write_rows(folder: Path, *rows: dict[str, Any]) -> SpeechRows:
    """The rows of a manifest in a folder."""
    manifest = folder / "manifest.jsonl"
    manifest.write_text("\n".join(json.dumps(row, ensure_ascii=False) for row in rows), encoding="utf-8")
    return load_speech(str(manifest))["train"]
