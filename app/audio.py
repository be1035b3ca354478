"""Encoded bytes -> `Waveform`: mono float32 at the model's rate. Every limit on sound is enforced here.

The format is told from the first bytes, never from a file name or MIME type, and only formats listed in `_FORMATS` are
read. libsndfile reads WAV and its like, FFmpeg (PyAV) what phones and browsers send. FFmpeg is always told the
container and gets bytes, no name, so that playlists and files that refer to other files or addresses cannot make it
open anything.

Sound is decoded, checked, mixed and resampled block by block: a small file that would decode to hours is refused as
soon as it passes a limit, and nothing but the result grows with the length.
"""

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from itertools import chain
from typing import BinaryIO, NamedTuple

import av
import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from app.errors import AudioTooLong, InvalidAudio, UnsupportedMedia

Samples = NDArray[np.float32]

BLOCK_FRAMES = 1 << 16
MAX_CODED_FRAMES = 1 << 20
"""Real codecs code up to 65535 frames at once; 1 KB of ALAC can claim 16 million, before any limit is looked at."""
MAX_BROKEN_S, MAX_BROKEN_PACKETS = 600.0, 10_000
"""After so many seconds of packets in a row that cannot be decoded, or so many that last no time, the rest is not
tried: they cost time, may be a byte long, and count to no other limit."""
MIN_GAP_S, MAX_GAP_S = 0.1, 600.0
"""Shorter gaps between time stamps are rounding, longer ones a clock that was set; those between are silence."""
MIN_RATE_HZ, MAX_RATE_HZ = 1_000, 768_000
"""Sample rates outside are taken for a broken header (telephones use 8 kHz, the fastest converters 768 kHz)."""
LOUDEST_SAMPLE = 2.0**31
"""Full scale is 1; some programs store integers of 16 or 32 bits as floats, unscaled. Beyond that nothing is sound."""


@dataclass(frozen=True)
class Waveform:
    """Mono sound: `samples`, shape (samples,), float32, all finite, full scale is 1, at `rate_hz`."""

    samples: Samples
    rate_hz: int

    @property
    def duration_s(self) -> float:
        """Length in seconds."""
        return len(self.samples) / self.rate_hz


@dataclass(frozen=True)
class AudioLimits:
    """What a clip may be at most: seconds, bytes once decoded to float32 (all channels), channels."""

    max_duration_s: float
    max_decoded_bytes: int
    max_channels: int


class _Format(NamedTuple):
    """Who reads a format: libsndfile (if `sndfile`), else or when that fails FFmpeg's demuxer `ffmpeg` (if any).

    timed: its packets say when they are to be heard; in the others each follows the one before.
    """

    sndfile: bool
    ffmpeg: str | None
    timed: bool = False


_FORMATS = {
    "wav": _Format(True, "wav"),
    "w64": _Format(True, None),
    "aiff": _Format(True, None),
    "au": _Format(True, None),
    "caf": _Format(True, "caf"),
    "flac": _Format(False, "flac"),  # libsndfile needs the length in the header, and loses a block where a file is cut
    "ogg": _Format(False, "ogg"),  # libsndfile ends with the first part of files joined of several,
    "mp3": _Format(False, "mp3"),  # and where the first header says
    "aac": _Format(False, "aac"),
    "mp4": _Format(False, "mov", timed=True),
    "webm": _Format(False, "matroska", timed=True),
    "amr": _Format(False, "amr"),
}

_FFMPEG_CODECS = frozenset(
    "aac aac_latm alac amrnb amrwb flac mp2 mp2float mp3 mp3float opus libopus vorbis pcm_alaw pcm_mulaw "
    "pcm_u8 pcm_s16le pcm_s16be pcm_s24le pcm_s24be pcm_s32le pcm_s32be pcm_f32le pcm_f32be pcm_f64le".split()
)
"""FFmpeg knows hundreds of codecs; the ones that people record speech with are enough to have open to the world."""


class _Source(NamedTuple):
    """An opened file: its header, and blocks of shape (frames, channels), float32. frames: 0 where it is not known."""

    rate_hz: int
    channels: int
    frames: int
    blocks: Iterator[Samples]


