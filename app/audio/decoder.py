"""A file's bytes -> `Waveform`."""

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np

from app.audio.blocks import Block, Samples, Source
from app.audio.channels import Mixer
from app.audio.ffmpeg import open_ffmpeg
from app.audio.formats import FORMATS, find_format, id3_bytes
from app.audio.lengths import told_length_s
from app.audio.limits import AudioLimits, check_header, checked
from app.audio.resampling import MonoBlock, resampled
from app.audio.sndfile import open_sndfile
from app.audio.unfinished import finished
from app.audio.views import View, read_at
from app.errors import InvalidAudio


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
    heard = False
    with closing(source.blocks):  # type: ignore[type-var]  # generators all
        check_header(source, limits)
        mixer = Mixer()

        def mono(blocks: Iterator[Block]) -> Iterator[MonoBlock]:
            nonlocal heard
            for block in blocks:
                heard = heard or len(block.samples) > 0
                yield mixer.mono(block)

        for part in resampled(mono(checked(source.blocks, limits, meter)), rate_hz):
            samples += part.tobytes()
    if not heard:
        raise InvalidAudio("the file holds no sound", format=name)
    return Waveform(np.frombuffer(samples, dtype=np.float32), rate_hz)


def _open(file: BinaryIO) -> tuple[str, Source]:
    """Name of the format, and the file opened with libsndfile or else FFmpeg."""
    name, start = find_format(file)
    kind = FORMATS[name]
    length_s = told_length_s(name, file, start or id3_bytes(read_at(file, 0, 10)))
    sound: BinaryIO = View(file, start) if start else finished(file, name)  # type: ignore[assignment]
    source = open_sndfile(sound) if kind.sndfile else None
    if source is None and kind.ffmpeg is not None:
        source = open_ffmpeg(sound, kind.ffmpeg, kind.timed)
    if source is None:
        raise InvalidAudio("the file is broken: its header cannot be read")
    return name, source if length_s is None else source._replace(length_s=length_s)
