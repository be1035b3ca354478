"""Samples without a header -> a WAV file."""

import struct
from typing import BinaryIO

from app.audio.views import Positioned, View, file_size

BYTES_PER_SAMPLE = 2


class RawPcm(Positioned):
    """A read-only WAV file of the samples in a seekable file, which is closed with it.

    file: 16-bit little-endian mono samples at `rate_hz`. longest_s: most seconds of them; None for all.
    """

    def __init__(self, file: BinaryIO, rate_hz: int, longest_s: float | None = None) -> None:
        self._file = file
        size = file_size(file) // BYTES_PER_SAMPLE
        if longest_s is not None:
            size = min(size, round(longest_s * rate_hz))
        size *= BYTES_PER_SAMPLE
        self._header = wav_header(size, rate_hz)
        self._samples = View(file, 0, size)
        super().__init__(len(self._header) + size)

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        """Read up to the length of `buffer`; fewer bytes only at the end."""
        view = memoryview(buffer)
        head = self._header[self._position :][: len(view)]
        view[: len(head)] = head
        self._samples.seek(max(0, self._position + len(head) - len(self._header)))
        count = len(head) + self._samples.readinto(view[len(head) :])
        self._position += count
        return count

    def close(self) -> None:
        """Close the file too."""
        self._file.close()
        super().close()


def wav_header(size: int, rate_hz: int) -> bytes:
    """The header of a WAV file with `size` bytes of 16-bit mono samples (Microsoft, RIFF WAVE)."""
    form = struct.pack("<HHIIHH", 1, 1, rate_hz, rate_hz * BYTES_PER_SAMPLE, BYTES_PER_SAMPLE, 8 * BYTES_PER_SAMPLE)
    body = b"WAVE" + b"fmt " + struct.pack("<I", len(form)) + form + b"data" + struct.pack("<I", size)
    return b"RIFF" + struct.pack("<I", len(body) + size) + body
