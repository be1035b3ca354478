"""Samples without a header -> a WAV file."""

import struct
from dataclasses import dataclass
from typing import BinaryIO

from app.audio.views import Positioned, View, file_size


@dataclass(frozen=True)
class SampleForm:
    """How samples without a header are stored, interleaved.

    tag: of the codec in a WAV file (Microsoft, mmreg.h): 1 for little-endian integers, 6 for A-law, 7 for mu-law.
    """

    tag: int = 1
    bytes_per_sample: int = 2
    channels: int = 1

    @property
    def frame_bytes(self) -> int:
        """Bytes of one sample of each channel."""
        return self.bytes_per_sample * self.channels


class RawPcm(Positioned):
    """A read-only WAV file of the samples in a seekable file, which is closed with it.

    file: samples at `rate_hz`. longest_s: most seconds of them; None for all. form: how they are stored, by default as
    16-bit little-endian integers, mono.
    """

    def __init__(
        self, file: BinaryIO, rate_hz: int, longest_s: float | None = None, form: SampleForm = SampleForm()
    ) -> None:
        self._file = file
        size = file_size(file) // form.frame_bytes
        if longest_s is not None:
            size = min(size, round(longest_s * rate_hz))
        size *= form.frame_bytes
        self._header = wav_header(size, rate_hz, form)
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


def wav_header(size: int, rate_hz: int, form: SampleForm = SampleForm()) -> bytes:
    """The header of a WAV file with `size` bytes of samples (Microsoft, RIFF WAVE)."""
    frame_bytes = form.frame_bytes
    chunk = struct.pack(
        "<HHIIHH", form.tag, form.channels, rate_hz, rate_hz * frame_bytes, frame_bytes, 8 * form.bytes_per_sample
    )
    body = b"WAVE" + b"fmt " + struct.pack("<I", len(chunk)) + chunk + b"data" + struct.pack("<I", size)
    return b"RIFF" + struct.pack("<I", len(body) + size) + body
