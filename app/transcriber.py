"""The straight line: encoded sound -> transcript. No HTTP here; the scripts use it too."""

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from typing import BinaryIO, Self

from app.admission import Place
from app.artifacts import Artifact
from app.asr import Engines
from app.audio import AudioLimits, Waveform, decode
from app.decoding import Emissions, confidence_of, decode_ctc
from app.errors import STOPPING, NotReady
from app.scheduler import Computing, Scheduler
from app.settings import Settings
from app.transcript import Timings, Transcript, Word
from app.windows import Window, cut, stitch

DECODERS = 16
"""Files decoded at a time; most of that is outside Python's lock. Their sound is counted to the queue as it comes."""


class Transcriber:
    """Transcribes files with one model, several at a time; `close()` ends its threads."""

    def __init__(
        self, artifact: Artifact, scheduler: Scheduler, limits: AudioLimits, window_s: float, overlap_s: float
    ) -> None:
        self._artifact = artifact
        self._limits = limits
        self._decoders = ThreadPoolExecutor(DECODERS, thread_name_prefix="decoder")
        self.scheduler = scheduler
        rate_hz = artifact.features.sample_rate_hz
        self._window_frames = artifact.framing.frames(int(window_s * rate_hz))
        self._overlap_frames = artifact.framing.frames(int(overlap_s * rate_hz))

    @classmethod
    def from_settings(
        cls, artifact: Artifact, engines: Engines, settings: Settings, computed: Computing = lambda *call: None
    ) -> Self:
        """With windows, workers and limits as they are set. computed: see `Scheduler`."""
        scheduler = Scheduler(
            engines,
            workers=settings.workers,
            rate_hz=artifact.features.sample_rate_hz,
            window_s=settings.window_s,
            computed=computed,
        )
        return cls(artifact, scheduler, settings.audio_limits, settings.window_s, settings.overlap_s)

    def close(self) -> None:
        """Fail what waits, let the windows that run finish, and end the threads."""
        self.scheduler.close()
        self._decoders.shutdown(wait=False, cancel_futures=True)

    async def transcribe(self, file: BinaryIO, place: Place | None = None) -> Transcript:
        """Transcribe a seekable binary file in any format that `app.audio` reads; it is closed as soon as it is read.

        place: the request's place in the queue, to which the sound is counted as it is decoded.

        Raises the errors of `app.audio.decode`, `app.scheduler.Scheduler.run` and `app.admission.Place`, and NotReady
        once it is closed. When the caller is cancelled, nothing goes on for it but the window that runs.
        """
        artifact = self._artifact
        started = time.monotonic()
        decoding = Decoding(file, artifact.features.sample_rate_hz, self._limits, place)
        waveform = await decoding.run(self._decoders)
        if place is not None:
            place.check_wait(waveform.duration_s)
        windows = cut(waveform.samples, artifact.framing, self._window_frames, self._overlap_frames)
        computed = await self.scheduler.run(windows)
        words = await asyncio.to_thread(self._words, windows, computed.emissions)
        return Transcript(
            words=words,
            duration_s=waveform.duration_s,
            confidence=confidence_of(words),
            timings=Timings(
                decode_s=decoding.took_s,
                queue_s=decoding.waited_s + computed.queue_s,
                inference_s=computed.inference_s,
                total_s=time.monotonic() - started,
            ),
        )

    def _words(self, windows: list[Window], emissions: list[Emissions]) -> tuple[Word, ...]:
        artifact = self._artifact
        stitched = stitch(windows, emissions, artifact.vocabulary.blank)
        return decode_ctc(stitched, artifact.vocabulary, artifact.frame_s)


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
