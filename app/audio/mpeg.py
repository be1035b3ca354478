"""Streams of MPEG audio frames, MP3 (layers II and III) and AAC in ADTS: no magic number, only frame after frame.

Sources: ISO 11172-3, 2.4.2.3 and 13818-3, 2.4.2.3 (MP3), ISO 13818-7, 6.2 (ADTS); the Xing and VBRI headers, which no
standard defines, as LAME and Fraunhofer's encoder write them.
"""

from typing import BinaryIO, NamedTuple

from app.audio.views import file_size, read_at

MAX_PADDING_BYTES = 1 << 20
"""Most zeros before the first frame; some recorders reserve them for a tag."""
MAX_FRAME_BYTES = 8191
"""The longest ADTS frame (13 bits); MP3 frames have up to 1729 bytes. A stream cut within a frame has the next one by
then."""
MIN_FRAMES = 8
"""Frames in a row that rule out chance: in noise, a header matches the first one with odds of one in 2^19."""
MIN_FRAMES_TO_END = 3
"""Fewer are enough if they end exactly at the end of the file."""
HEADER_BYTES = 7
XING_HEADER_BYTES = 200
"""The frame's header, side information and the first fields of the Xing or VBRI header."""
BITRATE_PROBES = 8
"""Without such a header, the bit rate is compared at this many positions of the file."""

_BITRATES_KBIT = {  # (MPEG version, layer) -> by index; version 2 includes 2.5
    (1, 2): (0, 32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (1, 3): (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (2, 2): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (2, 3): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_MP3_RATES_HZ = {3: (44_100, 48_000, 32_000), 2: (22_050, 24_000, 16_000), 0: (11_025, 12_000, 8_000)}  # by version
_ADTS_RATES = 13


class Frame(NamedTuple):
    """The fields of a frame header. format: `mp3` or `aac`. kind: the fields that all frames of a stream share.

    bitrate: in bits per second. samples: per channel, at rate_hz. All three are 0 for AAC, where they are not needed.
    """

    format: str
    kind: tuple[int, ...]
    size_bytes: int
    bitrate: int = 0
    samples: int = 0
    rate_hz: int = 0


def parse_frame(head: bytes) -> Frame | None:
    """The frame that starts with these 7 bytes; None if there is none, or if its header does not give its length."""
    if len(head) < HEADER_BYTES or head[0] != 0xFF:
        return None
    return _parse_adts(head) if head[1] & 0xF6 == 0xF0 else _parse_mp3(head)


def _parse_adts(head: bytes) -> Frame | None:
    rate = head[2] >> 2 & 0b1111
    size_bytes = (head[3] & 0b11) << 11 | head[4] << 3 | head[5] >> 5
    if rate >= _ADTS_RATES or size_bytes < HEADER_BYTES:
        return None
    return Frame("aac", (head[1] & 0x0F, head[2] & 0xFC), size_bytes)


def _parse_mp3(head: bytes) -> Frame | None:
    version, layer = head[1] >> 3 & 0b11, 4 - (head[1] >> 1 & 0b11)
    bitrate_index, rate_index = head[2] >> 4, head[2] >> 2 & 0b11
    if head[1] & 0xE0 != 0xE0 or layer not in (2, 3) or version == 0b01 or rate_index == 0b11:
        return None
    if not 0 < bitrate_index < 0b1111:  # 0 is "free format", whose headers do not give the frame length
        return None
    bitrate = 1000 * _BITRATES_KBIT[_mpeg_version(version), layer][bitrate_index]
    rate_hz = _MP3_RATES_HZ[version][rate_index]
    samples = 576 if layer == 3 and version != 0b11 else 1152
    size_bytes = samples // 8 * bitrate // rate_hz + (head[2] >> 1 & 1)
    return Frame("mp3", (version, layer, rate_index), size_bytes, bitrate, samples, rate_hz)


def _mpeg_version(bits: int) -> int:
    """1 or 2, from the version bits of a frame header; 2 includes MPEG 2.5."""
    return 1 if bits == 0b11 else 2


def find_stream(file: BinaryIO, start: int = 0) -> tuple[Frame, int] | None:
    """The first frame of a stream that starts soon after byte `start`, and its position. None if there is none.

    Zeros and the rest of a truncated frame may precede it. A frame counts only if others follow, each where the one
    before ends: `MIN_FRAMES`, or all up to the end of the file.
    """
    position = _after_zeros(file, start)
    window = read_at(file, position, MAX_FRAME_BYTES * (MIN_FRAMES + 1))
    at_end = position + len(window) == file_size(file)
    offset = window.find(b"\xff")
    while 0 <= offset <= MAX_FRAME_BYTES:
        frame = parse_frame(window[offset : offset + HEADER_BYTES])
        if frame is not None and _frames_follow(window, offset, frame, at_end):
            return frame, position + offset
        offset = window.find(b"\xff", offset + 1)
    return None


def _after_zeros(file: BinaryIO, start: int) -> int:
    """Position of the first byte from `start` on that is not zero, or of the end of the longest allowed padding."""
    padding = read_at(file, start, MAX_PADDING_BYTES)
    return start + len(padding) - len(padding.lstrip(b"\0"))


def _frames_follow(window: bytes, offset: int, first: Frame, at_end: bool) -> bool:
    for count in range(1, MIN_FRAMES):
        offset += (parse_frame(window[offset : offset + HEADER_BYTES]) or first).size_bytes
        following = parse_frame(window[offset : offset + HEADER_BYTES])
        if following is None:
            return at_end and offset + HEADER_BYTES > len(window) and count >= MIN_FRAMES_TO_END
        if (following.format, following.kind) != (first.format, first.kind):
            return False
    return True


def mp3_length_s(file: BinaryIO) -> float | None:
    """Duration of an MP3 file without a leading tag, in seconds, as far as it can be trusted.

    From the frame count in its Xing or VBRI header, if that many frames fit into the file; otherwise from the file
    size, if the bit rate is constant. None if neither works; then the duration is known only after decoding.
    """
    found = find_stream(file)
    if found is None or found[0].format != "mp3":
        return None
    frame, position = found
    size_bytes = file_size(file) - position
    frames = _declared_frames(read_at(file, position, XING_HEADER_BYTES))
    if frames is not None:
        lowest = 1000 * _BITRATES_KBIT[_mpeg_version(frame.kind[0]), frame.kind[1]][1]
        shortest_bytes = frame.samples // 8 * lowest // frame.rate_hz
        return frames * frame.samples / frame.rate_hz if frames * shortest_bytes <= size_bytes else None
    for part in range(1, BITRATE_PROBES):
        other = find_stream(file, position + size_bytes * part // BITRATE_PROBES)
        if other is None or other[0].kind != frame.kind or other[0].bitrate != frame.bitrate:
            return None
    return 8 * size_bytes / frame.bitrate


def _declared_frames(first_frame: bytes) -> int | None:
    """The frame count in a Xing (Info) or VBRI header in the first frame; None without one."""
    for offset in (13, 21, 36):  # after header and side information, by version and channels
        if first_frame[offset : offset + 4] in (b"Xing", b"Info"):
            has_frames = first_frame[offset + 7] & 1
            return int.from_bytes(first_frame[offset + 8 : offset + 12], "big") if has_frames else None
    if first_frame[36:40] == b"VBRI":
        return int.from_bytes(first_frame[50:54], "big")
    return None
