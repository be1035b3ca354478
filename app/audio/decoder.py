"""A file's bytes -> `Waveform`."""

from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from typing import BinaryIO, cast

import numpy as np

from app.audio.blocks import Block, Samples, Source
from app.audio.channels import mono
from app.audio.ffmpeg import open_ffmpeg
from app.audio.formats import FORMATS, Format, find_format
from app.audio.lengths import told_length_s
from app.audio.limits import AudioLimits, check_header, checked
from app.audio.ogg import links as ogg_links
from app.audio.resampling import resampled
from app.audio.sndfile import open_sndfile
from app.audio.unfinished import finished
from app.audio.views import View
from app.errors import InvalidAudio, UnsupportedMedia


@dataclass(frozen=True)
class Waveform:
    """Mono sound: `samples`, shape (samples,), float32, all finite, full scale is 1, at `rate_hz`."""

    samples: Samples
    rate_hz: int

    @property
    def duration_s(self) -> float:
        """Length in seconds."""
        return len(self.samples) / self.rate_hz


def decode(
    file: BinaryIO, rate_hz: int, limits: AudioLimits, meter: Callable[[float], object] = lambda seconds: None
) -> Waveform:
    """Decode a whole file, mix it to mono and resample it to `rate_hz`.

    file: seekable binary file at any position; it is not closed. meter: told the seconds of each block as it comes;
    what it raises ends the decoding.

    Raises UnsupportedMedia for bytes that are no known sound format, InvalidAudio for a broken or empty file, an
    impossible header or samples that are not finite, AudioTooLong past `limits`, by what the header says or else as
    soon as so much is decoded. A file that is cut off gives the sound up to the cut, as long as there is any.
    """
    name, source = _open(file)
    samples = bytearray()  # grows in place, where joining a list of blocks would hold the clip twice
    nothing = True
    with closing(source.blocks):  # type: ignore[type-var]  # generators all
        check_header(source, limits)
        for part in resampled(mono(checked(source.blocks, limits, meter)), rate_hz):
            samples += part.tobytes()
            nothing = False
    if nothing:
        raise InvalidAudio("the file holds no sound", format=name)
    return Waveform(np.frombuffer(samples, dtype=np.float32), rate_hz)


def _open(file: BinaryIO) -> tuple[str, Source]:
    """Name of the format, and the file opened with libsndfile or else FFmpeg."""
    name, start = find_format(file)
    kind = FORMATS[name]
    sound = finished(cast(BinaryIO, View(file, start)) if start else file, name)
    length_s = told_length_s(name, sound)
    first, *others = _parts(sound, name)
    source = _open_part(first, kind)
    if source is None:
        raise InvalidAudio("the file is broken: its header cannot be read")
    if length_s is not None:
        source = source._replace(length_s=length_s)
    return name, source._replace(blocks=_chained(source, others, kind)) if others else source


def _parts(file: BinaryIO, name: str) -> list[BinaryIO]:
    """What is to be decoded by itself, one after the other: the links of a chain in Ogg, else the whole file."""
    if name == "ogg" and len(links := ogg_links(file)) > 1:
        return [cast(BinaryIO, View(file, *link)) for link in links]
    return [file]


def _open_part(file: BinaryIO, kind: Format) -> Source | None:
    source = open_sndfile(file) if kind.sndfile else None
    if source is None and kind.ffmpeg is not None:
        source = open_ffmpeg(file, kind.ffmpeg, kind.timed)
    return source


def _chained(first: Source, others: list[BinaryIO], kind: Format) -> Iterator[Block]:
    """All that can be read. FFmpeg goes on from link to link, but only while rate, channels and codec stay the same."""
    with closing(first.blocks):  # type: ignore[type-var]  # generators all
        yield from first.blocks
    for other in others:
        with suppress(UnsupportedMedia):
            source = _open_part(other, kind)
            if source is not None:
                with closing(source.blocks):  # type: ignore[type-var]
                    yield from source.blocks
