"""Repairs the sizes in unfinished headers of WAV and similar formats.

Their headers contain the size of the audio, so a program that crashed, was killed or wrote into a pipe leaves only a
placeholder: 0, the size of the header, the largest number. The audio is there, and extends to the end of the file.
"""

import struct
from typing import BinaryIO, NamedTuple

from app.audio.views import View, file_size, read_at

MAX_CHUNKS = 1_000
"""Most chunks before the audio, and after it; real files have a few."""
DS64_RIFF_SIZE, DS64_DATA_SIZE, DS64_SAMPLES = 20, 28, 36
"""Offsets of the 64-bit sizes of RF64 and BW64 (EBU Tech 3306, ITU-R BS.2088), whose first chunk is `ds64`."""


class _Layout(NamedTuple):
    """How a container stores chunks: a name, a size, and data, from byte `first` on.

    size: `struct` format of the size. counted: bytes of name and size that it includes. align: chunks start at
    multiples of this. audio: name of the chunk with the samples. whole: offset of the field for the file's size, and by
    how many bytes it is less than the actual one; None if there is no such field.
    """

    first: int
    name_bytes: int
    size: str
    counted: int
    align: int
    audio: bytes
    whole: tuple[int, int] | None

    @property
    def head_bytes(self) -> int:
        """Bytes of name and size."""
        return self.name_bytes + struct.calcsize(self.size)

    @property
    def largest(self) -> int:
        """The largest size that the field can store."""
        return (1 << 32) - 1 if struct.calcsize(self.size) == 4 else (1 << 63) - 1


_RIFF = _Layout(12, 4, "<I", 0, 2, b"data", (4, 8))
_RIFX = _RIFF._replace(size=">I")
_AIFF = _Layout(12, 4, ">I", 0, 2, b"SSND", (4, 8))
_CAF = _Layout(8, 4, ">q", 0, 1, b"data", None)
_W64 = _Layout(40, 16, "<q", 24, 8, b"data\xf3\xac\xd3\x11\x8c\xd1\x00\xc0\x4f\x8e\xdb\x8a", (16, 0))
_LAYOUTS = {
    b"RIFF": _RIFF,
    b"RF64": _RIFF,
    b"BW64": _RIFF,
    b"RIFX": _RIFX,
    b"FORM": _AIFF,
    b"caff": _CAF,
    b"riff": _W64,
}


class _Chunk(NamedTuple):
    """size_offset: of its size field. begin: offset of its data. size: declared size of its data."""

    name: bytes
    size_offset: int
    begin: int
    size: int


def with_repaired_sizes(file: BinaryIO, name: str) -> BinaryIO:
    """The file, or a view of it with correct sizes. name: its format; only WAV and similar formats are changed.

    A declared size is correct if the audio ends at the end of the file, or if only chunks follow up to the end.
    Otherwise the audio extends to the end of the file.
    """
    if name not in ("wav", "w64", "aiff", "au", "caf"):
        return file
    magic = read_at(file, 0, 4)
    patches = _au_patches(file) if name == "au" else _chunk_patches(file, magic, _LAYOUTS[magic])
    return View(file, patches=patches) if patches else file  # type: ignore[return-value]


def _au_patches(file: BinaryIO) -> dict[int, bytes]:
    """The header of AU is fixed (RFC 2361's `audio/basic` files): magic, offset of the audio, its size."""
    head = read_at(file, 0, 12)
    if len(head) < 12:
        return {}
    begin, size = struct.unpack(">II", head[4:])
    actual = file_size(file) - begin
    return {8: struct.pack(">I", actual)} if size != actual and 0 < actual < 1 << 32 else {}


def _chunk_patches(file: BinaryIO, magic: bytes, layout: _Layout) -> dict[int, bytes]:
    audio = _audio_chunk(file, layout)
    if audio is None:
        return {}
    if magic in (b"RF64", b"BW64"):
        return _long_patches(file, layout, audio)
    actual = _actual_size(file, layout, audio, audio.size)
    if actual == audio.size or actual + layout.counted > layout.largest:
        return {}
    patches = {audio.size_offset: struct.pack(layout.size, actual + layout.counted)}
    if layout.whole is not None:
        offset, less = layout.whole
        patches[offset] = struct.pack(layout.size, file_size(file) - less)
    return patches


def _long_patches(file: BinaryIO, layout: _Layout, audio: _Chunk) -> dict[int, bytes]:
    """Patches that turn BW64, which libsndfile does not know, into RF64; without its `ds64` chunk, into WAV."""
    if read_at(file, layout.first, 4) != b"ds64":
        return {0: b"RIFF"}
    size = audio.size
    if size in (0, layout.largest):
        size = struct.unpack("<q", read_at(file, DS64_DATA_SIZE, 8))[0]
    return {
        0: b"RF64",
        DS64_RIFF_SIZE: struct.pack("<q", file_size(file) - 8),
        DS64_DATA_SIZE: struct.pack("<q", _actual_size(file, layout, audio, size)),
        DS64_SAMPLES: struct.pack("<q", 0),
        audio.size_offset: struct.pack(layout.size, layout.largest),
    }


def _actual_size(file: BinaryIO, layout: _Layout, audio: _Chunk, declared: int) -> int:
    """Bytes of audio."""
    rest = file_size(file) - audio.begin
    return declared if 0 <= declared < rest and _chunks_follow(file, layout, audio.begin + declared) else rest


def _audio_chunk(file: BinaryIO, layout: _Layout) -> _Chunk | None:
    offset = layout.first
    for _ in range(MAX_CHUNKS):
        chunk = _chunk(file, layout, offset)
        if chunk is None or chunk.name == layout.audio:
            return chunk
        if chunk.size < 0:
            return None
        offset = _aligned(chunk.begin + chunk.size, layout)
    return None


def _chunks_follow(file: BinaryIO, layout: _Layout, offset: int) -> bool:
    """Whether the file consists only of chunks from `offset` on.

    Some writers leave out the padding byte between chunks.
    """
    end = file_size(file)
    if _aligned(offset, layout) >= end:
        return True
    for at in (_aligned(offset, layout), offset):
        for _ in range(MAX_CHUNKS):
            chunk = _chunk(file, layout, at)
            if chunk is None or chunk.size < 0 or not _is_name(chunk.name[:4]):
                break
            at = _aligned(chunk.begin + chunk.size, layout)
            if end <= at < end + layout.align:
                return True
    return False


def _chunk(file: BinaryIO, layout: _Layout, offset: int) -> _Chunk | None:
    head = read_at(file, offset, layout.head_bytes)
    if len(head) < layout.head_bytes:
        return None
    size = struct.unpack(layout.size, head[layout.name_bytes :])[0] - layout.counted
    return _Chunk(head[: layout.name_bytes], offset + layout.name_bytes, offset + layout.head_bytes, size)


def _is_name(name: bytes) -> bool:
    """Whether it looks like a chunk name: four letters, digits, spaces and the like."""
    return all(0x20 <= byte < 0x7F for byte in name)


def _aligned(offset: int, layout: _Layout) -> int:
    return -(-offset // layout.align) * layout.align
