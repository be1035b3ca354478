"""From tables with columns of any names to `SpeechRows`: which column is what, and which part of a file a row is."""

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datasets import Audio, Dataset, Value

from app.errors import AsrError
from app.files import describe_broken_file
from scripts.speech.clips import END_TOLERANCE_S, DataError, Segment, measure_duration_s, open_sound, path_and_bytes
from scripts.speech.rows import LEAST_TOLERANCE_S, TOLERANCE, SpeechRows, check_duration
from scripts.speech.tables import Record

AUDIO_COLUMNS = (
    *("audio", "file", "path", "speech", "wav", "audio_filepath", "audio_path", "audio_file", "file_name", "filename"),
    *("wav_filename", "wav_path"),
)
TEXT_COLUMNS = ("transcription", "sentence", "text", "transcript", "normalized_text", "raw_transcription")
DURATION, OFFSET = "duration", "offset"
"""Columns of NeMo's manifests, in seconds: how long a clip is, and where it begins in its file."""
BOUNDS = (("start", "end"), ("start_time", "end_time"))
"""Columns that others give the bounds of a clip in its file, in seconds, or in that from which it was cut long ago."""


@dataclass(frozen=True)
class Table:
    """Rows before it is known which column is what.

    values: column -> a value for each row, or what `datasets` has read. places: where each row stands, for messages.
    folder: what paths are relative to.
    """

    values: dict[str, list[Any]] | Dataset
    places: Sequence[str]
    folder: Path | None = None

    @classmethod
    def of_records(cls, records: Sequence[Record], folder: Path | None) -> "Table":
        """A row need not have all columns."""
        names = dict.fromkeys(name for record in records for name in record.values)
        values = {name: [record.values.get(name) for record in records] for name in names}
        return cls(values, [record.place for record in records], folder)

    @property
    def column_names(self) -> list[str]:
        return list(self.values) if isinstance(self.values, dict) else list(self.values.column_names)

    def __len__(self) -> int:
        return len(self.places)

    def numbers(self, column: str) -> list[float | None]:
        """A column in seconds; None where a row has none. Raises DataError for what is no time."""
        return [self._number(value, column, index) for index, value in enumerate(self.values[column])]

    def _number(self, value: Any, column: str, index: int) -> float | None:
        if value is None or value == "":
            return None
        try:
            number = float(value)
        except (TypeError, ValueError, OverflowError):
            number = math.nan
        if not (math.isfinite(number) and number >= 0):
            raise DataError(f"{column} of {self.places[index]} is no number of seconds: {value!r}")
        return number


def to_rows(table: Table, audio_column: str | None, text_column: str | None, *, with_text: bool) -> SpeechRows:
    """Find the columns of a table and the length of every clip.

    Raises DataError when a column cannot be found, and for a row whose sound is not there or not as the row says.
    """
    audio = audio_column or _find_column(table, AUDIO_COLUMNS, "--audio_column")
    text = text_column or (_find_column(table, TEXT_COLUMNS, "--text_column") if with_text else None)
    columns = [audio] if text is None else [audio, text]
    for column in columns:
        if column not in table.column_names:
            raise DataError(f"there is no column {column!r}; there are {', '.join(table.column_names)}")
    rows = _stored(table, audio, text)
    lengths = _Lengths(rows, audio, table)
    durations = table.numbers(DURATION) if DURATION in table.column_names else [None] * len(table)
    segments = list(_segments(table, lengths, durations))
    stated = all(duration is not None for duration in durations)  # what a row says counts only if all do
    durations_s = [
        duration if stated and segment is None and duration is not None else lengths.of_row(index, segment, duration)
        for index, (segment, duration) in enumerate(zip(segments, durations, strict=True))
    ]
    return SpeechRows(
        rows, audio, text, durations_s, table.folder, segments if any(segments) else None, table.places, stated
    )


def _find_column(table: Table, names: tuple[str, ...], option: str) -> str:
    if option == "--audio_column" and isinstance(table.values, Dataset):
        for column, feature in table.values.features.items():
            if isinstance(feature, Audio):
                return str(column)
    for column in names:
        if column in table.column_names:
            return column
    raise DataError(f"none of {', '.join(names)} is a column ({', '.join(table.column_names)}): name it with {option}")


def _stored(table: Table, audio: str, text: str | None) -> Dataset:
    """The columns of sound, still encoded, and text."""
    if isinstance(table.values, Dataset):
        rows = table.values
        if isinstance(rows.features[audio], Audio):
            rows = rows.cast_column(audio, Audio(decode=False))
        return rows.select_columns([audio] if text is None else [audio, text])
    cells = [_path(value, place, table.folder) for value, place in zip(table.values[audio], table.places, strict=True)]
    columns: dict[str, Sequence[str | None]] = {audio: cells}
    if text is not None:
        columns[text] = [_words(value, place) for value, place in zip(table.values[text], table.places, strict=True)]
    return Dataset.from_dict(columns)


