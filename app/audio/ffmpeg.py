"""Reads a file with FFmpeg (PyAV).

FFmpeg always gets the container format and bytes instead of a file name, so that playlists and files that refer to
other files or addresses cannot make it open anything.

Packets last 20 ms or less, and one Python call per packet costs as much as decoding it. So there are as few calls as
possible: frames are collected in an FFmpeg queue and converted one block at a time.
"""

import ctypes
from collections.abc import Iterator
from contextlib import closing
from typing import BinaryIO, Protocol

import av
import numpy as np
from av.audio.fifo import AudioFifo
from av.stream import Discard, Disposition

from app.audio.blocks import BLOCK_FRAMES, Block, Source, silence
from app.audio.views import View
from app.errors import InvalidAudio, UnsupportedMedia

MAX_CODED_FRAMES = 1 << 20
"""Real codecs code up to 65535 frames at once; 1 KB of ALAC can claim 16 million, before any limit is checked."""
MAX_BROKEN_S, MAX_BROKEN_PACKETS = 600.0, 10_000
"""After this many seconds of undecodable packets in a row, or this many packets without a duration, the rest of the
file is skipped: such packets cost time, may be a byte long, and count toward no other limit."""
MAX_FRUITLESS_PACKETS = 100_000
"""Same for packets in a row that give no audio, broken or not."""
PATIENCE_PACKETS = 1_000
"""After this many of them in a row the caller gets a chance to stop."""
MIN_GAP_S, MAX_GAP_S = 0.1, 600.0
"""Shorter gaps between time stamps are rounding, longer ones a clock that was set; gaps in between become silence."""

MAX_CONVERTERS = 16
"""Frame formats (rate, layout) whose converters are cached: making one takes longer than decoding a frame, and a file
may change its frame format with every frame."""

CODECS = frozenset(
    "aac aac_latm alac amrnb amrwb flac mp2 mp2float mp3 mp3float opus libopus vorbis pcm_alaw pcm_mulaw "
    "pcm_u8 pcm_s16le pcm_s16be pcm_s24le pcm_s24be pcm_s32le pcm_s32be pcm_f32le pcm_f32be pcm_f64le "
    "g722 g726 g726le g723_1 g729 gsm gsm_ms adpcm_ima_oki adpcm_ima_wav adpcm_ms".split()
)
"""FFmpeg knows hundreds of codecs. These are the ones for recorded speech and telephone calls; exposing only them keeps
the attack surface small."""
AAC = frozenset({"aac", "aac_latm"})
UNUSUAL_LAYOUT = " channels ("
"""Part of the name of a layout without a standard name, such as `2 channels (FR+FL)`. See `_safe_layout`."""

PIPE_OPTIONS = {"probesize": "4096", "analyzeduration": "0"}
"""FFmpeg looks through up to 5 MB or 5 s before it says what is in a file; of audio that is still arriving, the header
must do."""

_FAILURES = (av.FFmpegError, ValueError)


class Readable(Protocol):
    """Bytes that cannot be read again."""

    def read(self, size: int, /) -> bytes:
        """Up to `size` bytes, waiting for at least one; none at the end."""
        ...


def open_ffmpeg(file: BinaryIO, demuxer: str, timed: bool) -> Source | None:
    """The opened file, or None if the demuxer cannot read its header.

    timed: packets have time stamps to follow; in other formats each packet continues the one before.

    Of several tracks it takes the first readable one, default tracks first. Raises UnsupportedMedia if there is none.
    """
    file.seek(0)
    return _open(View(file), demuxer, timed, BLOCK_FRAMES, {})


def open_pipe(pipe: Readable, demuxer: str, timed: bool) -> Source | None:
    """Audio that is still arriving; blocks come as soon as a packet can be decoded. Otherwise as `open_ffmpeg`."""
    return _open(pipe, demuxer, timed, 1, PIPE_OPTIONS)


