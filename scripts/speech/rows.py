"""Rows of sound and text, whatever they were read from."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datasets import Dataset

from app.errors import AsrError
from scripts.speech.clips import DataError, Samples, Segment, open_sound, path_and_bytes, read_samples

LEAST_TOLERANCE_S, TOLERANCE = 1.0, 0.05
"""A clip may differ by a second, or by a twentieth, from the duration that its row states: tables round. More says that
the text is not of this sound."""


@dataclass(frozen=True)
class SpeechRows:
    """Rows of sound and text (none where `text_column` is None), with an entry a row in each of these lists:

    durations_s: of the sound, or of the part of it, in seconds. segments: the part of the file that is heard; None is
    the whole. places: where the row stands, for messages. stated: the durations are what the rows say, not measured.
    folder: what paths are relative to.
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
        """The text as it stands in the data, not normalized."""
        return "" if self.text_column is None else _text(self.rows[index][self.text_column])

    def texts(self) -> list[str]:
        return [""] * len(self) if self.text_column is None else [_text(text) for text in self.rows[self.text_column]]

    def name(self, index: int) -> str:
        """A name for reports: the file's where there is one, and the part of it."""
        path = path_and_bytes(self.rows[index][self.audio_column])[0]
        name = path or self._place(index)
        segment = self._segment(index)
        return name if segment is None else f"{name} ({segment})"

    def samples(self, index: int, rate_hz: int) -> Samples:
        """Mono float32 samples, shape (samples,), at `rate_hz`.

        Raises DataError, naming file and row, if they cannot be read or are not as long as the row says.
        """
        segment = self._segment(index)
        try:
            with open_sound(self.rows[index][self.audio_column], self.folder) as file:
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
    """Raises DataError if a clip is far from as long as its row states."""
    if abs(stated_s - length_s) > max(LEAST_TOLERANCE_S, TOLERANCE * stated_s):
        raise DataError(
            f"its duration is stated as {stated_s:g} s, but it is {length_s:g} s long (where a row is a part of a "
            "file, its column offset says where that begins)"
        )


def _text(value: Any) -> str:
    """A row may have no text."""
    return "" if value is None else str(value)
