"""Sizes in the headers of WAV and its like that nobody came back to write.

Their headers say how long the sound is, so a program that crashed, was killed or wrote into a pipe leaves what it
reserved: 0, the size of the header, the largest number. The sound is there, and reaches to the end of the file.
"""

import struct
from typing import BinaryIO, NamedTuple

from app.audio.views import View, file_size, read_at

MAX_CHUNKS = 1_000
"""Chunks before the sound, and behind it, at most; real files have a few."""
DS64_RIFF_SIZE, DS64_DATA_SIZE, DS64_SAMPLES = 20, 28, 36
"""Places of the 64-bit sizes of RF64 and BW64 (EBU Tech 3306, ITU-R BS.2088), whose first chunk is `ds64`."""


class _Layout(NamedTuple):
    """How a container stores chunks: a name, a size, and data, from byte `first` on.

    size: the size's form. counted: bytes of name and size that it counts as well. align: chunks begin at multiples of
    it. sound: name of the chunk that holds the samples. whole: place of the size of the file, and how much less than
    the file's own it is; None where there is none.
    """

    first: int
    name_bytes: int
    size: str
    counted: int
    align: int
    sound: bytes
    whole: tuple[int, int] | None

    @property
    def head_bytes(self) -> int:
        """Bytes of name and size."""
        return self.name_bytes + struct.calcsize(self.size)

    @property
    def largest(self) -> int:
        """The largest size that can be stored."""
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
    """place: where its size stands, begin: of its data, size: of its data as it says."""

    name: bytes
    place: int
    begin: int
    size: int


def finished(file: BinaryIO, name: str) -> BinaryIO:
    """The file, or a view of it with the right sizes. name: of its format; others than WAV and its like stay.

    The size of the sound is right if it ends where the file does or other chunks follow, up to the end. Else the sound
    reaches to the end of the file.
    """
    if name not in ("wav", "w64", "aiff", "au", "caf"):
        return file
    magic = read_at(file, 0, 4)
    patches = _au_patches(file) if name == "au" else _chunk_patches(file, magic, _LAYOUTS[magic])
    return View(file, patches=patches) if patches else file  # type: ignore[return-value]


def _au_patches(file: BinaryIO) -> dict[int, bytes]:
    """The header of AU is fixed (RFC 2361's `audio/basic` files): place of the sound, its size, and the form."""
    head = read_at(file, 0, 12)
    if len(head) < 12:
        return {}
    begin, size = struct.unpack(">II", head[4:])
    actual = file_size(file) - begin
    return {8: struct.pack(">I", actual)} if size != actual and 0 < actual < 1 << 32 else {}


def _chunk_patches(file: BinaryIO, magic: bytes, layout: _Layout) -> dict[int, bytes]:
    sound = _sound_chunk(file, layout)
    if sound is None:
        return {}
    if magic in (b"RF64", b"BW64"):
        return _long_patches(file, layout, sound)
    actual = _actual_size(file, layout, sound, sound.size)
    if actual == sound.size or actual + layout.counted > layout.largest:
        return {}
    patches = {sound.place: struct.pack(layout.size, actual + layout.counted)}
    if layout.whole is not None:
        place, less = layout.whole
        patches[place] = struct.pack(layout.size, file_size(file) - less)
    return patches


def _long_patches(file: BinaryIO, layout: _Layout, sound: _Chunk) -> dict[int, bytes]:
    """As RF64, for libsndfile does not know the name BW64. Without the first chunk that belongs there, as WAV."""
    if read_at(file, layout.first, 4) != b"ds64":
        return {0: b"RIFF"}
    size = sound.size
    if size in (0, layout.largest):
        size = struct.unpack("<q", read_at(file, DS64_DATA_SIZE, 8))[0]
    return {
        0: b"RF64",
        DS64_RIFF_SIZE: struct.pack("<q", file_size(file) - 8),
        DS64_DATA_SIZE: struct.pack("<q", _actual_size(file, layout, sound, size)),
        DS64_SAMPLES: struct.pack("<q", 0),
        sound.place: struct.pack(layout.size, layout.largest),
    }


def _actual_size(file: BinaryIO, layout: _Layout, sound: _Chunk, told: int) -> int:
    """Bytes of the sound."""
    rest = file_size(file) - sound.begin
    return told if 0 <= told < rest and _chunks_follow(file, layout, sound.begin + told) else rest


def _sound_chunk(file: BinaryIO, layout: _Layout) -> _Chunk | None:
    place = layout.first
    for _ in range(MAX_CHUNKS):
        chunk = _chunk(file, layout, place)
        if chunk is None or chunk.name == layout.sound:
            return chunk
        if chunk.size < 0:
            return None
        place = _aligned(chunk.begin + chunk.size, layout)
    return None


def _chunks_follow(file: BinaryIO, layout: _Layout, place: int) -> bool:
    """Is all from byte `place` up to the end of the file chunks? Some writers leave out the byte that aligns them."""
    end = file_size(file)
    if _aligned(place, layout) >= end:
        return True
    for at in (_aligned(place, layout), place):
        for _ in range(MAX_CHUNKS):
            chunk = _chunk(file, layout, at)
            if chunk is None or chunk.size < 0 or not _is_name(chunk.name[:4]):
                break
            at = _aligned(chunk.begin + chunk.size, layout)
            if end <= at < end + layout.align:
                return True
    return False


def _chunk(file: BinaryIO, layout: _Layout, place: int) -> _Chunk | None:
    head = read_at(file, place, layout.head_bytes)
    if len(head) < layout.head_bytes:
        return None
    size = struct.unpack(layout.size, head[layout.name_bytes :])[0] - layout.counted
    return _Chunk(head[: layout.name_bytes], place + layout.name_bytes, place + layout.head_bytes, size)


def _is_name(name: bytes) -> bool:
    """Four letters, digits, spaces and the like."""
    return all(0x20 <= byte < 0x7F for byte in name)


def _aligned(place: int, layout: _Layout) -> int:
    return -(-place // layout.align) * layout.align