def _open(
    file: View | Readable, demuxer: str, timed: bool, block_frames: int, options: dict[str, str]
) -> Source | None:
    codecs = {"codec_whitelist": ",".join(sorted(CODECS))}  # opening a file already decodes some of it
    try:
        container = av.open(file, mode="r", format=demuxer, metadata_errors="ignore", options=codecs | options)
    except _FAILURES:
        return None
    tracks = sorted(container.streams.audio, key=lambda track: not track.disposition & Disposition.default)
    stream = next((track for track in tracks if _codec(track) in CODECS), None)
    if stream is None:
        codec = _codec(tracks[0]) if tracks else None
        container.close()
        raise UnsupportedMedia("the file has no audio in a known codec", codec=codec)
    for other in container.streams:
        if other.index != stream.index:
            other.discard = Discard.all  # not even read, where the container has an index
    context = stream.codec_context
    context.options = {"max_samples": str(MAX_CODED_FRAMES)}
    channels = _safe_layout(context)
    length_s = _length_s(container, stream) if demuxer == "mov" else None
    return Source(stream.rate or 0, channels, length_s, ffmpeg_blocks(container, stream, timed, block_frames))


def _length_s(container: av.container.InputContainer, stream: av.AudioStream) -> float | None:
    """Start of the last packet, in seconds, from the index of an MP4 file; None without an index.

    (For a file without a length, FFmpeg guesses one from its size and does not say so.)
    """
    packets = stream.index_entries
    if not len(packets) or stream.time_base is None:
        return None
    begin_s = (container.start_time or 0) / av.time_base
    return float(packets[len(packets) - 1].timestamp * stream.time_base) - begin_s


def _codec(track: av.AudioStream) -> str | None:
    """Name of its decoder; None for a codec unknown to FFmpeg."""
    context: av.AudioCodecContext | None = track.codec_context
    return None if context is None else context.name


def _safe_layout(context: av.AudioCodecContext) -> int:
    """Number of channels of a decoder, after replacing a layout that is unsafe to decode with.

    PyAV 18 copies a layout byte by byte. A layout with a custom order (a `chan` atom that lists the right channel
    before the left) contains a pointer, which every copy frees: the second copy crashes the process. So the layout is
    read once and replaced by one that has only the number of channels.
    """
    layout = context.layout
    if UNUSUAL_LAYOUT in layout.name:
        context.layout = f"{layout.nb_channels} channels"
    return layout.nb_channels


def ffmpeg_blocks(
    container: av.container.InputContainer, stream: av.AudioStream, timed: bool, block_frames: int = BLOCK_FRAMES
) -> Iterator[Block]:
    """The decodable audio, with silence for broken packets and for gaps between time stamps. Closes the container.

    block_frames: frames that are collected before a block is yielded.
    """
    with closing(container):
        begin_s = (container.start_time or 0) / av.time_base
        position_s = 0.0
        gathered = _Gathered()
        for lost_s, frame in _frames(container, stream):
            if frame is None:
                yield Block(np.zeros((0, 1), dtype=np.float32), stream.rate)
                continue
            rate_hz = frame.sample_rate
            time_s = frame.time if timed else None
            missing_s = lost_s
            if time_s is not None:
                gap_s = time_s - begin_s - position_s
                missing_s = gap_s if MIN_GAP_S < gap_s <= MAX_GAP_S else 0.0
            if missing_s:
                yield from gathered.taken()
                yield from silence(round(missing_s * rate_hz), rate_hz)
            elif not gathered.fits(frame):
                yield from gathered.taken()
            position_s += missing_s + frame.samples / rate_hz
            gathered.add(frame)
            if gathered.frames >= block_frames:
                yield from gathered.taken()
        yield from gathered.taken()


