"""Read a file with FFmpeg (PyAV).

FFmpeg is always told the container and gets bytes, no name, so that playlists and files that refer to other files or
addresses cannot make it open anything.

A call of Python for each of the packets, which are 20 ms long and less, costs as much as decoding them. So there is
as little of it as possible: frames are gathered in a queue of FFmpeg's, and converted a block at a time.
"""

import ctypes
from collections.abc import Iterator
from contextlib import closing
from typing import BinaryIO

import av
import numpy as np
from av.audio.fifo import AudioFifo
from av.stream import Discard, Disposition

from app.audio.blocks import BLOCK_FRAMES, Block, Source, silence
from app.audio.views import View
from app.errors import InvalidAudio, UnsupportedMedia

MAX_CODED_FRAMES = 1 << 20
"""Real codecs code up to 65535 frames at once; 1 KB of ALAC can claim 16 million, before any limit is looked at."""
MAX_BROKEN_S, MAX_BROKEN_PACKETS = 600.0, 10_000
"""After so many seconds of packets in a row that cannot be decoded, or so many that last no time, the rest is not
tried: they cost time, may be a byte long, and count to no other limit."""
MAX_FRUITLESS_PACKETS = 100_000
"""The same for packets in a row that give no sound, whether they are broken or not."""
PATIENCE_PACKETS = 1_000
"""After so many of them in a row the caller gets a chance to stop."""
MIN_GAP_S, MAX_GAP_S = 0.1, 600.0
"""Shorter gaps between time stamps are rounding, longer ones a clock that was set; those between are silence."""

MAX_CONVERTERS = 16
"""Forms (rate, layout) of frames whose converters are kept: to make one takes longer than to decode a frame, and a file
may change its form with every frame."""

CODECS = frozenset(
    "aac aac_latm alac amrnb amrwb flac mp2 mp2float mp3 mp3float opus libopus vorbis pcm_alaw pcm_mulaw "
    "pcm_u8 pcm_s16le pcm_s16be pcm_s24le pcm_s24be pcm_s32le pcm_s32be pcm_f32le pcm_f32be pcm_f64le "
    "g722 g726 g726le g723_1 g729 gsm gsm_ms adpcm_ima_oki adpcm_ima_wav adpcm_ms".split()
)
"""FFmpeg knows hundreds of codecs; those that people record speech with, and telephone systems calls, are enough to
have open to the world."""
AAC = frozenset({"aac", "aac_latm"})
UNUSUAL_LAYOUT = " channels ("
"""Stands in the name of a layout that has no name of its own, such as `2 channels (FR+FL)`. See `_safe_layout`."""

_FAILURES = (av.FFmpegError, ValueError)


def open_ffmpeg(file: BinaryIO, demuxer: str, timed: bool) -> Source | None:
    """The opened file, or None if the demuxer cannot read its header.

    timed: its packets say when they are to be heard; in other formats each follows the one before.

    Of several tracks the first that can be read is taken, those that are marked as the default before all others.
    Raises UnsupportedMedia where there is none.
    """
    file.seek(0)
    codecs = {"codec_whitelist": ",".join(sorted(CODECS))}  # it decodes a little to see what it has
    try:
        container = av.open(View(file), mode="r", format=demuxer, metadata_errors="ignore", options=codecs)
    except _FAILURES:
        return None
    tracks = sorted(container.streams.audio, key=lambda track: not track.disposition & Disposition.default)
    stream = next((track for track in tracks if _codec(track) in CODECS), None)
    if stream is None:
        codec = _codec(tracks[0]) if tracks else None
        container.close()
        raise UnsupportedMedia("the file has no sound in a known codec", codec=codec)
    for other in container.streams:
        if other.index != stream.index:
            other.discard = Discard.all  # not even read, where the container has an index
    context = stream.codec_context
    context.options = {"max_samples": str(MAX_CODED_FRAMES)}
    channels = _safe_layout(context)
    length_s = _length_s(container, stream) if demuxer == "mov" else None
    return Source(stream.rate or 0, channels, length_s, ffmpeg_blocks(container, stream, timed))


def _length_s(container: av.container.InputContainer, stream: av.AudioStream) -> float | None:
    """When the last packet is to be heard, by the index of MP4; None without one.

    (Where a file tells no length, FFmpeg guesses one from its size, and does not say so.)
    """
    packets = stream.index_entries
    if not len(packets) or stream.time_base is None:
        return None
    begin_s = (container.start_time or 0) / av.time_base
    return float(packets[len(packets) - 1].timestamp * stream.time_base) - begin_s


def _codec(track: av.AudioStream) -> str | None:
    """Name of its decoder; None for a codec that FFmpeg does not know either."""
    context: av.AudioCodecContext | None = track.codec_context
    return None if context is None else context.name


