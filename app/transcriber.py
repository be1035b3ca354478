"""The pipeline: encoded audio -> segments -> transcript. Free of HTTP; the scripts use it too."""

import asyncio
import time
from collections.abc import AsyncGenerator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from dataclasses import replace
from typing import BinaryIO, Self

from app.admission import Reservation
from app.audio import AudioLimits, Waveform, decode_channels
from app.errors import STOPPING, NotReady
from app.merging import Channel, Merger
from app.models import Lanes
from app.quiet_channels import is_speechless
from app.recognizer import AnyRecognizer, ChannelMode, Options
from app.scheduler import OnComputed, Scheduler, StageTimes
from app.settings import Settings
from app.transcript import Segment, Timings, Transcript

DECODERS = 16
"""Files decoded at a time; most of the work happens outside Python's lock. Audio counts to the queue as it is
decoded."""


class Transcriber:
    """Transcribes files with one model, several at a time; `close()` ends its threads."""

    def __init__(self, lanes: Lanes, scheduler: Scheduler, limits: AudioLimits) -> None:
        self.lanes = lanes
        self.scheduler = scheduler
        self._limits = limits
        self._decoders = ThreadPoolExecutor(DECODERS, thread_name_prefix="decoder")

    @classmethod
    def from_settings(cls, lanes: Lanes, settings: Settings, on_computed: OnComputed = lambda *call: None) -> Self:
        """A transcriber with the workers and limits of the settings. on_computed: see `Scheduler`."""
        return cls(lanes, Scheduler(workers=settings.workers, on_computed=on_computed), settings.audio_limits)

    def close(self) -> None:
        """Fail all waiting jobs, let running windows finish, and end the threads."""
        self.scheduler.close()
        self._decoders.shutdown(wait=False, cancel_futures=True)

    async def transcribe(
        self, file: BinaryIO, reservation: Reservation | None = None, options: Options = Options()
    ) -> Transcript:
        """The transcript of a file. Takes the arguments of `stream` and raises the errors of `Stream.segments`."""
        stream = self.stream(file, reservation, options)
        async with aclosing(stream.segments()) as segments:
            found = [segment async for segment in segments]
        return Transcript(tuple(found), stream.duration_s, stream.timings)

    def stream(self, file: BinaryIO, reservation: Reservation | None = None, options: Options = Options()) -> "Stream":
        """Transcribe a seekable binary file in any format that `app.audio` reads.

        The file is closed as soon as it is decoded. reservation: the request's place in the queue; audio is charged to
        it as it is decoded. Raises InvalidParameter for options that the model cannot honor.
        """
        self.lanes.express.check_options(options)
        decoding = Decoding(file, self.lanes.express.rate_hz, self._limits, options.channels, reservation)
        return Stream(self, decoding, reservation, options)

    async def decode(self, decoding: "Decoding") -> list[Waveform]:
        """Decode a file on a thread, to one waveform or one for each channel. Raises the errors of `Decoding.run`."""
        return await decoding.run(self._decoders)


class Stream:
    """One file on its way through a transcriber.

    duration_s, timings: valid once the last segment was yielded.
    """

    def __init__(
        self, transcriber: Transcriber, decoding: "Decoding", reservation: Reservation | None, options: Options
    ) -> None:
        self._transcriber = transcriber
        self._decoding = decoding
        self._reservation = reservation
        self._options = options
        self.duration_s = 0.0
        self.timings = Timings(0.0, 0.0, 0.0, 0.0)

    async def segments(self) -> AsyncGenerator[Segment, None]:
        """Yield the segments in order, each as soon as later audio cannot change it.

        Raises the errors of `app.audio.decode_channels`, `app.scheduler.Scheduler.compute` and
        `app.admission.Reservation`, and NotReady once the transcriber is closed. When the caller is cancelled, only the
        window that is running continues.
        """
        started = time.monotonic()
        lanes, scheduler = self._transcriber.lanes, self._transcriber.scheduler
        waveforms = await self._transcriber.decode(self._decoding)
        self.duration_s = waveforms[0].duration_s
        if self._reservation is not None:
            self._reservation.check_wait(sum(waveform.duration_s for waveform in waveforms))
        options = self._options
        if len(waveforms) > 1:
            options = replace(options, segment_times=True)  # they put the speakers in order
        merger = await asyncio.to_thread(cut, lanes.express, waveforms, options)
        times = StageTimes()
        async with aclosing(scheduler.compute(lanes, merger.windows, options, times)) as outputs:
            async for output in outputs:
                for segment in await asyncio.to_thread(merger.add, output):
                    yield segment
        self.timings = Timings(
            decode_s=self._decoding.took_s,
            queue_s=self._decoding.waited_s + times.queue_s,
            inference_s=times.inference_s,
            total_s=time.monotonic() - started,
        )


def cut(recognizer: AnyRecognizer, waveforms: Sequence[Waveform], options: Options) -> Merger:
    """The windows of all channels of a clip, and what merges their outputs."""
    channels = []
    for waveform in waveforms:
        silent = waveform.channel is not None and is_speechless(waveform.samples, waveform.rate_hz)
        windows = [] if silent else recognizer.windows(waveform.samples, options)
        channels.append(Channel(waveform.channel, windows, recognizer.decoder(options)))
    return Merger(channels, recognizer.rate_hz)


class Decoding:
    """Decodes one file on a thread, closes it, and stops soon after its caller is cancelled.

    waited_s: seconds until a thread was free. took_s: seconds of decoding.
    """

    def __init__(
        self,
        file: BinaryIO,
        rate_hz: int,
        limits: AudioLimits,
        mode: ChannelMode,
        reservation: Reservation | None,
    ) -> None:
        self._file = file
        self._rate_hz = rate_hz
        self._limits = limits
        self._mode: ChannelMode = mode
        self._reservation = reservation
        self._abandoned = False
        self._submitted = time.monotonic()
        self.waited_s = self.took_s = 0.0

    async def run(self, pool: ThreadPoolExecutor) -> list[Waveform]:
        """Decode the file.

        Raises the errors of `app.audio.decode_channels` and `app.admission.Reservation.charge`, and NotReady if the
        pool is closed.
        """
        try:
            task = pool.submit(self._decode)
        except RuntimeError as error:
            raise NotReady(STOPPING) from error
        decoded = asyncio.wrap_future(task)
        try:
            return await asyncio.shield(decoded)
        except asyncio.CancelledError:
            if task.cancelled():  # by the pool, not by the caller
                raise NotReady(STOPPING) from None
            self._abandoned = True
            if not task.cancel():
                # The thread reads the file, which is closed as soon as this returns.
                await asyncio.wait([decoded])
                decoded.exception()  # marks it as retrieved, so that asyncio does not log it
            raise

    def _decode(self) -> list[Waveform]:
        begin = time.monotonic()
        self.waited_s = begin - self._submitted
        try:
            return decode_channels(self._file, self._rate_hz, self._limits, self._mode, self._meter)
        finally:
            self._file.close()
            self.took_s = time.monotonic() - begin

    def _meter(self, seconds: float) -> None:
        if self._abandoned:
            raise _Abandoned
        if self._reservation is None:
            return
        if seconds < 0:
            self._reservation.release(-seconds)
        else:
            self._reservation.charge(seconds)


class _Abandoned(Exception):
    """The caller no longer waits for this file."""
