"""Detects the format of a file from its bytes, never from its name or MIME type, and says what reads it."""

from typing import BinaryIO, NamedTuple

from app.audio.mpeg import find_stream
from app.audio.views import read_at
from app.errors import InvalidAudio, UnsupportedMedia


class Format(NamedTuple):
    """The decoders of a format.

    sndfile: whether libsndfile reads it. ffmpeg: FFmpeg's demuxer, used if libsndfile does not read the format or
    fails; None for none. timed: packets have time stamps to follow; in other formats each packet continues the one
    before.
    """

    sndfile: bool
    ffmpeg: str | None
    timed: bool = False


FORMATS = {
    "wav": Format(True, "wav"),
    "w64": Format(True, None),
    "aiff": Format(True, None),
    "au": Format(True, None),
    "caf": Format(True, "caf"),
    "flac": Format(False, "flac"),  # libsndfile needs the length in the header, and loses a block of a truncated file
    "ogg": Format(False, "ogg"),  # libsndfile stops after the first part of a concatenated file,
    "mp3": Format(False, "mp3"),  # or after the length in the first header
    "aac": Format(False, "aac"),
    "mp4": Format(False, "mov", timed=True),
    "webm": Format(False, "matroska", timed=True),
    "amr": Format(False, "amr"),
}

_OTHER_FILES = (
    # archives
    *(b"PK\x03\x04", b"PK\x05\x06", b"\x1f\x8b", b"BZh", b"7z\xbc\xaf", b"Rar!", b"\xfd7zX", b"\x28\xb5\x2f\xfd"),
    # pictures and documents
    *(b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"II*\0", b"MM\0*", b"%PDF", b"%!PS", b"{\\rt", b"\xd0\xcf\x11\xe0"),
    # programs
    *(b"\x7fELF", b"MZ", b"\xca\xfe\xba\xbe", b"\xfe\xed\xfa", b"\xcf\xfa\xed\xfe", b"#!", b"!<ar", b"SQLi"),
    # films
    *(b"RIFF", b"RIFX", b"FORM", b"\0\0\x01", b"FLV", b"\x30\x26\xb2\x75", b"G@"),
    # texts
    *(b"<", b"{", b"[", b"#EXT"),
)
"""Magic numbers of other kinds of files that may contain MP3 frames: a ZIP archive of a song is not a song."""
_TAR = 257, b"ustar"


class Found(NamedTuple):
    """name: the format, a key of `FORMATS`. start: offset of its first byte."""

    name: str
    start: int


def sniff(file: BinaryIO) -> str:
    """Name of the format. Raises InvalidAudio if the file is empty, UnsupportedMedia if the format is unknown."""
    return find_format(file).name


def find_format(file: BinaryIO) -> Found:
    """The format and where it starts; leaves the file at any position. Raises the errors of `sniff`."""
    head = read_at(file, 0, 16)
    if not head:
        raise InvalidAudio("the file is empty")
    name = _format_of(head)
    if head[:3] == b"ID3":  # a tag, mostly before MP3, but some programs put it before AAC and FLAC
        end = _id3_bytes(head)
        name = _format_of(read_at(file, end, 16))
        return Found(name, end) if name else _padded(file, end) or Found("mp3", 0)
    if name is not None:
        return Found(name, 0)
    padded = None if _is_other(file, head) else _padded(file, 0)
    if padded is None:
        raise UnsupportedMedia("the file is not audio in a known format", supported=sorted(FORMATS))
    return padded


def _id3_bytes(head: bytes) -> int:
    """Length of an ID3v2 tag from its header: four times 7 bits, plus 10 bytes of header (id3.org, ID3v2.4.0, 3.1)."""
    size = 0
    for byte in head[6:10]:
        size = size << 7 | byte & 0x7F
    return 10 + size


def _is_other(file: BinaryIO, head: bytes) -> bool:
    offset, magic = _TAR
    return head.startswith(_OTHER_FILES) or read_at(file, offset, len(magic)) == magic


def _padded(file: BinaryIO, start: int) -> Found | None:
    """An MP3 or AAC stream that starts in the middle of a frame or after padding."""
    found = find_stream(file, start)
    return None if found is None else Found(found[0].format, found[1])


def _format_of(head: bytes) -> str | None:
    match head[:4], head[4:8], head[8:12]:
        case (b"RIFF" | b"RIFX" | b"RF64" | b"BW64", _, b"WAVE"):
            return "wav"
        case (b"FORM", _, b"AIFF" | b"AIFC"):
            return "aiff"
        case (b"riff", b"\x2e\x91\xcf\x11", _):
            return "w64"
        case (b".snd", _, _):
            return "au"
        case (b"caff", _, _):
            return "caf"
        case (b"fLaC", _, _):
            return "flac"
        case (b"OggS", _, _):
            return "ogg"
        case (b"\x1a\x45\xdf\xa3", _, _):
            return "webm"
        case (b"#!AM", _, _):
            return "amr"
        case (_, b"ftyp" | b"moov" | b"mdat" | b"wide" | b"free" | b"skip", _):
            return "mp4"
    return _mpeg_format_of(head)


def _mpeg_format_of(head: bytes) -> str | None:
    """MP3 and AAC have no magic number, only a sync word of 11 or 12 ones, and a layer (ISO 11172-3, 13818-7)."""
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE0 != 0xE0:
        return None
    layer = head[1] >> 1 & 0b11
    if layer == 0b00:
        return "aac" if head[1] & 0xF0 == 0xF0 else None
    bitrate, rate = head[2] >> 4, head[2] >> 2 & 0b11
    return "mp3" if layer in (0b01, 0b10) and bitrate != 0b1111 and rate != 0b11 else None
