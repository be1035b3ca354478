"""The bytes of a file -> `Waveform`, or one for each channel."""

from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from itertools import chain
from typing import BinaryIO, cast

import numpy as np

from app.audio.blocks import Block, Samples, Source
from app.audio.channels import mono
from app.audio.ffmpeg import open_ffmpeg
from app.audio.formats import FORMATS, Format, find_format
from app.audio.lengths import declared_length_s
from app.audio.limits import AudioLimits, check_header, checked
from app.audio.ogg import links as ogg_links
from app.audio.resampling import resampled
from app.audio.separation import Separator, channels_apart, with_channels
from app.audio.sndfile import open_sndfile
from app.audio.unfinished import with_repaired_sizes
from app.audio.views import View
from app.errors import InvalidAudio, UnsupportedMedia
from app.recognizer import ChannelMode


@dataclass(frozen=True)
class Waveform:
    """Mono audio: `samples`, shape (samples,), float32, all finite, full scale is 1, at `rate_hz`.

    channel: number of the only channel of the file that it has, from 0; None if it has all of them.
    """

    samples: Samples
    rate_hz: int
    channel: int | None = None

    @property
    def duration_s(self) -> float:
        """Duration in seconds."""
        return len(self.samples) / self.rate_hz


def decode(
    file: BinaryIO, rate_hz: int, limits: AudioLimits, meter: Callable[[float], object] = lambda seconds: None
) -> Waveform:
    """Decode a whole file, mix it to mono and resample it to `rate_hz`.

    file: seekable binary file at any position; it stays open. meter: called with the duration of each decoded block, in
    seconds; an exception that it raises ends the decoding.

    Raises UnsupportedMedia if the format is unknown, InvalidAudio for a broken or empty file, an impossible header or
    samples that are not finite, AudioTooLong beyond `limits`, judged by the header or else as soon as too much is
    decoded. A truncated file gives the audio up to the cut, if there is any.
    """
    (waveform,) = decode_channels(file, rate_hz, limits, "mix", meter)
    return waveform


def decode_channels(
    file: BinaryIO,
    rate_hz: int,
    limits: AudioLimits,
    mode: ChannelMode,
    meter: Callable[[float], object] = lambda seconds: None,
) -> list[Waveform]:
    """Decode a whole file to one waveform or, where channels stay apart, to one for each of them, of equal duration.

    mode: whether they do; see `app.audio.separation.Separator`. meter: called with the duration of each decoded block,
    times the channels that are kept of it, in seconds; and with a negative one once channels are no longer kept.
    Otherwise as `decode`; also raises InvalidAudio if there are too many channels to keep apart.
    """
    name, source = _open(file)
    with closing(source.blocks):  # type: ignore[type-var]  # generators all
        check_header(source, limits)
        usage = _Usage(meter)
        blocks = checked(source.blocks, limits, usage.decoded)
        first = next(blocks, None)
        if first is None:
            raise InvalidAudio("the file contains no audio", format=name)
        usage.hold(channels := channels_apart(first.samples.shape[1], mode))
        blocks = chain([first], blocks)
        if channels == 1:
            return [Waveform(_joined(resampled(mono(blocks), rate_hz)), rate_hz)]
        separator = Separator(channels, mode, rate_hz)
        for part in resampled(with_channels(blocks, channels), rate_hz):
            separator.add(part)
            usage.hold(separator.held)
        tracks = separator.finish()
        usage.hold(len(tracks))
        return [Waveform(track.samples, rate_hz, track.channel) for track in tracks]


def _joined(parts: Iterator[Samples]) -> Samples:
    samples = bytearray()  # grows in place; joining a list of blocks would hold the clip twice
    for part in parts:
        samples += part.tobytes()
    return np.frombuffer(samples, dtype=np.float32)


class _Usage:
    """Tells a meter the audio that is kept, in seconds, as it changes: what was decoded times the channels kept."""

    def __init__(self, meter: Callable[[float], object]) -> None:
        self._meter = meter
        self._decoded_s = 0.0
        self._channels = 1

    def decoded(self, seconds: float) -> None:
        self._decoded_s += seconds
        self._meter(seconds * self._channels)

    def hold(self, channels: int) -> None:
        added, self._channels = channels - self._channels, channels
        if added:
            self._meter(self._decoded_s * added)


def _open(file: BinaryIO) -> tuple[str, Source]:
    """Name of the format, and the file opened with libsndfile or else FFmpeg."""
    name, start = find_format(file)
    kind = FORMATS[name]
    audio = with_repaired_sizes(cast(BinaryIO, View(file, start)) if start else file, name)
    length_s = declared_length_s(name, audio)
    first, *others = _parts(audio, name)
    source = _open_part(first, kind)
    if source is None:
        raise InvalidAudio("the file is broken: its header cannot be read")
    if length_s is not None:
        source = source._replace(length_s=length_s)
    return name, source._replace(blocks=_chained(source, others, kind)) if others else source


def _parts(file: BinaryIO, name: str) -> list[BinaryIO]:
    """The parts to decode one after the other: the links of a chained Ogg file, otherwise the whole file."""
    if name == "ogg" and len(links := ogg_links(file)) > 1:
        return [cast(BinaryIO, View(file, *link)) for link in links]
    return [file]


def _open_part(file: BinaryIO, kind: Format) -> Source | None:
    source = open_sndfile(file) if kind.sndfile else None
    if source is None and kind.ffmpeg is not None:
        source = open_ffmpeg(file, kind.ffmpeg, kind.timed)
    return source


def _chained(first: Source, others: list[BinaryIO], kind: Format) -> Iterator[Block]:
    """The blocks of all readable parts.

    FFmpeg itself continues from link to link only if rate, channels and codec are equal.
    """
    with closing(first.blocks):  # type: ignore[type-var]  # generators all
        yield from first.blocks
    for other in others:
        with suppress(UnsupportedMedia):
            source = _open_part(other, kind)
            if source is not None:
                with closing(source.blocks):  # type: ignore[type-var]
                    yield from source.blocks