def decode(
    file: BinaryIO, rate_hz: int, limits: AudioLimits, meter: Callable[[float], object] = lambda seconds: None
) -> Waveform:
    """Decode a whole file, mix it to mono and resample it to `rate_hz`.

    file: seekable binary file at any position; it is not closed. meter: told the seconds of each block as it comes;
    what it raises ends the decoding.

    Raises UnsupportedMedia for bytes that are no known sound format, InvalidAudio for a broken or empty file, an
    impossible header or samples that are not finite, AudioTooLong past `limits`. A file that is cut off gives the
    sound up to the cut, as long as there is any.
    """
    name = sniff(file)
    source = _open(file, _FORMATS[name], limits)
    samples = bytearray()  # grows in place, where joining a list of blocks would hold the clip twice
    nothing = True
    for block in _resampled(_mono(source, limits, meter), source.rate_hz, rate_hz):
        samples += block.tobytes()
        nothing = False
    if nothing:
        raise InvalidAudio("the file holds no sound", format=name)
    return Waveform(np.frombuffer(samples, dtype=np.float32), rate_hz)


def sniff(file: BinaryIO) -> str:
    """Name of the format, told from the first bytes. Raises InvalidAudio if empty, UnsupportedMedia if unknown."""
    file.seek(0)
    head = file.read(16)
    if not head:
        raise InvalidAudio("the file is empty")
    name = _format_of(head)
    if head[:3] == b"ID3":  # a tag, mostly of MP3, but some put it before AAC and FLAC
        file.seek(_id3_bytes(head))
        name = _format_of(file.read(16)) or "mp3"
    if name is None:
        raise UnsupportedMedia("the file is not sound in a known format", supported=sorted(_FORMATS))
    return name


def _id3_bytes(head: bytes) -> int:
    """Length of the ID3v2 tag that begins so: four times 7 bits, and 10 bytes of header (id3.org, ID3v2.4.0, 3.1)."""
    size = 0
    for byte in head[6:10]:
        size = size << 7 | byte & 0x7F
    return 10 + size


def _format_of(head: bytes) -> str | None:
    match head[:4], head[4:8], head[8:12]:
        case (b"RIFF" | b"RIFX" | b"RF64", _, b"WAVE"):
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
    """MP3 and AAC streams have no magic number, only a sync word (ISO 11172-3, 13818-7): 12 (11) ones and a layer."""
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE0 != 0xE0:
        return None
    layer = head[1] >> 1 & 0b11
    if layer == 0b00:
        return "aac" if head[1] & 0xF0 == 0xF0 else None
    bitrate, rate = head[2] >> 4, head[2] >> 2 & 0b11
    return "mp3" if layer in (0b01, 0b10) and bitrate != 0b1111 and rate != 0b11 else None


def _open(file: BinaryIO, kind: _Format, limits: AudioLimits) -> _Source:
    """Open with libsndfile or else FFmpeg, and check the header."""
    source = _open_sndfile(file) if kind.sndfile else None
    if source is None and kind.ffmpeg is not None:
        source = _open_ffmpeg(file, kind.ffmpeg, kind.timed)
    if source is None:
        raise InvalidAudio("the file is broken: its header cannot be read")
    if not 1 <= source.channels <= limits.max_channels:
        raise InvalidAudio(
            f"the file has {source.channels} channels; 1 to {limits.max_channels} are read", channels=source.channels
        )
    if not MIN_RATE_HZ <= source.rate_hz <= MAX_RATE_HZ:
        raise InvalidAudio(f"the file has an impossible sample rate of {source.rate_hz} Hz", rate_hz=source.rate_hz)
    if source.frames > limits.max_duration_s * source.rate_hz:
        raise _too_long(limits)
    return source


def _open_sndfile(file: BinaryIO) -> _Source | None:
    file.seek(0)
    try:
        sound = soundfile.SoundFile(file)
    except (soundfile.LibsndfileError, ValueError):
        return None
    return _Source(sound.samplerate, sound.channels, sound.frames, _sndfile_blocks(sound))


def _sndfile_blocks(sound: soundfile.SoundFile) -> Iterator[Samples]:
    with sound:
        while True:
            try:
                block = sound.read(BLOCK_FRAMES, dtype="float32", always_2d=True)
            except soundfile.LibsndfileError:
                return  # broken from here on: what came before stands
            if not len(block):
                return
            yield block


def _open_ffmpeg(file: BinaryIO, demuxer: str, timed: bool) -> _Source | None:
    file.seek(0)
    codecs = {"codec_whitelist": ",".join(sorted(_FFMPEG_CODECS))}  # it decodes a little to see what it has
    try:
        container = av.open(file, mode="r", format=demuxer, metadata_errors="ignore", options=codecs)
    except (av.FFmpegError, ValueError):
        return None
    stream = next(iter(container.streams.audio), None)
    context = None if stream is None else stream.codec_context  # none for a codec that FFmpeg does not know either
    if stream is None or context is None or context.name not in _FFMPEG_CODECS:
        codec = None if context is None else context.name
        container.close()
        raise UnsupportedMedia("the file has no sound in a known codec", codec=codec)
    context.options = {"max_samples": str(MAX_CODED_FRAMES)}
    return _Source(stream.rate or 0, stream.channels, 0, _ffmpeg_blocks(container, stream, timed))