def _safe_layout(context: av.AudioCodecContext) -> int:
    """Number of channels of a decoder, whose layout is made safe to decode with.

    PyAV 18 copies a layout by its bytes. One in an order of its own (a `chan` atom that tells the right channel before
    the left) has a pointer among them, which is freed by every copy: the process dies at the second. So the layout is
    read once, and replaced by one that only says how many channels there are.
    """
    layout = context.layout
    if UNUSUAL_LAYOUT in layout.name:
        context.layout = f"{layout.nb_channels} channels"
    return layout.nb_channels


def ffmpeg_blocks(container: av.container.InputContainer, stream: av.AudioStream, timed: bool) -> Iterator[Block]:
    """What can be decoded, with silence for what cannot and for gaps between time stamps. Closes the container."""
    with closing(container):
        begin_s = (container.start_time or 0) / av.time_base
        heard_s = 0.0
        gathered = _Gathered()
        for lost_s, frame in _frames(container, stream):
            if frame is None:
                yield Block(np.zeros((0, 1), dtype=np.float32), stream.rate)
                continue
            rate_hz = frame.sample_rate
            time_s = frame.time if timed else None
            missing_s = lost_s
            if time_s is not None:
                gap_s = time_s - begin_s - heard_s
                missing_s = gap_s if MIN_GAP_S < gap_s <= MAX_GAP_S else 0.0
            if missing_s:
                yield from gathered.taken()
                yield from silence(round(missing_s * rate_hz), rate_hz)
            elif not gathered.fits(frame):
                yield from gathered.taken()
            heard_s += missing_s + frame.samples / rate_hz
            gathered.add(frame)
            if gathered.frames >= BLOCK_FRAMES:
                yield from gathered.taken()
        yield from gathered.taken()


def _frames(
    container: av.container.InputContainer, stream: av.AudioStream
) -> Iterator[tuple[float, av.AudioFrame | None]]:
    """Each decoded frame, with the seconds of packets before it that could not be decoded.

    No frame is given after every `PATIENCE_PACKETS` packets without sound. Raises InvalidAudio for a channel layout
    that cannot be handled safely.
    """
    decode = stream.codec_context.decode
    by_aac = _codec(stream) in AAC
    packets = container.demux(stream)
    lost_s, timeless, fruitless = 0.0, 0, 0  # packets since the last frame, and all that last no time
    while lost_s < MAX_BROKEN_S and timeless < MAX_BROKEN_PACKETS and fruitless < MAX_FRUITLESS_PACKETS:
        try:
            packet = next(packets, None)
        except _FAILURES:
            return  # broken from here on: what came before stands
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
    """Raise InvalidAudio if a frame has a layout that may be of the kind that `_safe_layout` tells of.

    Of the decoders in `CODECS` only AAC's (USAC) makes such layouts itself. Those of these frames are never freed.
    """
    unusual = [frame.layout for frame in frames if UNUSUAL_LAYOUT in frame.layout.name]
    for layout in unusual:
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(layout))
    if unusual:
        raise InvalidAudio(f"the file has channels in an order that is not read: {unusual[0].name}")


class _Gathered:
    """Frames of one form (rate, sample format, layout) that follow each other, converted together.

    Of what is joined of several files each part has its own form.
    """

    def __init__(self) -> None:
        self.frames = 0
        self._form: tuple[int, str, av.AudioLayout] | None = None
        self._converter = _Converter()
        self._converters: dict[tuple[int, str, str], _Converter] = {}

    def fits(self, frame: av.AudioFrame) -> bool:
        """Has the frame the form of those that are gathered?"""
        return self._form == (frame.sample_rate, frame.format.name, frame.layout)

    def add(self, frame: av.AudioFrame) -> None:
        """Gather one more; one that does not fit, after `taken` only."""
        if not self.fits(frame):
            self._form = frame.sample_rate, frame.format.name, frame.layout
            if len(self._converters) >= MAX_CONVERTERS:
                self._converters.clear()
            name = frame.sample_rate, frame.format.name, frame.layout.name
            self._converter = self._converters.setdefault(name, _Converter())
        frame.pts = None  # the queue would refuse gaps
        self._converter.queue.write(frame)
        self.frames += frame.samples

    def taken(self) -> Iterator[Block]:
        """What was gathered, as a block; nothing if that is nothing. Silence if FFmpeg cannot convert it."""
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
    """A queue of frames of one form, and what makes float32 of them.

    Interleaved, never planar: of planar frames with 8 channels and more, PyAV 18 reads past the last plane.
    """

    def __init__(self) -> None:
        self.queue = AudioFifo()
        self.to_float = av.AudioResampler(format="flt")
