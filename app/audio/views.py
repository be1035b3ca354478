"""A file as it should have been written: without what stands before the sound, and with right sizes in its header."""

import io
from collections.abc import Mapping
from typing import BinaryIO


class View(io.RawIOBase):
    """A read-only view of a seekable binary file, which stays open when the view is closed.

    start, end: the bytes of the file at which the view begins, and before which it ends. patches: place in the view ->
    the bytes that are read there.
    """

    def __init__(
        self, file: BinaryIO, start: int = 0, end: int | None = None, patches: Mapping[int, bytes] | None = None
    ) -> None:
        self._file, self._start, self._patches = file, start, patches or {}
        self._size = max(0, (file_size(file) if end is None else end) - start)
        self._place = 0

    def readable(self) -> bool:
        """Always."""
        return True

    def seekable(self) -> bool:
        """Always."""
        return True

    def tell(self) -> int:
        """The byte of the view that is read next."""
        return self._place

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a byte of the view; to its first, if that lies before it, as libsndfile seeks in broken files."""
        place = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._place, io.SEEK_END: self._size}[whence]
        self._place = max(0, place)
        return self._place

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        """Read up to the length of `buffer`; fewer bytes only at the end."""
        if self._place >= self._size:  # a real file cannot be sought to where a broken header may point
            return 0
        self._file.seek(self._start + self._place)
        data = self._file.read(max(0, min(len(buffer), self._size - self._place)))
        buffer[: len(data)] = data
        for place, patch in self._patches.items():
            first = max(place, self._place)
            last = min(place + len(patch), self._place + len(data))
            if first < last:
                buffer[first - self._place : last - self._place] = patch[first - place : last - place]
        self._place += len(data)
        return len(data)


def file_size(file: BinaryIO) -> int:
    """Bytes of a seekable file; leaves it at its end."""
    return file.seek(0, io.SEEK_END)


def read_at(file: BinaryIO, place: int, size: int) -> bytes:
    """Up to `size` bytes from byte `place` on; none outside the file, where a broken header may point."""
    if not 0 <= place < file_size(file):
        return b""
    file.seek(place)
    return file.read(size)
