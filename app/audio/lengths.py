"""The duration that a file declares before anything is decoded, in seconds.

It allows refusing a file that is too long at once. A missing, impossible or unknown duration is None. One that is too
small does no harm, because decoded audio counts as well; one that is too large gets the file refused.
"""

import struct
from collections.abc import Callable
from typing import BinaryIO, NamedTuple

from app.audio.mpeg import mp3_length_s
from app.audio.ogg import ogg_length_s
from app.audio.views import file_size, read_at

MAX_HEADER_BYTES = 1 << 18
"""How far from its start a file is searched for the header, which may contain pictures."""
TAIL_BYTES = 1 << 18
"""How far from its end a file is searched for the last cluster."""


def declared_length_s(name: str, file: BinaryIO) -> float | None:
    """Declared duration of a file in format `name`; None if it has none. Leaves the file at any position."""
    read = _LENGTH_READERS.get(name)
    return None if read is None else read(file)


# FLAC: RFC 9639, section 8.2


def _flac_length_s(file: BinaryIO) -> float | None:
    head = read_at(file, 0, 26)
    if len(head) < 26 or head[:4] != b"fLaC":
        return None
    return _streaminfo_length_s(head[8:])


def _streaminfo_length_s(streaminfo: bytes) -> float | None:
    fields = int.from_bytes(streaminfo[10:18], "big")
    rate_hz, frames = fields >> 44, fields & (1 << 36) - 1
    unknown = frames in (0, (1 << 36) - 1)  # 0 by the standard; some writers fill the field with ones
    return None if unknown or not rate_hz else frames / rate_hz


# Matroska and WebM: RFC 9559; their elements: RFC 8794

_EBML, _SEGMENT, _INFO, _CLUSTER = 0x1A45DFA3, 0x18538067, 0x1549A966, 0x1F43B675
_TIMESTAMP_SCALE, _DURATION, _TIMESTAMP = 0x2AD7B1, 0x4489, 0xE7
_CRC_32, _VOID = 0xBF, 0xEC
DEFAULT_SCALE_NS = 1_000_000
MAX_CLUSTER_TICKS = (1 << 15) - 1
"""Most ticks from a cluster's time to its last block's, a signed 16-bit number (RFC 9559, section 10.2)."""


class _Element(NamedTuple):
    """size: of its data; None if the writer did not know it."""

    name: int
    begin: int
    size: int | None


def _matroska_length_s(file: BinaryIO) -> float | None:
    """The duration in the header or, in a recording that never got one, the time of its last cluster.

    If the last cluster is found, a longer duration is cut to what the cluster can reach: FFmpeg has written durations
    of days for a fraction of a second.
    """
    head = read_at(file, 0, MAX_HEADER_BYTES)
    scale_ns, duration, first = DEFAULT_SCALE_NS, 0.0, None
    offset = 0
    while (element := _element(head, offset)) is not None:
        offset = element.begin
        if element.name == _CLUSTER:
            first = _cluster_time(head, element)
            break
        if element.name not in (_SEGMENT, _INFO):  # descend into those, skip all others
            if element.name == _TIMESTAMP_SCALE:
                scale_ns = int.from_bytes(_data(head, element), "big") or DEFAULT_SCALE_NS
            elif element.name == _DURATION:
                duration = _float(_data(head, element))
            if element.size is None:
                break
            offset += element.size
    last = _last_cluster_time(read_at(file, max(0, file_size(file) - TAIL_BYTES), TAIL_BYTES))
    reached = None if first is None or last is None else max(0.0, float(last - first))
    if not 0 < duration < float("inf"):
        return None if reached is None else reached * scale_ns / 1e9
    return (duration if reached is None else min(duration, reached + MAX_CLUSTER_TICKS)) * scale_ns / 1e9


def _last_cluster_time(tail: bytes) -> int | None:
    name = _CLUSTER.to_bytes(4, "big")
    offset = tail.rfind(name)
    while offset >= 0:
        element = _element(tail, offset)
        time = None if element is None else _cluster_time(tail, element)
        if time is not None:
            return time
        offset = tail.rfind(name, 0, offset)
    return None


def _cluster_time(data: bytes, cluster: _Element) -> int | None:
    """A cluster's time stamp, which comes first by the standard, except for a checksum and padding."""
    element = _element(data, cluster.begin)
    while element is not None and element.name in (_CRC_32, _VOID) and element.size is not None:
        element = _element(data, element.begin + element.size)
    if element is None or element.name != _TIMESTAMP or element.size is None or element.size > 8:
        return None
    return int.from_bytes(_data(data, element), "big")


def _element(data: bytes, offset: int) -> _Element | None:
    """The element at `offset`; None at the end of the data or if there is none."""
    name_bytes = _vint_bytes(data, offset)
    size_bytes = _vint_bytes(data, offset + name_bytes)
    begin = offset + name_bytes + size_bytes
    if not name_bytes or not size_bytes or begin > len(data):
        return None
    name = int.from_bytes(data[offset : offset + name_bytes], "big")
    size = int.from_bytes(data[offset + name_bytes : begin], "big") & (1 << 7 * size_bytes) - 1
    return _Element(name, begin, None if size == (1 << 7 * size_bytes) - 1 else size)


def _vint_bytes(data: bytes, offset: int) -> int:
    """Length of the variable-size integer at `offset`: its leading zero bits, plus 1. 0 if there is none."""
    return 9 - data[offset].bit_length() if offset < len(data) and data[offset] else 0


def _data(data: bytes, element: _Element) -> bytes:
    return data[element.begin : element.begin + (element.size or 0)]


def _float(data: bytes) -> float:
    """An EBML float; 0 if it is not a positive number."""
    if len(data) not in (4, 8):
        return 0.0
    value: float = struct.unpack(">f" if len(data) == 4 else ">d", data)[0]
    return value if value > 0 else 0.0


_LENGTH_READERS: dict[str, Callable[[BinaryIO], float | None]] = {
    "flac": _flac_length_s,
    "mp3": mp3_length_s,
    "ogg": ogg_length_s,
    "webm": _matroska_length_s,
}
"""Format -> function that reads its declared duration. For WAV and similar formats libsndfile does so, for MP4
FFmpeg."""