def _path(value: Any, place: str, folder: Path | None) -> str:
    """A path that stands in a table. Raises DataError if no file is there, or one that cannot hold sound."""
    path, _ = path_and_bytes(value)
    if not path or not isinstance(path, str):
        raise DataError(f"{place} names no file of sound")
    file = Path(path) if folder is None else folder / path
    if broken := describe_broken_file(file):
        raise DataError(f"{place} names {path}: {broken}")
    if not file.is_file():
        raise DataError(f"{place} names {path}, and there is no such file")
    return path


def _words(value: Any, place: str) -> str | None:
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, (int, float)):
        return str(value)
    raise DataError(f"the text of {place} is no text: {value!r}")


class _Lengths:
    """How long the sound of each row is, in seconds; every file is measured once, and when it is first asked for."""

    def __init__(self, rows: Dataset, audio: str, table: Table) -> None:
        self._are_paths = isinstance(rows.features[audio], Value)
        self._cells = list(rows[audio]) if self._are_paths else rows[audio]
        self._table = table
        self._of_path: dict[str, float] = {}
        self._of_row: list[float] = []

    def __call__(self, index: int) -> float:
        """Raises DataError, naming file and row, if it cannot be read."""
        if not self._are_paths:
            if not self._of_row:  # rows with the bytes of the sound are read much faster one after the other
                self._of_row = [self._measure(row, cell) for row, cell in enumerate(self._cells)]
            return self._of_row[index]
        path = self._cells[index]
        if path not in self._of_path:
            self._of_path[path] = self._measure(index, path)
        return self._of_path[path]

    def _measure(self, index: int, cell: Any) -> float:
        try:
            with open_sound(cell, self._table.folder) as sound:
                return measure_duration_s(sound)
        except (AsrError, OSError, DataError) as error:
            raise DataError(f"{self.name(index)} cannot be read: {error}") from error

    def of_row(self, index: int, segment: Segment | None, stated_s: float | None) -> float:
        """How long a row's part of the file is, or the whole, for which a row may state a duration.

        Raises DataError if the part does not lie in the file, or the whole is not as long as stated.
        """
        length_s = self(index)
        try:
            if segment is not None:
                return segment.end_s(length_s) - segment.start_s
            if stated_s is not None:
                check_duration(stated_s, length_s)
        except DataError as error:
            raise DataError(f"{self.name(index)}: {error}") from error
        return length_s

    def file(self, index: int) -> str | None:
        """The path of a row's sound; None if the row holds the sound itself."""
        return self._cells[index] if self._are_paths else None

    def name(self, index: int) -> str:
        """Names file and row, for messages."""
        path, _ = path_and_bytes(self._cells[index])
        place = self._table.places[index]
        return f"{path} ({place})" if path else place


def _segments(table: Table, lengths: _Lengths, durations: Sequence[float | None]) -> Iterator[Segment | None]:
    """The part of its file that each row is; None is the whole."""
    if OFFSET in table.column_names:
        offsets = table.numbers(OFFSET)
        if any(offset is not None for offset in offsets):
            yield from map(_nemo_segment, offsets, durations)
            return
    for start, end in BOUNDS:
        if start in table.column_names and end in table.column_names:
            yield from _segments_between(table, lengths, start, end)
            return
    yield from [None] * len(table)


def _nemo_segment(offset: float | None, duration: float | None) -> Segment | None:
    """As NeMo reads it: a row without an offset begins at 0, one without a duration goes on to the end."""
    return None if offset is None and duration is None else Segment(offset or 0.0, duration)


def _segments_between(table: Table, lengths: _Lengths, start: str, end: str) -> Iterator[Segment | None]:
    """Parts between two bounds. Some tables give the bounds in the file, others in what the file was cut from.

    A clip that is as long as its bounds are apart was cut already. A file that several rows name was not. Of any other
    it cannot be told; raises DataError.
    """
    named = Counter(lengths.file(index) for index in range(len(table)))
    for index, (start_s, end_s) in enumerate(zip(table.numbers(start), table.numbers(end), strict=True)):
        if start_s is None or end_s is None:
            yield None
            continue
        file = lengths.file(index)
        shared = file is not None and named[file] > 1
        apart_s, length_s = end_s - start_s, lengths(index)
        tolerance_s = END_TOLERANCE_S if shared else max(LEAST_TOLERANCE_S, TOLERANCE * apart_s)
        if abs(apart_s - length_s) <= tolerance_s:
            yield None
        elif shared:
            yield Segment(start_s, apart_s)
        else:
            raise DataError(
                f"{lengths.name(index)} is {length_s:g} s long, its {start} and {end} are {start_s:g} and {end_s:g}: "
                "name them offset and duration, in seconds, if it is to be cut, or else leave them out"
            )
