"""Rows of audio and text, independent of the format that they were read from."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datasets import Dataset

from app.errors import AsrError
from scripts.speech.clips import DataError, Samples, Segment, open_audio, path_and_bytes, read_samples

MIN_TOLERANCE_S, TOLERANCE = 1.0, 0.05
"""A clip may differ by one second or 5 % from the duration that its row states, because tables round. If it differs by
more, the text probably belongs to other audio."""


@dataclass(frozen=True)
class SpeechRows:
    """Rows of audio and text. Without a `text_column`, the texts are empty.

    durations_s: duration of each row, in seconds. folder: the folder that paths are relative to. segments: the segment
    of its file that each row is; None is the whole file. places: the location of each row, for messages. stated:
    whether the durations are those of the table, and were not measured.
    """

    rows: Dataset
    audio_column: str
    text_column: str | None
    durations_s: list[float]
    folder: Path | None = None
    segments: Sequence[Segment | None] | None = None
    places: Sequence[str] | None = None
    stated: bool = False

    def __len__(self) -> int:
        return len(self.durations_s)

    def text(self, index: int) -> str:
        """The text of a row, not normalized."""
        return "" if self.text_column is None else _text(self.rows[index][self.text_column])

    def texts(self) -> list[str]:
        return [""] * len(self) if self.text_column is None else [_text(text) for text in self.rows[self.text_column]]

    def name(self, index: int) -> str:
        """A name for reports: the file, if there is one, and the segment."""
        path = path_and_bytes(self.rows[index][self.audio_column])[0]
        name = path or self._place(index)
        segment = self._segment(index)
        return name if segment is None else f"{name} ({segment})"

    def samples(self, index: int, rate_hz: int) -> Samples:
        """Mono samples at `rate_hz`, shape (samples,), float32.

        Raises DataError, with file and row, if they cannot be read or do not have the stated duration.
        """
        segment = self._segment(index)
        try:
            with open_audio(self.rows[index][self.audio_column], self.folder) as file:
                samples = read_samples(file, rate_hz, segment)
            if self.stated and segment is None:
                check_duration(self.durations_s[index], len(samples) / rate_hz)
        except (AsrError, OSError, DataError) as error:
            raise DataError(f"{self.name(index)} ({self._place(index)}) cannot be read: {error}") from error
        return samples

    def select(self, indices: list[int]) -> "SpeechRows":
        return SpeechRows(
            self.rows.select(indices),
            self.audio_column,
            self.text_column,
            [self.durations_s[index] for index in indices],
            self.folder,
            None if self.segments is None else [self.segments[index] for index in indices],
            [self._place(index) for index in indices],
            self.stated,
        )

    def _segment(self, index: int) -> Segment | None:
        return None if self.segments is None else self.segments[index]

    def _place(self, index: int) -> str:
        return f"row {index}" if self.places is None else self.places[index]


def check_duration(stated_s: float, length_s: float) -> None:
    """Raise DataError if the duration of a clip differs too much from the stated one."""
    if abs(stated_s - length_s) > max(MIN_TOLERANCE_S, TOLERANCE * stated_s):
        raise DataError(
            f"its duration is stated as {stated_s:g} s, but it is {length_s:g} s long (a row that is a segment of a "
            "file needs a column offset with its start)"
        )


def _text(value: Any) -> str:
    """The text of a cell. An empty cell has an empty text."""
    return "" if value is None else str(value)
