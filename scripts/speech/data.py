"""Speech data in the shapes that people have it in, all read as rows of sound and text.

`load_speech` takes a table (JSON, a line of JSON for each row, CSV, TSV), a folder in the hub's formats (parquet with
audio bytes, or an audiofolder with `metadata.csv` or `metadata.jsonl`) or in those of Common Voice, LibriSpeech and
Kaldi, or a hub id. The sound stays encoded until a row is asked for.
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
WHAT_IS_READ = (
    f"tables ({', '.join(TABLE_SUFFIXES)}), {PARQUET}, folders with {PARQUET} or with metadata.csv or metadata.jsonl, "
    f"Common Voice (clips/ and *.tsv), LibriSpeech ({TRANSCRIPTS}), Kaldi (wav.scp, text), and ids of the hub"
)
PACKED_SUFFIXES = frozenset({PARQUET, ".arrow", ".tar", ".zip", *TABLE_SUFFIXES})
"""Of files that `datasets` may find rows in."""
MOST_SUFFIXES = 5
"""Kinds of files that a message lists."""


def load_speech(
    name: str,
    split: str | None = None,
    audio_column: str | None = None,
    text_column: str | None = None,
    *,
    with_text: bool = True,
) -> dict[str, SpeechRows]:
    """Split name -> rows. A table is one split, "train".

    with_text: without, rows need no text, and a folder of sound files will do.

    Raises DataError when a column cannot be found, the named split is not there, or what is there cannot be read.
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
        raise DataError(f"it is no data that is read; that is: {WHAT_IS_READ}")
    return _load_hub_format(path, name)


def _tables(splits: Splits, folder: Path) -> dict[str, Table]:
    return {split: Table.of_records(records, folder) for split, records in splits.items() if records}


def _read_folder(folder: Path, split: str | None, with_text: bool) -> Splits | None:
    """The rows of a folder in one of the layouts known here; None if `datasets` may know it."""
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
    """Rows of its tables, the sound as a path. `datasets` reads them too, but needs torchcodec for it."""
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
        raise DataError(f"{_what_is_there(path)}; what is read: {WHAT_IS_READ}")
    try:
        loaded = load_dataset("parquet", data_files=name) if path.is_file() else load_dataset(name)
    except (OSError, ValueError, DatasetsError) as error:  # not there, not reached, or nothing in it that is known
        raise DataError(f"{_what_is_there(path)}; what is read: {WHAT_IS_READ} ({one_line(error)})") from error
    if not isinstance(loaded, DatasetDict):
        raise DataError("it is not a data set with splits")
    return {
        str(split): Table(
            rows, [f"row {index} of {split}" for index in range(len(rows))], path if path.is_dir() else None
        )
        for split, rows in loaded.items()
    }


def _what_is_there(path: Path) -> str:
    if not path.is_dir():
        return "it is neither a folder of speech data nor a data set of the hub that can be fetched"
    suffixes = Counter(file.suffix or file.name for file in path.rglob("*") if file.is_file())
    kinds = [f"{count} {suffix}" for suffix, count in suffixes.most_common(MOST_SUFFIXES)]
    return f"there is nothing that is read in the folder ({', '.join(kinds) or 'it is empty'})"