def _ffmpeg_blocks(container: av.container.InputContainer, stream: av.AudioStream, timed: bool) -> Iterator[Samples]:
    """What can be decoded, at the stream's rate, with silence for what cannot and for gaps between time stamps."""
    with closing(container):
        to_float = _ToFloat(stream.rate)
        packets = container.demux(stream)
        begin_s = (container.start_time or 0) / av.time_base
        given = 0  # frames
        broken_s, timeless = 0.0, 0  # packets since the last that could be decoded, and all that last no time
        while broken_s < MAX_BROKEN_S and timeless < MAX_BROKEN_PACKETS:
            try:
                packet = next(packets, None)
            except (av.FFmpegError, ValueError):
                return  # broken from here on: what came before stands
            if packet is None:
                return
            try:
                frames = [(frame.time, to_float(frame)) for frame in packet.decode()]
            except (av.FFmpegError, ValueError):
                duration_s = float((packet.duration or 0) * (packet.time_base or 0))
                broken_s += max(0.0, duration_s)
                timeless += duration_s <= 0
                continue
            for time_s, block in frames:
                missing_s, broken_s = broken_s, 0.0
                if timed and time_s is not None:
                    gap_s = time_s - begin_s - given / stream.rate
                    missing_s = gap_s if MIN_GAP_S < gap_s <= MAX_GAP_S else 0.0
                for part in chain(_silence(round(missing_s * stream.rate)), (block,)):
                    given += len(part)
                    yield part


class _ToFloat:
    """FFmpeg's frames as blocks of shape (frames, channels), float32, at `rate_hz`.

    Of what is joined of several files each part has its own form, and gets a resampler of its own; only another rate
    is resampled, so channels are mixed in one place for all formats.
    """

    def __init__(self, rate_hz: int) -> None:
        self._rate_hz = rate_hz
        self._form: tuple[str, str, int] | None = None
        self._resampler: av.AudioResampler

    def __call__(self, frame: av.AudioFrame) -> Samples:
        form = frame.format.name, frame.layout.name, frame.sample_rate
        if form != self._form:
            # Interleaved, never planar: of planar frames with 8 channels and more, PyAV 18 reads past the last plane.
            self._form, self._resampler = form, av.AudioResampler(format="flt", rate=self._rate_hz)
        channels = frame.layout.nb_channels
        parts = [part.to_ndarray().reshape(-1, channels) for part in self._resampler.resample(frame)]
        return np.concatenate(parts, dtype=np.float32) if parts else np.zeros((0, channels), dtype=np.float32)


def _silence(frames: int) -> Iterator[Samples]:
    """So many frames of it, in blocks."""
    for start in range(0, frames, BLOCK_FRAMES):
        yield np.zeros((min(BLOCK_FRAMES, frames - start), 1), dtype=np.float32)


def _mono(source: _Source, limits: AudioLimits, meter: Callable[[float], object]) -> Iterator[Samples]:
    """The mean of the channels, block by block, with the limits and the values checked as it goes."""
    frames = decoded_bytes = 0
    with closing(source.blocks):  # type: ignore[type-var]  # generators all
        for block in source.blocks:
            frames += len(block)
            decoded_bytes += block.nbytes  # of what came: a stream may have other channels than its header says
            if frames > limits.max_duration_s * source.rate_hz or decoded_bytes > limits.max_decoded_bytes:
                raise _too_long(limits)
            meter(len(block) / source.rate_hz)
            if not (np.abs(block) <= LOUDEST_SAMPLE).all():
                raise InvalidAudio("the file holds samples that are no sound (NaN, infinity or absurdly large)")
            yield block[:, 0] if block.shape[1] == 1 else block.mean(axis=1)


def _resampled(blocks: Iterator[Samples], from_hz: int, to_hz: int) -> Iterator[Samples]:
    """Blocks at another rate, through soxr's band-limited (anti-alias) filter."""
    if from_hz == to_hz:
        yield from blocks
        return
    stream = soxr.ResampleStream(from_hz, to_hz, 1, dtype="float32", quality="HQ")
    heard = False
    for block in blocks:
        heard = True
        yield stream.resample_chunk(np.ascontiguousarray(block))
    if heard:
        yield stream.resample_chunk(np.zeros(0, dtype=np.float32), last=True)


def _too_long(limits: AudioLimits) -> AudioTooLong:
    return AudioTooLong(
        f"the sound is longer than {limits.max_duration_s:g} s or {limits.max_decoded_bytes} bytes decoded",
        max_duration_s=limits.max_duration_s,
        max_decoded_bytes=limits.max_decoded_bytes,
    )
