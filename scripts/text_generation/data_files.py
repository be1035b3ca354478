"""Read the data files of the text generator: lists with one entry per line, and tables in CSV.

Files are UTF-8. Empty lines and lines that start with `#` are skipped, in lists and in tables.
"""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

DATA = Path(__file__).with_name("data_tr")
"""The folder of the data files; its README.md describes them."""


class DataFileError(ValueError):
    """A data file is missing or malformed. The message is one line that names the file and the line in it."""


@dataclass(frozen=True)
class Entry:
    """One line of a data file.

    text: the line, without leading and trailing white space. path, line: its location; line numbers start at 1.
    """

    text: str
    path: Path
    line: int

    def error(self, problem: object) -> DataFileError:
        """An error about this line. problem: what is wrong with it."""
        return DataFileError(f"{self.path}:{self.line}: {problem}")


@dataclass(frozen=True)
class Row:
    """One row of a table: column -> value, and its line."""

    values: dict[str, str]
    entry: Entry

    def flag(self, column: str) -> bool:
        """Parse a column with yes or no. Raises DataFileError for any other value."""
        if self.values[column] not in ("yes", "no"):
            raise self.entry.error(f"{column} must be yes or no, not {self.values[column]!r}")
        return self.values[column] == "yes"

    def weight(self, column: str) -> int:
        """Parse a column with a whole number above zero. Raises DataFileError for any other value."""
        value = self.values[column]
        if not (value.isascii() and value.isdigit() and int(value)):
            raise self.entry.error(f"{column} must be a whole number above zero, not {value!r}")
        return int(value)


def read_list(path: Path) -> list[Entry]:
    """Read the entries of a list, in order.

    Raises DataFileError if the file is missing, unreadable or empty, or if it has an entry twice.
    """
    entries = _read_lines(path)
    _refuse_repetition([(entry.text, entry) for entry in entries])
    return entries


def read_table(path: Path, columns: Sequence[str]) -> list[Row]:
    """Read the rows of a table, in order. Its first line must be `columns`, and the first column must be unique.

    Raises DataFileError if the file is missing, unreadable or without rows, has other columns, a row with more or
    fewer fields, or two rows with the same first field.
    """
    head, *lines = _read_lines(path)
    if _fields(head) != list(columns):
        raise head.error(f"the columns must be {','.join(columns)}, not {head.text}")
    if not lines:
        raise head.error("the table has no rows")
    rows = [Row(dict(zip(columns, _fields(line, len(columns)), strict=True)), line) for line in lines]
    _refuse_repetition([(row.values[columns[0]], row.entry) for row in rows])
    return rows


def _read_lines(path: Path) -> list[Entry]:
    try:
        # Only line feeds separate lines: `str.splitlines` would also split at U+2028 and similar characters.
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except FileNotFoundError as error:
        raise DataFileError(f"{path} is missing") from error
    except OSError as error:
        raise DataFileError(f"{path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise DataFileError(f"{path}:{line}: this is not UTF-8") from error
    stripped = (Entry(line.strip(), path, number) for number, line in enumerate(lines, start=1))
    entries = [entry for entry in stripped if entry.text and not entry.text.startswith("#")]
    if not entries:
        raise DataFileError(f"{path} has no entries")
    return entries


def _fields(line: Entry, count: int | None = None) -> list[str]:
    try:
        fields = [field.strip() for field in next(csv.reader([line.text], strict=True))]
    except csv.Error as error:
        raise line.error(error) from error
    if count is not None and len(fields) != count:
        raise line.error(f"the row has {len(fields)} fields, not {count}")
    return fields


def _refuse_repetition(keys: list[tuple[str, Entry]]) -> None:
    first: dict[str, Entry] = {}
    for key, entry in keys:
        if key in first:
            raise entry.error(f"{key!r} is already in line {first[key].line}")
        first[key] = entry
