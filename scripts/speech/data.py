"""Load speech data in common formats, as rows of audio and text.

`load_speech` reads a table (JSON, JSON Lines, CSV, TSV), a folder in the hub's formats (parquet with audio bytes, or an
audiofolder with `metadata.csv` or `metadata.jsonl`) or in those of Common Voice, LibriSpeech and Kaldi, or a hub id.
The audio of a row is decoded when it is needed.
"""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from datasets import DatasetDict, load_dataset
from datasets.exceptions import DatasetsError

from app.errors import AsrError
from app.files import describe_broken_file, one_line
from scripts.common.audio_files import find_audio_files
from scripts.speech.clips import DataError
from scripts.speech.columns import Table, to_rows
from scripts.speech.corpora import (
    TRANSCRIPTS,
    Splits,
    is_common_voice,
    read_clips_table,
    read_common_voice,
    read_kaldi,
    read_librispeech,
    split_of,
)
from scripts.speech.rows import SpeechRows
from scripts.speech.tables import TABLE_SUFFIXES, Record, read_table

__all__ = ["DataError", "SpeechRows", "load_speech"]

PARQUET = ".parquet"
SUPPORTED = (
    f"tables ({', '.join(TABLE_SUFFIXES)}), {PARQUET}, folders with {PARQUET} or with metadata.csv or metadata.jsonl, "
    f"Common Voice (clips/ and *.tsv), LibriSpeech ({TRANSCRIPTS}), Kaldi (wav.scp, text), and hub ids"
)
"""The supported formats, for messages."""
PACKED_SUFFIXES = frozenset({PARQUET, ".arrow", ".tar", ".zip", *TABLE_SUFFIXES})
"""Suffixes of files in which `datasets` may find rows."""
MAX_LISTED_SUFFIXES = 5
"""Number of file types that a message lists."""


def load_speech(
    name: str,
    split: str | None = None,
    audio_column: str | None = None,
    text_column: str | None = None,
    *,
    with_text: bool = True,
) -> dict[str, SpeechRows]:
    """Split name -> rows. A table is the split "train".

    name: path or hub id. audio_column, text_column: names of the columns; None to detect them. with_text: if False,
    rows need no text, and a folder of audio files is allowed.

    Raises DataError if a column or the split does not exist, or if the data cannot be read.
    """
    try:
        splits = _load_tables(name, split, with_text)
        if not splits:
            raise DataError("there are no rows")
        if split is not None:
            if split not in splits:
                raise DataError(f"there is no split {split!r}; there are {', '.join(splits)}")
            splits = {split: splits[split]}
        return {key: to_rows(table, audio_column, text_column, with_text=with_text) for key, table in splits.items()}
    except (DataError, AsrError, OSError, ValueError, TypeError, RuntimeError, DatasetsError) as error:
        cause = f" ({one_line(error.__cause__)})" if isinstance(error, DatasetsError) and error.__cause__ else ""
        raise DataError(f"{name}: {one_line(error)}{cause}") from error


def _load_tables(name: str, split: str | None, with_text: bool) -> dict[str, Table]:
    path = Path(name)
    if path.is_dir():
        splits = _read_folder(path, split, with_text)
        if splits is not None:
            return _tables(splits, path)
    elif path.suffix == ".tsv" and is_common_voice(path.parent):
        return _tables({"train": read_clips_table(path)}, path.parent)
    elif path.suffix in TABLE_SUFFIXES:
        return _tables({"train": read_table(path)}, path.parent)
    elif path.is_file() and path.suffix != PARQUET:
        raise DataError(f"this format is not supported; supported are: {SUPPORTED}")
    return _load_hub_format(path, name)


def _tables(splits: Splits, folder: Path) -> dict[str, Table]:
    return {split: Table.of_records(records, folder) for split, records in splits.items() if records}


def _read_folder(folder: Path, split: str | None, with_text: bool) -> Splits | None:
    """The rows of a folder in one of the supported layouts. None if it has to be read by `datasets`."""
    if tables := sorted((*folder.rglob("metadata.csv"), *folder.rglob("metadata.jsonl"))):
        return _read_audio_folder(folder, tables)
    if is_common_voice(folder):
        return read_common_voice(folder, split)
    if transcripts := sorted(folder.rglob(TRANSCRIPTS)):
        return read_librispeech(folder, transcripts)
    if lists := sorted(folder.rglob("wav.scp")):
        return read_kaldi(folder, lists, with_text=with_text)
    if not with_text and not any(folder.rglob(f"*{PARQUET}")):
        place = f"a file in {folder}"
        return {
            "train": [Record({"audio": str(file.relative_to(folder))}, place) for file in find_audio_files([folder])]
        }
    return None


def _read_audio_folder(folder: Path, tables: Iterable[Path]) -> Splits:
    """The rows of an audiofolder's tables, with paths. `datasets` reads these too, but needs torchcodec."""
    splits: Splits = {}
    for table in tables:
        for values, place in read_table(table):
            if "file_name" not in values:
                raise DataError(f"{table} has no column 'file_name'")
            others = {column: value for column, value in values.items() if column != "file_name"}
            path = table.parent / (values["file_name"] or "")
            path = path.relative_to(folder) if path.is_relative_to(folder) else path.resolve()
            splits.setdefault(split_of(path), []).append(Record({"audio": str(path)} | others, place))
    return splits


def _load_hub_format(path: Path, name: str) -> dict[str, Table]:
    for file in sorted(path.rglob(f"*{PARQUET}")) if path.is_dir() else [path]:
        if broken := describe_broken_file(file):
            raise DataError(broken)
    if path.is_dir() and not any(file.suffix in PACKED_SUFFIXES for file in path.rglob("*")):
        raise DataError(f"{_describe_path(path)}; supported are: {SUPPORTED}")
    try:
        loaded = load_dataset("parquet", data_files=name) if path.is_file() else load_dataset(name)
    except (OSError, ValueError, DatasetsError) as error:  # it is missing, unreachable or unsupported
        raise DataError(f"{_describe_path(path)}; supported are: {SUPPORTED} ({one_line(error)})") from error
    if not isinstance(loaded, DatasetDict):
        raise DataError("it is not a data set with splits")
    return {
        str(split): Table(
            rows, [f"row {index} of {split}" for index in range(len(rows))], path if path.is_dir() else None
        )
        for split, rows in loaded.items()
    }


def _describe_path(path: Path) -> str:
    """What is wrong with a path or hub id that cannot be loaded."""
    if not path.is_dir():
        return "it is neither a folder of speech data nor a data set of the hub that can be fetched"
    suffixes = Counter(file.suffix or file.name for file in path.rglob("*") if file.is_file())
    kinds = [f"{count} {suffix}" for suffix, count in suffixes.most_common(MAX_LISTED_SUFFIXES)]
    return f"the folder has no supported data ({', '.join(kinds) or 'it is empty'})"
