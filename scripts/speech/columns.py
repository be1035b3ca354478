"""Convert tables to `SpeechRows`: find the columns, and the segment of its file that each row is."""

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datasets import Audio, Dataset, Value

from app.errors import AsrError
from app.files import describe_broken_file
from scripts.speech.clips import END_TOLERANCE_S, DataError, Segment, measure_duration_s, open_audio, path_and_bytes
from scripts.speech.rows import MIN_TOLERANCE_S, TOLERANCE, SpeechRows, check_duration
from scripts.speech.tables import Record

AUDIO_COLUMNS = (
    *("audio", "file", "path", "speech", "wav", "audio_filepath", "audio_path", "audio_file", "file_name", "filename"),
    *("wav_filename", "wav_path"),
)
TEXT_COLUMNS = ("transcription", "sentence", "text", "transcript", "normalized_text", "raw_transcription")
DURATION, OFFSET = "duration", "offset"
"""Columns of NeMo's manifests, in seconds: the duration of a clip, and its start in the file."""
BOUNDS = (("start", "end"), ("start_time", "end_time"))
"""Columns of other tables for start and end of a clip, in seconds: in its file, or in the recording that it is from."""


@dataclass(frozen=True)
class Table:
    """Rows with any columns.

    values: column -> a value for each row, or a data set of `datasets`. places: the location of each row, for messages.
    folder: the folder that paths are relative to.
    """

    values: dict[str, list[Any]] | Dataset
    places: Sequence[str]
    folder: Path | None = None

    @classmethod
    def of_records(cls, records: Sequence[Record], folder: Path | None) -> "Table":
        """Convert records, which may each have other columns."""
        names = dict.fromkeys(name for record in records for name in record.values)
        values = {name: [record.values.get(name) for record in records] for name in names}
        return cls(values, [record.place for record in records], folder)

    @property
    def column_names(self) -> list[str]:
        return list(self.values) if isinstance(self.values, dict) else list(self.values.column_names)

    def __len__(self) -> int:
        return len(self.places)

    def numbers(self, column: str) -> list[float | None]:
        """A column of seconds; None for an empty cell. Raises DataError for a value that is not a time."""
        return [self._number(value, column, index) for index, value in enumerate(self.values[column])]

    def _number(self, value: Any, column: str, index: int) -> float | None:
        if value is None or value == "":
            return None
        try:
            number = float(value)
        except (TypeError, ValueError, OverflowError):
            number = math.nan
        if not (math.isfinite(number) and number >= 0):
            raise DataError(f"{column} of {self.places[index]} is not a number of seconds: {value!r}")
        return number


def to_rows(table: Table, audio_column: str | None, text_column: str | None, *, with_text: bool) -> SpeechRows:
    """Find the columns of a table and the duration of every clip.

    audio_column, text_column: names of the columns; None to detect them. with_text: whether a text column is required.
    Raises DataError if a column cannot be found, or if the audio of a row does not exist or does not match the row.
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
    stated = all(duration is not None for duration in durations)  # durations are used only if every row has one
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
    raise DataError(
        f"none of {', '.join(names)} is a column; there are {', '.join(table.column_names)}: choose one with {option}"
    )


def _stored(table: Table, audio: str, text: str | None) -> Dataset:
    """The columns of audio, still encoded, and text."""
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
    """Check a path in a table. Raises DataError if the file does not exist, or cannot contain audio."""
    path, _ = path_and_bytes(value)
    if not path or not isinstance(path, str):
        raise DataError(f"{place} has no path to an audio file")
    file = Path(path) if folder is None else folder / path
    if broken := describe_broken_file(file):
        raise DataError(f"{place} names {path}: {broken}")
    if not file.is_file():
        raise DataError(f"{place} names {path}, which does not exist")
    return path


def _words(value: Any, place: str) -> str | None:
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, (int, float)):
        return str(value)
    raise DataError(f"the text of {place} is not a string: {value!r}")


class _Lengths:
    """The duration of the audio of each row, in seconds. Each file is measured once, when it is first needed."""

    def __init__(self, rows: Dataset, audio: str, table: Table) -> None:
        self._are_paths = isinstance(rows.features[audio], Value)
        self._cells = list(rows[audio]) if self._are_paths else rows[audio]
        self._table = table
        self._of_path: dict[str, float] = {}
        self._of_row: list[float] = []

    def __call__(self, index: int) -> float:
        """The duration of a row's file. Raises DataError, with file and row, if it cannot be read."""
        if not self._are_paths:
            if not self._of_row:  # rows that contain the audio are much faster to read in order
                self._of_row = [self._measure(row, cell) for row, cell in enumerate(self._cells)]
            return self._of_row[index]
        path = self._cells[index]
        if path not in self._of_path:
            self._of_path[path] = self._measure(index, path)
        return self._of_path[path]

    def _measure(self, index: int, cell: Any) -> float:
        try:
            with open_audio(cell, self._table.folder) as audio:
                return measure_duration_s(audio)
        except (AsrError, OSError, DataError) as error:
            raise DataError(f"{self.name(index)} cannot be read: {error}") from error

    def of_row(self, index: int, segment: Segment | None, stated_s: float | None) -> float:
        """The duration of a row's segment, or of its whole file. stated_s: the duration in the table, if there is one.

        Raises DataError if the segment is not inside the file, or if the whole file does not have the stated duration.
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
        """The path of a row's audio file. None if the row contains the audio itself."""
        return self._cells[index] if self._are_paths else None

    def name(self, index: int) -> str:
        """File and row, for messages."""
        path, _ = path_and_bytes(self._cells[index])
        place = self._table.places[index]
        return f"{path} ({place})" if path else place


def _segments(table: Table, lengths: _Lengths, durations: Sequence[float | None]) -> Iterator[Segment | None]:
    """The segment of its file that each row is. None is the whole file."""
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
    """The segment as NeMo defines it: without an offset it starts at 0, without a duration it goes up to the end."""
    return None if offset is None and duration is None else Segment(offset or 0.0, duration)


def _segments_between(table: Table, lengths: _Lengths, start: str, end: str) -> Iterator[Segment | None]:
    """Segments between two bounds. In some tables these are times in the file, in others in the original recording.

    A file that has the duration between its bounds is already cut. A file that several rows name is not. Any other file
    is ambiguous, and raises DataError.
    """
    named = Counter(lengths.file(index) for index in range(len(table)))
    for index, (start_s, end_s) in enumerate(zip(table.numbers(start), table.numbers(end), strict=True)):
        if start_s is None or end_s is None:
            yield None
            continue
        file = lengths.file(index)
        shared = file is not None and named[file] > 1
        apart_s, length_s = end_s - start_s, lengths(index)
        tolerance_s = END_TOLERANCE_S if shared else max(MIN_TOLERANCE_S, TOLERANCE * apart_s)
        if abs(apart_s - length_s) <= tolerance_s:
            yield None
        elif shared:
            yield Segment(start_s, apart_s)
        else:
            raise DataError(
                f"{lengths.name(index)} is {length_s:g} s long, but its {start} and {end} are {start_s:g} and "
                f"{end_s:g}: replace them by offset and duration, in seconds, to cut it, or remove them"
            )
