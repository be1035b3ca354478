"""Speech data in the shapes that people have it in, all read as rows of sound and text.

`load_speech` takes a manifest of ours (`manifest.jsonl`), a local folder in the hub's formats (parquet with audio
bytes, or an audiofolder with `metadata.csv` or `metadata.jsonl`), or a hub id. The sound stays encoded until a row is
asked for; then `app.audio` decodes it, so training hears exactly what the service hears.
"""

import csv
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from datasets import Audio, Dataset, DatasetDict, load_dataset
from datasets.exceptions import DatasetsError
from numpy.typing import NDArray

from app.audio import AudioLimits, decode
from app.errors import AsrError
from scripts.common.files import find_files

Samples = NDArray[np.float32]

AUDIO_COLUMNS = ("audio", "file", "path", "speech", "wav", "audio_filepath")
TEXT_COLUMNS = ("transcription", "sentence", "text", "transcript", "normalized_text", "raw_transcription")
SPLIT_FOLDERS = {"train": "train", "test": "test"} | dict.fromkeys(("validation", "valid", "val", "dev"), "validation")
"""Folder of an audiofolder -> name of the split that it holds; elsewhere is "train"."""

_NO_LIMITS = AudioLimits(max_duration_s=24 * 3600.0, max_decoded_bytes=2**40, max_channels=8)


class DataError(Exception):
    """The data cannot be used; the message says what is missing and which option names it."""


@dataclass(frozen=True)
class SpeechRows:
    """Rows of sound and text (none where `text_column` is None). `durations_s` has one entry a row, in seconds."""

    rows: Dataset
    audio_column: str
    text_column: str | None
    durations_s: list[float]
    folder: Path | None = None

    def __len__(self) -> int:
        return len(self.durations_s)

    def text(self, index: int) -> str:
        """The text as it stands in the data, not normalized."""
        return "" if self.text_column is None else _text(self.rows[index][self.text_column])

    def texts(self) -> list[str]:
        return [""] * len(self) if self.text_column is None else [_text(text) for text in self.rows[self.text_column]]

    def name(self, index: int) -> str:
        """A name for reports: the file's, where there is one."""
        path = _encoded(self.rows[index][self.audio_column])[0]
        return path or f"row {index}"

    def samples(self, index: int, rate_hz: int) -> Samples:
        """Mono float32 samples, shape (samples,), at `rate_hz`. Raises DataError if they cannot be read."""
        try:
            return decode(self._bytes(index), rate_hz, _NO_LIMITS).samples
        except (AsrError, OSError) as error:
            raise DataError(f"{self.name(index)} cannot be read: {error}") from error

    def select(self, indices: list[int]) -> "SpeechRows":
        return SpeechRows(
            self.rows.select(indices),
            self.audio_column,
            self.text_column,
            [self.durations_s[index] for index in indices],
            self.folder,
        )

    def _bytes(self, index: int) -> io.BytesIO:
        return io.BytesIO(_read(self.rows[index][self.audio_column], self.folder))


def load_speech(
    name: str,
    split: str | None = None,
    audio_column: str | None = None,
    text_column: str | None = None,
    *,
    with_text: bool = True,
) -> dict[str, SpeechRows]:
    """Split name -> rows. A manifest is one split, "train".

    with_text: without, rows need no text, and a folder of sound files will do.

    Raises DataError when a column cannot be found, the named split is not there, or what is there cannot be read.
    """
    try:
        splits = _load_rows(name, with_text)
        if not splits:
            raise DataError(f"{name} has no rows")
        if split is not None:
            if split not in splits:
                raise DataError(f"{name} has no split {split!r}; it has {', '.join(splits)}")
            splits = {split: splits[split]}
        path = Path(name)
        folder = path.parent if path.suffix == ".jsonl" else path if path.is_dir() else None
        return {key: _speech_rows(rows, audio_column, text_column, folder, with_text) for key, rows in splits.items()}
    except (AsrError, OSError, ValueError, TypeError, RuntimeError, DatasetsError) as error:
        cause = f" ({error.__cause__})" if isinstance(error, DatasetsError) and error.__cause__ else ""
        raise DataError(f"{name}: {error}{cause}") from error


def _load_rows(name: str, with_text: bool) -> dict[str, Dataset]:
    path = Path(name)
    if path.suffix == ".jsonl":
        return {"train": Dataset.from_list(_json_lines(path))}
    if path.is_dir():
        if tables := sorted((*path.rglob("metadata.csv"), *path.rglob("metadata.jsonl"))):
            return _load_audio_folder(path, tables)
        if not with_text and not any(path.rglob("*.parquet")):
            files = [{"audio": str(file.relative_to(path))} for file in find_files([path])]
            return {"train": Dataset.from_list(files)}
    return _load_hub_format(name)


