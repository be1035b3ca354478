"""A view of a file with a different start, end and header, without copying it."""

import io
from collections.abc import Mapping
from typing import BinaryIO


class Positioned(io.RawIOBase):
    """A read-only, seekable file of a known size; a subclass reads from `_position` on."""

    def __init__(self, size: int) -> None:
        self._size, self._position = size, 0

    def readable(self) -> bool:
        """Always."""
        return True

    def seekable(self) -> bool:
        """Always."""
        return True

    def tell(self) -> int:
        """Position of the next byte to read."""
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move the position; positions before the start become 0, because libsndfile seeks there in broken files."""
        position = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        self._position = max(0, position)
        return self._position


class View(Positioned):
    """A read-only view of a seekable binary file, which stays open when the view is closed.

    start, end: offsets of the first byte in the view, and of the first one after it. patches: offset in the view ->
    bytes that replace those of the file.
    """

    def __init__(
        self, file: BinaryIO, start: int = 0, end: int | None = None, patches: Mapping[int, bytes] | None = None
    ) -> None:
        self._file, self._start, self._patches = file, start, patches or {}
        super().__init__(max(0, (file_size(file) if end is None else end) - start))

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        """Read up to the length of `buffer`; fewer bytes only at the end."""
        if self._position >= self._size:  # a broken header may point where the file cannot seek to
            return 0
        self._file.seek(self._start + self._position)
        data = self._file.read(max(0, min(len(buffer), self._size - self._position)))
        buffer[: len(data)] = data
        for offset, patch in self._patches.items():
            first = max(offset, self._position)
            last = min(offset + len(patch), self._position + len(data))
            if first < last:
                buffer[first - self._position : last - self._position] = patch[first - offset : last - offset]
        self._position += len(data)
        return len(data)


def file_size(file: BinaryIO) -> int:
    """Size of a seekable file in bytes; leaves it at its end."""
    return file.seek(0, io.SEEK_END)


def read_at(file: BinaryIO, offset: int, size: int) -> bytes:
    """Up to `size` bytes from `offset` on; none outside the file, where a broken header may point."""
    if not 0 <= offset < file_size(file):
        return b""
    file.seek(offset)
    return file.read(size)