def _frames(
    container: av.container.InputContainer, stream: av.AudioStream
) -> Iterator[tuple[float, av.AudioFrame | None]]:
    """Each decoded frame, with the duration of the undecodable packets before it, in seconds.

    Yields None as the frame after every `PATIENCE_PACKETS` packets without audio. Raises InvalidAudio for a channel
    layout that cannot be handled safely.
    """
    decode = stream.codec_context.decode
    by_aac = _codec(stream) in AAC
    packets = container.demux(stream)
    lost_s = 0.0  # duration of the broken packets since the last frame
    timeless = 0  # broken packets without a duration, in the whole file
    fruitless = 0  # packets since the last frame
    while lost_s < MAX_BROKEN_S and timeless < MAX_BROKEN_PACKETS and fruitless < MAX_FRUITLESS_PACKETS:
        try:
            packet = next(packets, None)
        except _FAILURES:
            return  # broken from here on; keep what came before
        if packet is None:
            return
        try:
            frames = decode(packet)
        except _FAILURES:
            duration_s = float((packet.duration or 0) * (packet.time_base or 0))
            lost_s += max(0.0, duration_s)
            timeless += duration_s <= 0
            frames = []
        if by_aac:
            _refuse_unusual_layouts(frames)
        fruitless = 0 if frames else fruitless + 1
        if fruitless and fruitless % PATIENCE_PACKETS == 0:
            yield 0.0, None
        for frame in frames:
            if frame.samples and frame.sample_rate > 0:
                yield lost_s, frame
                lost_s = 0.0


def _refuse_unusual_layouts(frames: list[av.AudioFrame]) -> None:
    """Raise InvalidAudio if a frame may have a layout of the kind that `_safe_layout` describes.

    Of the decoders in `CODECS`, only AAC's (USAC) creates such layouts itself. The layouts of these frames are never
    freed.
    """
    unusual = [frame.layout for frame in frames if UNUSUAL_LAYOUT in frame.layout.name]
    for layout in unusual:
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(layout))
    if unusual:
        raise InvalidAudio(f"the file has channels in an unsupported order: {unusual[0].name}")


class _Gathered:
    """Consecutive frames of one format (rate, sample format, layout), converted together.

    In a file concatenated from several files, each part has its own format.
    """

    def __init__(self) -> None:
        self.frames = 0
        self._form: tuple[int, str, av.AudioLayout] | None = None
        self._converter = _Converter()
        self._converters: dict[tuple[int, str, str], _Converter] = {}

    def fits(self, frame: av.AudioFrame) -> bool:
        """Whether the frame has the same format as the collected ones."""
        return self._form == (frame.sample_rate, frame.format.name, frame.layout)

    def add(self, frame: av.AudioFrame) -> None:
        """Add a frame; if it does not fit, call `taken` first."""
        if not self.fits(frame):
            self._form = frame.sample_rate, frame.format.name, frame.layout
            if len(self._converters) >= MAX_CONVERTERS:
                self._converters.clear()
            name = frame.sample_rate, frame.format.name, frame.layout.name
            self._converter = self._converters.setdefault(name, _Converter())
        frame.pts = None  # the queue refuses gaps between time stamps
        self._converter.queue.write(frame)
        self.frames += frame.samples

    def taken(self) -> Iterator[Block]:
        """The collected frames as a block, if there are any; silence if FFmpeg cannot convert them."""
        if not self.frames or self._form is None:
            return
        frames, self.frames = self.frames, 0
        rate_hz, _, layout = self._form
        try:
            parts = self._converter.to_float.resample(self._converter.queue.read())
        except _FAILURES:
            yield from silence(frames, rate_hz)
            return
        for part in parts:
            samples = np.asarray(part.to_ndarray(), dtype=np.float32)
            yield Block(samples.reshape(-1, layout.nb_channels), rate_hz)


class _Converter:
    """A queue for frames of one format, and their conversion to float32.

    Always interleaved: for planar frames with 8 or more channels, PyAV 18 reads past the last plane.
    """

    def __init__(self) -> None:
        self.queue = AudioFifo()
        self.to_float = av.AudioResampler(format="flt")
