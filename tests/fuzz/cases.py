"""The fuzzer's inputs: real files of every format, and their mutations.

A case is identified by a number: `Cases.case(number)` always returns the same bytes for the same seed files.

Why this is a custom mutator: the parsers under test are libsndfile and FFmpeg, which are compiled without coverage
instrumentation, so atheris would see only a few lines of Python and mutate blindly. Hypothesis runs its cases in the
test's own process, which a crash of a native library would end, and its shrinking is made for structured values, not
for files of 50 KB. Bugs in parsers are found by changing the fields they read, so most mutations here target headers.
"""

import random
import re
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.fuzz.ogg import with_valid_checksums
from tests.sounds import ENCODINGS, MODEL_HZ, Encoder, by_ffmpeg, by_sndfile, remuxed, speechlike

SEED_LENGTHS_S = (0.2, 0.8)
MAX_MUTATIONS = 4
MAX_CASE_BYTES = 1 << 18
"""Larger cases are truncated, so that more cases run in the same time."""
HEADER_BYTES = 512
"""Half of the mutations change a position below this one: headers are small, but most of the parsing is for them."""
TAG = re.compile(rb"[A-Za-z0-9]{3}[A-Za-z0-9 ]|\x1f\x43\xb6\x75|\x16\x54\xae\x6b|\xff\xfb|\xff\xf1")
"""Bytes before header fields: names of chunks and atoms, Matroska's clusters and tracks, MPEG's sync words."""
EDGE_VALUES = (0, 1, 2, 3, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 1 << 63)
EXTRA_ENCODINGS: dict[str, Encoder] = {
    "aiff f32": lambda samples, rate_hz: by_sndfile(samples, rate_hz, "AIFF", "FLOAT"),
    "au mu-law": lambda samples, rate_hz: by_sndfile(samples, rate_hz, "AU", "ULAW"),
    "caf f32": lambda samples, rate_hz: by_sndfile(samples, rate_hz, "CAF", "FLOAT"),
    "mka vorbis": lambda samples, rate_hz: remuxed(ENCODINGS["ogg vorbis"](samples, rate_hz), "ogg", "matroska"),
    "mp4 mp3": lambda samples, rate_hz: by_ffmpeg(samples, rate_hz, "mp4", "libmp3lame", "stereo"),
    "wav ms adpcm": lambda samples, rate_hz: by_sndfile(samples, rate_hz, "WAV", "MS_ADPCM"),
    "w64 f64": lambda samples, rate_hz: by_sndfile(samples, rate_hz, "W64", "DOUBLE"),
}
"""Encodings besides those in the tests of the decoder."""


def write_seeds(folder: Path) -> None:
    """Write a short and a longer file in every encoding to `folder`. The bytes are the same every time."""
    for name, encode in (ENCODINGS | EXTRA_ENCODINGS).items():
        for length_s in SEED_LENGTHS_S:
            data = encode(speechlike(length_s), MODEL_HZ)
            (folder / f"{name}, {length_s:g} s".replace("/", "-")).write_bytes(_reproducible(data))


def _reproducible(data: bytes) -> bytes:
    """Fix the bytes that vary in libsndfile's files: Ogg's random serial numbers, and the time in the PEAK chunk of
    float files.
    """
    if data[:4] == b"OggS":
        return with_valid_checksums(data, serial=1)
    return re.sub(rb"(?s)(PEAK.{8}).{4}", rb"\g<1>" + bytes(4), data, count=1)


class Cases:
    """Mutations of the files in a folder, by number."""

    def __init__(self, seeds: Path) -> None:
        self._seeds = [path.read_bytes() for path in sorted(seeds.iterdir())]

    def case(self, number: int) -> bytes:
        """The bytes of a case."""
        rng = random.Random(number)
        data = rng.choice(self._seeds)
        for _ in range(rng.randint(1, MAX_MUTATIONS)):
            data = rng.choice(_MUTATIONS)(data, rng, self._seeds)[:MAX_CASE_BYTES]
        if data[:4] == b"OggS" and rng.random() < 0.7:
            data = with_valid_checksums(data)  # otherwise the demuxer drops every changed page
        return data


Mutation = Callable[[bytes, random.Random, Sequence[bytes]], bytes]


