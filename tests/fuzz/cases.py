"""The fuzzer's inputs: real files of every format, and their mutations.

A case is a number: `Cases.case(number)` always gives the same bytes for the same seed files.

Why a mutator of our own: the parsers under test are libsndfile and FFmpeg, which come compiled without coverage
instrumentation, so atheris would see only our few lines of Python and mutate blindly. Hypothesis runs its cases in the
test's own process, which a crash of a native library ends, and its shrinking is made for structured values, not for
files of 50 KB. What finds bugs in parsers is knowing where their fields are: most mutations here aim at headers.
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
"""Larger cases are cut: most time should go into many cases."""
HEADER_BYTES = 512
"""Half of the mutations that need a place take one below it: headers are small, and most of what parsers do."""
TAG = re.compile(rb"[A-Za-z0-9]{3}[A-Za-z0-9 ]|\x1f\x43\xb6\x75|\x16\x54\xae\x6b|\xff\xfb|\xff\xf1")
"""What stands before fields: names of chunks and atoms, Matroska's clusters and tracks, MPEG's sync words."""
EDGE_VALUES = (0, 1, 2, 3, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 1 << 63)
MORE_SEEDS: dict[str, Encoder] = {
    "aiff f32": lambda samples, rate_hz: by_sndfile(samples, rate_hz, "AIFF", "FLOAT"),
    "au mu-law": lambda samples, rate_hz: by_sndfile(samples, rate_hz, "AU", "ULAW"),
    "caf f32": lambda samples, rate_hz: by_sndfile(samples, rate_hz, "CAF", "FLOAT"),
    "mka vorbis": lambda samples, rate_hz: remuxed(ENCODINGS["ogg vorbis"](samples, rate_hz), "ogg", "matroska"),
    "mp4 mp3": lambda samples, rate_hz: by_ffmpeg(samples, rate_hz, "mp4", "libmp3lame", "stereo"),
    "wav ms adpcm": lambda samples, rate_hz: by_sndfile(samples, rate_hz, "WAV", "MS_ADPCM"),
    "w64 f64": lambda samples, rate_hz: by_sndfile(samples, rate_hz, "W64", "DOUBLE"),
}
"""Beside the encodings that the tests of the decoder know."""


def write_seeds(folder: Path) -> None:
    """Write a short and a longer file of every encoding into `folder`, the same bytes every time."""
    for name, encode in (ENCODINGS | MORE_SEEDS).items():
        for length_s in SEED_LENGTHS_S:
            data = encode(speechlike(length_s), MODEL_HZ)
            (folder / f"{name}, {length_s:g} s".replace("/", "-")).write_bytes(_without_chance(data))


def _without_chance(data: bytes) -> bytes:
    """The file without what libsndfile draws by chance, Ogg's serial numbers, and takes from the clock, the time in the
    PEAK chunk of float files."""
    if data[:4] == b"OggS":
        return with_valid_checksums(data, serial=1)
    return re.sub(rb"(?s)(PEAK.{8}).{4}", rb"\g<1>" + bytes(4), data, count=1)


class Cases:
    """Mutations of the files in a folder, by number."""

    def __init__(self, seeds: Path) -> None:
        self._seeds = [path.read_bytes() for path in sorted(seeds.iterdir())]

    def case(self, number: int) -> bytes:
        """The bytes of a case."""
        chance = random.Random(number)
        data = chance.choice(self._seeds)
        for _ in range(chance.randint(1, MAX_MUTATIONS)):
            data = chance.choice(_MUTATIONS)(data, chance, self._seeds)[:MAX_CASE_BYTES]
        if data[:4] == b"OggS" and chance.random() < 0.7:
            data = with_valid_checksums(data)  # else the demuxer drops every page that was touched
        return data


Mutation = Callable[[bytes, random.Random, Sequence[bytes]], bytes]


def _place(data: bytes, chance: random.Random) -> int:
    """A position in the file, half of the time in its header."""
    return chance.randrange(min(len(data), HEADER_BYTES) if chance.random() < 0.5 else len(data)) if data else 0


def _span(data: bytes, chance: random.Random) -> tuple[int, int]:
    """Begin and end of a part of the file, more often short than long."""
    begin = _place(data, chance)
    return begin, min(len(data), begin + round(2 ** chance.uniform(0, 14)))


def _flip_bits(data: bytes, chance: random.Random, _: Sequence[bytes]) -> bytes:
    changed = bytearray(data)
    for _bit in range(round(2 ** chance.uniform(0, 6)) if data else 0):
        changed[_place(data, chance)] ^= 1 << chance.randrange(8)
    return bytes(changed)


def _cut_end(data: bytes, chance: random.Random, _: Sequence[bytes]) -> bytes:
    return data[: _place(data, chance)]


def _cut_begin(data: bytes, chance: random.Random, _: Sequence[bytes]) -> bytes:
    return data[_place(data, chance) :]


def _cut_out(data: bytes, chance: random.Random, _: Sequence[bytes]) -> bytes:
    begin, end = _span(data, chance)
    return data[:begin] + data[end:]


def _repeat(data: bytes, chance: random.Random, _: Sequence[bytes]) -> bytes:
    """A part many times: of a few bytes up to thousands."""
    begin, end = _span(data, chance)
    times = min(round(2 ** chance.uniform(1, 12)), MAX_CASE_BYTES // max(1, end - begin))
    return data[:begin] + data[begin:end] * times + data[end:]


def _insert_junk(data: bytes, chance: random.Random, _: Sequence[bytes]) -> bytes:
    length = round(2 ** chance.uniform(0, 13))
    junk = chance.choice([bytes(length), b"\xff" * length, chance.randbytes(length), b"RIFF" * (length // 4)])
    place = _place(data, chance)
    return data[:place] + junk + data[place + (len(junk) if chance.random() < 0.5 else 0) :]


def _splice(data: bytes, chance: random.Random, seeds: Sequence[bytes]) -> bytes:
    """The begin of one file and the end of another."""
    other = chance.choice(seeds)
    return data[: _place(data, chance)] + other[_place(other, chance) :]


def _append(data: bytes, chance: random.Random, seeds: Sequence[bytes]) -> bytes:
    """A second file behind, or before, the first."""
    other = chance.choice(seeds)
    return data + other if chance.random() < 0.7 else other + data


def _swap(data: bytes, chance: random.Random, _: Sequence[bytes]) -> bytes:
    """Two neighbouring parts of one length change places."""
    begin, middle = _span(data, chance)
    end = 2 * middle - begin
    return data[:begin] + data[middle:end] + data[begin:middle] + data[end:]


def _edit_field(data: bytes, chance: random.Random, _: Sequence[bytes]) -> bytes:
    """An integer of 1 to 8 bytes gets a value that headers should not have, or is off by one."""
    tags = [match.start() for match in TAG.finditer(data[: 8 * HEADER_BYTES])] + [
        match.start() for match in TAG.finditer(data, max(0, len(data) - 8 * HEADER_BYTES))
    ]
    if tags and chance.random() < 0.7:
        place = max(0, chance.choice(tags) + chance.choice((-4, 4, 4, 6, 8, 8, 10, 12, 14, 16, 20, 24, 28, 32)))
    else:
        place = _place(data, chance)
    width = chance.choice((1, 2, 4, 4, 8))
    field = data[place : place + width]
    little = chance.random() < 0.5
    old = int.from_bytes(field, "little" if little else "big")
    new = chance.choice((*EDGE_VALUES, old + 1, old - 1, 2 * old, old // 2, chance.getrandbits(8 * width)))
    changed = (new % (1 << 8 * width)).to_bytes(width, "little" if little else "big")
    return data[:place] + changed + data[place + width :]


_MUTATIONS: tuple[Mutation, ...] = (
    *(_edit_field, _edit_field, _edit_field, _flip_bits, _flip_bits),
    *(_cut_end, _cut_begin, _cut_out, _repeat, _insert_junk, _splice, _append, _swap),
)
