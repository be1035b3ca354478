"""The audio of one row of speech data: encoded bytes or a file, or a segment of it.

`app.audio` decodes it, so that training and evaluation use exactly the same samples as the service.
"""

import io
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import soundfile
from numpy.typing import NDArray

from app.audio import AudioLimits, decode
from app.files import LFS_POINTER, is_lfs_pointer

Samples = NDArray[np.float32]

NO_LIMITS = AudioLimits(max_duration_s=24 * 3600.0, max_decoded_bytes=2**40, max_channels=8)
CUT_IN_PLACE = frozenset({"WAV", "WAVEX", "RF64", "W64", "FLAC", "AIFF", "AU", "CAF", "OGG", "MP3"})
"""Formats that libsndfile seeks in with sample accuracy, by its names for them (OGG is Vorbis and Opus)."""
END_TOLERANCE_S = 0.1
"""A segment may end this much after the end of its file: manifests round, and codecs pad and trim."""
PROBED_HZ = 16_000
"""Sample rate for decoding that only measures the duration."""


class DataError(Exception):
    """The data cannot be used. The message says what is wrong, where, and what to do."""


class Segment(NamedTuple):
    """A segment of a file: its start and its duration, in seconds. A duration of None means up to the end."""

    start_s: float
    duration_s: float | None

    def __str__(self) -> str:
        end = "the end" if self.duration_s is None else f"{self.start_s + self.duration_s:g} s"
        return f"{self.start_s:g} s to {end}"

    def end_s(self, length_s: float) -> float:
        """Its end in a file of that length. Raises DataError if the segment is empty or not inside the file."""
        end_s = length_s if self.duration_s is None else self.start_s + self.duration_s
        if self.duration_s == 0:
            raise DataError(f"the segment from {self} is empty")
        if self.start_s >= length_s or end_s > length_s + END_TOLERANCE_S:
            raise DataError(f"the segment from {self} is not inside the file, which is {length_s:g} s long")
        return min(end_s, length_s)


def open_audio(cell: Any, folder: Path | None) -> BinaryIO:
    """Open the encoded audio of a cell: a path (relative to `folder`), or the hub's {"path", "bytes"}.

    Raises DataError or OSError if there is none.
    """
    path, content = path_and_bytes(cell)
    if content is not None:
        file: BinaryIO = io.BytesIO(content)
    elif path is not None:
        file = (Path(path) if folder is None else folder / path).open("rb")
    else:
        raise DataError("there are neither audio bytes nor a path")
    if is_lfs_pointer(file.read(len(LFS_POINTER))):
        file.close()
        raise DataError("it is a Git LFS pointer, not the audio itself: run `git lfs pull`")
    file.seek(0)
    return file


def path_and_bytes(cell: Any) -> tuple[str | None, bytes | None]:
    """The path and the encoded bytes in a cell of an audio column. Each is None if the cell does not have it."""
    if isinstance(cell, dict):
        return cell.get("path"), cell.get("bytes")
    return (None if cell is None else str(cell)), None


def measure_duration_s(file: BinaryIO) -> float:
    """Duration of an audio file in seconds, from its header if possible. Raises AsrError if it cannot be read."""
    try:
        length_s = float(soundfile.info(file).duration)
        if length_s > 0:
            return length_s
    except soundfile.LibsndfileError:
        pass
    file.seek(0)
    return decode(file, PROBED_HZ, NO_LIMITS).duration_s


def read_samples(file: BinaryIO, rate_hz: int, segment: Segment | None = None) -> Samples:
    """Decode mono samples at `rate_hz`, shape (samples,), float32.

    A segment is cut at the nearest samples in the file's own rate. If libsndfile cannot seek in the format (see
    `CUT_IN_PLACE`), the whole file is decoded first. Raises AsrError if the file cannot be read, and DataError if the
    segment is not inside the file.
    """
    if segment is None:
        return decode(file, rate_hz, NO_LIMITS).samples
    part = _cut_in_place(file, segment)
    if part is not None:
        return decode(part, rate_hz, NO_LIMITS).samples
    file.seek(0)
    samples = decode(file, rate_hz, NO_LIMITS).samples
    end_s = segment.end_s(len(samples) / rate_hz)
    return samples[round(segment.start_s * rate_hz) : round(end_s * rate_hz)]


def _cut_in_place(file: BinaryIO, segment: Segment) -> io.BytesIO | None:
    """The segment as a WAV file with all channels. None if libsndfile cannot read it, or finds no such segment.

    In concatenated files, and in files with an unfinished header, libsndfile finds less audio than there is.
    """
    try:
        with soundfile.SoundFile(file) as audio:
            if audio.format not in CUT_IN_PLACE:
                return None
            rate_hz = audio.samplerate
            start = round(segment.start_s * rate_hz)
            end = round(segment.end_s(audio.frames / rate_hz) * rate_hz)
            audio.seek(start)
            samples = audio.read(end - start, dtype="float32", always_2d=True)
    except (soundfile.LibsndfileError, DataError):
        return None
    if len(samples) < end - start:
        return None
    part = io.BytesIO()
    soundfile.write(part, samples, rate_hz, format="WAV", subtype="FLOAT")
    part.seek(0)
    return part