def _place(data: bytes, rng: random.Random) -> int:
    """A random position in the file, in half of the cases in its header."""
    if not data:
        return 0
    return rng.randrange(min(len(data), HEADER_BYTES) if rng.random() < 0.5 else len(data))


def _span(data: bytes, rng: random.Random) -> tuple[int, int]:
    """Start and end of a random part of the file. Its length is log-uniform."""
    begin = _place(data, rng)
    return begin, min(len(data), begin + round(2 ** rng.uniform(0, 14)))


def _flip_bits(data: bytes, rng: random.Random, _: Sequence[bytes]) -> bytes:
    changed = bytearray(data)
    for _bit in range(round(2 ** rng.uniform(0, 6)) if data else 0):
        changed[_place(data, rng)] ^= 1 << rng.randrange(8)
    return bytes(changed)


def _cut_end(data: bytes, rng: random.Random, _: Sequence[bytes]) -> bytes:
    return data[: _place(data, rng)]


def _cut_begin(data: bytes, rng: random.Random, _: Sequence[bytes]) -> bytes:
    return data[_place(data, rng) :]


def _cut_out(data: bytes, rng: random.Random, _: Sequence[bytes]) -> bytes:
    begin, end = _span(data, rng)
    return data[:begin] + data[end:]


def _repeat(data: bytes, rng: random.Random, _: Sequence[bytes]) -> bytes:
    """Repeat a part of the file, up to thousands of times."""
    begin, end = _span(data, rng)
    times = min(round(2 ** rng.uniform(1, 12)), MAX_CASE_BYTES // max(1, end - begin))
    return data[:begin] + data[begin:end] * times + data[end:]


def _insert_junk(data: bytes, rng: random.Random, _: Sequence[bytes]) -> bytes:
    length = round(2 ** rng.uniform(0, 13))
    junk = rng.choice([bytes(length), b"\xff" * length, rng.randbytes(length), b"RIFF" * (length // 4)])
    place = _place(data, rng)
    return data[:place] + junk + data[place + (len(junk) if rng.random() < 0.5 else 0) :]


def _splice(data: bytes, rng: random.Random, seeds: Sequence[bytes]) -> bytes:
    """Join the start of one file to the end of another."""
    other = rng.choice(seeds)
    return data[: _place(data, rng)] + other[_place(other, rng) :]


def _append(data: bytes, rng: random.Random, seeds: Sequence[bytes]) -> bytes:
    """Append or prepend a second file."""
    other = rng.choice(seeds)
    return data + other if rng.random() < 0.7 else other + data


def _swap(data: bytes, rng: random.Random, _: Sequence[bytes]) -> bytes:
    """Swap two adjacent parts of the same length."""
    begin, middle = _span(data, rng)
    end = 2 * middle - begin
    return data[:begin] + data[middle:end] + data[begin:middle] + data[end:]


def _edit_field(data: bytes, rng: random.Random, _: Sequence[bytes]) -> bytes:
    """Change an integer of 1 to 8 bytes to an edge value, a random value, or a value near the old one."""
    tags = [match.start() for match in TAG.finditer(data[: 8 * HEADER_BYTES])] + [
        match.start() for match in TAG.finditer(data, max(0, len(data) - 8 * HEADER_BYTES))
    ]
    if tags and rng.random() < 0.7:
        place = max(0, rng.choice(tags) + rng.choice((-4, 4, 4, 6, 8, 8, 10, 12, 14, 16, 20, 24, 28, 32)))
    else:
        place = _place(data, rng)
    width = rng.choice((1, 2, 4, 4, 8))
    field = data[place : place + width]
    little = rng.random() < 0.5
    old = int.from_bytes(field, "little" if little else "big")
    new = rng.choice((*EDGE_VALUES, old + 1, old - 1, 2 * old, old // 2, rng.getrandbits(8 * width)))
    changed = (new % (1 << 8 * width)).to_bytes(width, "little" if little else "big")
    return data[:place] + changed + data[place + width :]


_MUTATIONS: tuple[Mutation, ...] = (
    *(_edit_field, _edit_field, _edit_field, _flip_bits, _flip_bits),
    *(_cut_end, _cut_begin, _cut_out, _repeat, _insert_junk, _splice, _append, _swap),
)
