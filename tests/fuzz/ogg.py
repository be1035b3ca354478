"""Correct the checksums of Ogg pages after a mutation (RFC 3533, section 6)."""

from functools import cache

CAPTURE = b"OggS"
SERIAL_AT, CHECKSUM_AT, SEGMENTS_AT = 14, 22, 26
POLYNOMIAL = 0x04C11DB7


@cache
def _table() -> list[int]:
    table = []
    for byte in range(256):
        remainder = byte << 24
        for _ in range(8):
            remainder = (remainder << 1 ^ (POLYNOMIAL if remainder & 1 << 31 else 0)) & 0xFFFFFFFF
        table.append(remainder)
    return table


def checksum(page: bytes) -> int:
    """CRC-32 of a page with its checksum field set to zero: polynomial 0x04C11DB7, not reflected, initial value 0."""
    table, remainder = _table(), 0
    for byte in page:
        remainder = (remainder << 8 & 0xFFFFFFFF) ^ table[remainder >> 24 ^ byte]
    return remainder


def with_valid_checksums(data: bytes, serial: int | None = None) -> bytes:
    """Set the correct checksum in every page. serial: new serial number of all pages; None keeps their own."""
    changed = bytearray(data)
    start = changed.find(CAPTURE)
    while start >= 0 and start + SEGMENTS_AT < len(changed):
        segments = changed[start + SEGMENTS_AT]
        body = start + SEGMENTS_AT + 1 + segments
        end = body + sum(changed[start + SEGMENTS_AT + 1 : body])
        if serial is not None:
            changed[start + SERIAL_AT : start + CHECKSUM_AT - 4] = serial.to_bytes(4, "little")
        changed[start + CHECKSUM_AT : start + SEGMENTS_AT] = bytes(4)
        changed[start + CHECKSUM_AT : start + SEGMENTS_AT] = checksum(bytes(changed[start:end])).to_bytes(4, "little")
        start = changed.find(CAPTURE, end)
    return bytes(changed[: len(data)])
