"""Pages of Ogg (RFC 3533): the links of a chained file, and the duration that it declares."""

import struct
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

from app.audio.views import file_size, read_at

HEADER_BYTES = 27
MAX_FIRST_PAGE_BYTES = 4_096
"""Limit for the first page of a stream. It holds one small packet: 28 to 80 bytes in the supported codecs."""
MAX_LINKS = 1_000
SEARCH_BYTES = 1 << 20
"""Bytes searched at once."""
HEAD_BYTES, TAIL_BYTES = 1 << 18, 1 << 18
"""How far from the ends of a link its first and last time stamps are searched for; pictures may precede the first."""
BEGINS = 0x02
NO_GRANULE = -1


class Page(NamedTuple):
    """begins: it is the first of its stream. granule: time stamp of its end. end: offset of the byte after it."""

    begins: bool
    granule: int
    serial: int
    body: bytes
    end: int


def pages(data: bytes) -> Iterator[Page]:
    """All pages in these bytes, which may start and end anywhere; the last page may be cut off."""
    offset = data.find(b"OggS")
    while offset >= 0 and offset + HEADER_BYTES <= len(data):
        granule, serial = struct.unpack_from("<qI", data, offset + 6)
        body = offset + HEADER_BYTES + data[offset + HEADER_BYTES - 1]
        end = body + sum(data[offset + HEADER_BYTES : body])
        yield Page(bool(data[offset + 5] & BEGINS), granule, serial, data[body:end], end)
        offset = data.find(b"OggS", max(end, offset + 4))


def links(file: BinaryIO) -> list[tuple[int, int]]:
    """Start and end offsets of each link of a chained file: several complete files, concatenated.

    A link starts with the first pages of all its streams. Their checksums rule out false matches.
    """
    size = file_size(file)
    begins = [0]
    end_of_first_pages = 0
    for offset in _first_pages(file, size):
        page = read_at(file, offset, MAX_FIRST_PAGE_BYTES)
        found = next(pages(page), None)
        if found is None or found.end > len(page) or not _is_intact(page[: found.end]):
            continue
        if offset != end_of_first_pages:
            begins.append(offset)
        end_of_first_pages = offset + found.end
    return list(zip(begins, [*begins[1:], size], strict=True))


def _first_pages(file: BinaryIO, size: int) -> Iterator[int]:
    """Offsets where the first page of a stream may start; a thousand at most."""
    magic = b"OggS\0" + bytes([BEGINS])
    found = 0
    for begin in range(0, size, SEARCH_BYTES):
        data = read_at(file, begin, SEARCH_BYTES + len(magic) - 1)
        offset = data.find(magic)
        while offset >= 0 and found < MAX_LINKS:
            found += 1
            yield begin + offset
            offset = data.find(magic, offset + 1)


def _is_intact(page: bytes) -> bool:
    """Whether the checksum is correct. It is computed with zeros in its own field."""
    stored = int.from_bytes(page[22:26], "little")
    return stored == checksum(page[:22] + bytes(4) + page[26:])


def checksum(data: bytes) -> int:
    """CRC-32 of Ogg: polynomial 0x04C11DB7, highest bit first, nothing inverted."""
    value = 0
    for byte in data:
        value = (value << 8 ^ _TABLE[value >> 24 ^ byte]) & 0xFFFFFFFF
    return value


def _table_entry(byte: int) -> int:
    value = byte << 24
    for _ in range(8):
        value = value << 1 ^ (0x104C11DB7 if value & 0x80000000 else 0)
    return value


_TABLE = [_table_entry(byte) for byte in range(256)]


def ogg_length_s(file: BinaryIO) -> float | None:
    """Declared duration in seconds: for each link, from its first page's time stamp to its last one's.

    A recorded broadcast does not start at 0. None if no link declares a duration.
    """
    lengths_s = [length_s for begin, end in links(file) if (length_s := _link_length_s(file, begin, end))]
    return sum(lengths_s) if lengths_s else None


def _link_length_s(file: BinaryIO, begin: int, end: int) -> float | None:
    head = list(pages(read_at(file, begin, min(HEAD_BYTES, end - begin))))
    rates_hz = {page.serial: rate_hz for page in head if page.begins and (rate_hz := _granules_per_s(page.body))}
    tail_begin = max(begin, end - TAIL_BYTES)
    tail_bytes = read_at(file, tail_begin, end - tail_begin)
    tail = [page for page in pages(tail_bytes) if page.end <= len(tail_bytes)]  # without a truncated page
    for serial, rate_hz in rates_hz.items():
        first = next((page.granule for page in head if page.serial == serial and page.granule > 0), None)
        last = [page.granule for page in tail if page.serial == serial and page.granule != NO_GRANULE]
        if first is not None and last:
            return max(0.0, (last[-1] - first) / rate_hz)
    return None


def _granules_per_s(first_packet: bytes) -> int | None:
    """Time stamp units per second of a stream with this first packet; None if it is not audio in a supported codec."""
    if first_packet.startswith(b"OpusHead"):
        return 48_000  # whatever the input was: RFC 7845, section 4
    if first_packet.startswith(b"\x01vorbis"):
        return int.from_bytes(first_packet[12:16], "little") or None
    if first_packet.startswith(b"\x7fFLAC"):
        return int.from_bytes(first_packet[27:30], "big") >> 4 or None
    return None
