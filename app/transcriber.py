"""The straight line: encoded sound -> segments -> transcript. No HTTP here; the scripts use it too."""

import asyncio
import time
from collections.abc import AsyncGenerator
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from typing import Any, BinaryIO, Self

from app.admission import Place
from app.audio import AudioLimits, Waveform, decode
from app.errors import STOPPING, NotReady
from app.models import Lanes
from app.recognizer import Decoder, Options, Window
from app.scheduler import Computing, Scheduler, Waiting
from app.settings import Settings
from app.transcript import Segment, Timings, Transcript

DECODERS = 16
"""Files decoded at a time; most of that is outside Python's lock. Their sound is counted to the queue as it comes."""


class Transcriber:
    """Transcribes files with one model, several at a time; `close()` ends its threads."""

    def __init__(self, lanes: Lanes, scheduler: Scheduler, limits: AudioLimits) -> None:
        self.lanes = lanes
        self.scheduler = scheduler
        self._limits = limits
        self._decoders = ThreadPoolExecutor(DECODERS, thread_name_prefix="decoder")

    @classmethod
    def from_settings(cls, lanes: Lanes, settings: Settings, computed: Computing = lambda *call: None) -> Self:
        """With workers and limits as they are set. computed: see `Scheduler`."""
        return cls(lanes, Scheduler(workers=settings.workers, computed=computed), settings.audio_limits)

    def close(self) -> None:
        """Fail what waits, let the windows that run finish, and end the threads."""
        self.scheduler.close()
        self._decoders.shutdown(wait=False, cancel_futures=True)

    async def transcribe(self, file: BinaryIO, place: Place | None = None, options: Options = Options()) -> Transcript:
        """All segments of a file. Takes and raises what `stream` does."""
        stream = self.stream(file, place, options)
        async with aclosing(stream.segments()) as segments:
            heard = [segment async for segment in segments]
        return Transcript(tuple(heard), stream.duration_s, stream.timings)

    def stream(self, file: BinaryIO, place: Place | None = None, options: Options = Options()) -> "Stream":
        """Transcribe a seekable binary file in any format that `app.audio` reads; it is closed as soon as it is read.

        place: the request's place in the queue, to which the sound is counted as it is decoded.
        """
        return Stream(self, Decoding(file, self.lanes.express.rate_hz, self._limits, place), place, options)

    async def decode(self, decoding: "Decoding") -> Waveform:
        """Decode a file on a thread. Raises the errors of `Decoding.run`."""
        return await decoding.run(self._decoders)


class Stream:
    """One file on its way through a transcriber.

    duration_s, timings: known once the last segment is.
    """

    def __init__(self, transcriber: Transcriber, decoding: "Decoding", place: Place | None, options: Options) -> None:
        self._transcriber = transcriber
        self._decoding = decoding
        self._place = place
        self._options = options
        self.duration_s = 0.0
        self.timings = Timings(0.0, 0.0, 0.0, 0.0)

    async def segments(self) -> AsyncGenerator[Segment, None]:
        """The segments in their order, each as soon as nothing later can change it.

        Raises the errors of `app.audio.decode`, `app.scheduler.Scheduler.hear` and `app.admission.Place`, and NotReady
        once the transcriber is closed. When the caller is cancelled, nothing goes on for it but the window that runs.
        """
        started = time.monotonic()
        lanes, scheduler = self._transcriber.lanes, self._transcriber.scheduler
        waveform = await self._transcriber.decode(self._decoding)
        self.duration_s = waveform.duration_s
        if self._place is not None:
            self._place.check_wait(waveform.duration_s)
        windows = lanes.express.windows(waveform.samples, self._options)
        decoder = lanes.express.decoder(self._options)
        waiting = Waiting()
        async with aclosing(scheduler.hear(lanes, windows, self._options, waiting)) as heard:
            number = 0
            async for part in heard:
                number += 1
                last = number == len(windows)
                for segment in await asyncio.to_thread(_decode, decoder, windows[number - 1], part, last):
                    yield segment
        self.timings = Timings(
            decode_s=self._decoding.took_s,
            queue_s=self._decoding.waited_s + waiting.queue_s,
            inference_s=waiting.inference_s,
            total_s=time.monotonic() - started,
        )


def _decode(decoder: Decoder[Any], window: Window, heard: Any, last: bool) -> list[Segment]:
    segments = decoder.add(window, heard)
    return segments + decoder.finish() if last else segments


class Decoding:
    """The decoding of one file in a thread, which closes it, and ends soon after its caller is cancelled.

    waited_s, took_s: seconds until a thread was free, and in it.
    """

    def __init__(self, file: BinaryIO, rate_hz: int, limits: AudioLimits, place: Place | None) -> None:
        self._file = file
        self._rate_hz = rate_hz
        self._limits = limits
        self._place = place
        self._abandoned = False
        self._submitted = time.monotonic()
        self.waited_s = self.took_s = 0.0

    async def run(self, pool: ThreadPoolExecutor) -> Waveform:
        """Raises the errors of `app.audio.decode` and `app.admission.Place.charge`, NotReady if the pool is closed."""
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
                decoded.exception()  # has been seen
            raise

    def _decode(self) -> Waveform:
        begin = time.monotonic()
        self.waited_s = begin - self._submitted
        try:
            return decode(self._file, self._rate_hz, self._limits, self._meter)
        finally:
            self._file.close()
            self.took_s = time.monotonic() - begin

    def _meter(self, seconds: float) -> None:
        if self._abandoned:
            raise _Abandoned
        if self._place is not None:
            self._place.charge(seconds)


class _Abandoned(Exception):
    """Nobody waits for this file."""
