"""Read tables of speech data as records: JSON, JSON Lines, CSV and TSV."""

import csv
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from app.files import describe_broken_file
from scripts.speech.clips import DataError

TABLE_SUFFIXES = (".jsonl", ".json", ".csv", ".tsv")


class Record(NamedTuple):
    """A row: column -> value, and its location, for messages."""

    values: dict[str, Any]
    place: str


def read_table(path: Path) -> list[Record]:
    """The rows of a table with one of `TABLE_SUFFIXES`. The first line of CSV and TSV has the column names.

    Raises DataError if the file does not exist or cannot be read.
    """
    if broken := describe_broken_file(path):
        raise DataError(broken)
    if not path.is_file():
        raise DataError(f"there is no manifest {path}")
    try:
        with path.open(encoding="utf-8-sig", newline="") as lines:
            if path.suffix == ".json":
                return list(_json(lines.read(), path))
            if path.suffix == ".jsonl":
                return list(_json_lines(lines, path))
            return list(_separated(lines, path))
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8: {error}") from error


def _json(text: str, path: Path) -> Iterator[Record]:
    """An array of objects; or JSON Lines, for which NeMo uses this suffix too."""
    if not text.lstrip().startswith("["):
        yield from _json_lines(text.split("\n"), path)  # `splitlines` would also split a text at U+2028
        return
    try:
        rows = json.loads(text)
    except ValueError as error:
        raise DataError(f"{path} is not valid JSON: {error}") from error
    for number, row in enumerate(rows, start=1):
        yield Record(_object(row, f"row {number} of {path}"), f"row {number} of {path}")


def _json_lines(lines: Iterable[str], path: Path) -> Iterator[Record]:
    for number, line in enumerate(lines, start=1):
        place = f"line {number} of {path}"
        if line.strip():
            try:
                row = json.loads(line)
            except ValueError as error:
                raise DataError(
                    f"{place} is not valid JSON: {error} (a manifest has a line of JSON for each clip, or is an array)"
                ) from error
            yield Record(_object(row, place), place)


def _object(row: Any, place: str) -> dict[str, Any]:
    if not isinstance(row, dict):
        raise DataError(f"{place} is not a JSON object")
    return row


def _separated(lines: Iterable[str], path: Path) -> Iterator[Record]:
    if path.suffix == ".tsv":  # Common Voice has unpaired quotation marks in its fields
        reader = csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE)
    else:
        reader = csv.DictReader(lines)
    try:
        for row in reader:
            place = f"line {reader.line_num} of {path}"
            if None in row:
                raise DataError(f"{place} has more fields than the first line has column names")
            yield Record(row, place)
    except csv.Error as error:
        raise DataError(f"line {reader.line_num} of {path} cannot be read: {error}") from error