def _json_lines(path: Path) -> list[dict[str, Any]]:
    if not path.is_file():
        raise DataError(f"there is no manifest {path}")
    rows = []
    with path.open(encoding="utf-8-sig") as lines:
        for number, line in enumerate(lines, start=1):
            if line.strip():
                try:
                    row = json.loads(line)
                except ValueError as error:
                    raise DataError(f"line {number} of {path} is no JSON: {error}") from error
                if not isinstance(row, dict):
                    raise DataError(f"line {number} of {path} is no JSON object")
                rows.append(row)
    return rows


def _csv_lines(path: Path) -> list[dict[str, Any]]:
    with path.open(encoding="utf-8-sig", newline="") as lines:
        return list(csv.DictReader(lines))


def _load_audio_folder(folder: Path, tables: list[Path]) -> dict[str, Dataset]:
    """Rows of its tables, the sound as a path. `datasets` reads them too, but needs torchcodec for it."""
    splits: dict[str, list[dict[str, Any]]] = {}
    for table in tables:
        for row in _csv_lines(table) if table.suffix == ".csv" else _json_lines(table):
            if "file_name" not in row:
                raise DataError(f"{table} has no column 'file_name'")
            path = table.parent / row.pop("file_name")
            path = path.relative_to(folder) if path.is_relative_to(folder) else path.resolve()
            split = next((SPLIT_FOLDERS[part] for part in path.parts if part in SPLIT_FOLDERS), "train")
            splits.setdefault(split, []).append({"audio": str(path), **row})
    return {split: Dataset.from_list(rows) for split, rows in splits.items()}


def _load_hub_format(name: str) -> dict[str, Dataset]:
    try:
        loaded = load_dataset(name)
    except (OSError, ValueError) as error:  # not there, not reached, or nothing in it that is known
        raise DataError(f"{name} is neither a folder of speech data nor a data set of the hub: {error}") from error
    if not isinstance(loaded, DatasetDict):
        raise DataError(f"{name} is not a data set with splits")
    return {str(split): rows for split, rows in loaded.items()}


def _speech_rows(
    rows: Dataset, audio_column: str | None, text_column: str | None, folder: Path | None, with_text: bool
) -> SpeechRows:
    audio = audio_column or _find_column(rows, AUDIO_COLUMNS, "--audio_column")
    text = text_column or (_find_column(rows, TEXT_COLUMNS, "--text_column") if with_text else None)
    columns = [audio] if text is None else [audio, text]
    for column in columns:
        if column not in rows.column_names:
            raise DataError(f"there is no column {column!r}; there are {', '.join(rows.column_names)}")
    if isinstance(rows.features[audio], Audio):
        rows = rows.cast_column(audio, Audio(decode=False))
    given = rows["duration"] if "duration" in rows.column_names else []
    durations = [float(value) for value in given if value is not None]
    if len(durations) < len(rows):  # what a row says counts only if all do
        durations = list(_durations_s(rows, audio, folder))
    return SpeechRows(rows.select_columns(columns), audio, text, durations, folder)


def _find_column(rows: Dataset, names: tuple[str, ...], option: str) -> str:
    if option == "--audio_column":
        for column, feature in rows.features.items():
            if isinstance(feature, Audio):
                return str(column)
    for column in names:
        if column in rows.column_names:
            return column
    raise DataError(f"none of {', '.join(names)} is a column ({', '.join(rows.column_names)}): name it with {option}")


def _durations_s(rows: Dataset, audio_column: str, folder: Path | None) -> Iterator[float]:
    for value in rows[audio_column]:
        encoded = io.BytesIO(_read(value, folder))
        try:
            yield float(soundfile.info(encoded).duration)
        except soundfile.LibsndfileError:
            encoded.seek(0)
            yield decode(encoded, 16_000, _NO_LIMITS).duration_s


def _text(value: Any) -> str:
    """A row may have no text."""
    return "" if value is None else str(value)


def _encoded(value: Any) -> tuple[str | None, bytes | None]:
    """(path, bytes) of a cell in any of its forms: a path, or the hub's {"path", "bytes"}."""
    if isinstance(value, dict):
        return value.get("path"), value.get("bytes")
    return str(value), None


def _read(value: Any, folder: Path | None) -> bytes:
    path, content = _encoded(value)
    if content is not None:
        return content
    if path is None:
        raise DataError("a row has neither audio bytes nor a path")
    return (Path(path) if folder is None else folder / path).read_bytes()
