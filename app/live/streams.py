"""The live streams of a service: how many there may be, and what happens to them when it stops."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

from app.admission import Admission
from app.errors import InvalidParameter, Overloaded
from app.live.channel import MAX_HOP_S, PARTIAL_S
from app.live.engine import LiveEngine
from app.live.incoming import LiveAudio, RawAudio
from app.live.options import LiveLimits, LiveOptions
from app.live.stream import LiveStream
from app.metrics import LiveMetrics
from app.recognizer import AnyRecognizer
from app.silero import RATE_HZ
from app.transcriber import Transcriber

UNKNOWN_CHANNELS = 2
"""Assumed of a container whose channels are kept apart."""


class LiveStreams:
    """Opens streams, within limits.

    A stream reserves its share of the computing power: its finals, and its partials at the longest hop. speed: seconds
    of cost computed per second (`app.scheduler.Scheduler.speed`).
    """

    def __init__(
        self, admission: Admission, speed: Callable[[], float], limits: LiveLimits, metrics: LiveMetrics
    ) -> None:
        self._admission = admission
        self._speed = speed
        self.limits = limits
        self._metrics = metrics
        self._open: dict[LiveStream, float] = {}
        metrics.watch(lambda: len(self._open))

    def __len__(self) -> int:
        return len(self._open)

    @asynccontextmanager
    async def open(self, transcriber: Transcriber, audio: LiveAudio, options: LiveOptions) -> AsyncIterator[LiveStream]:
        """A stream, until the end of the `with` block.

        Raises Overloaded if there are too many streams or the computing power is taken, NotReady if the service is
        stopping, InvalidParameter for options that the model cannot honor.
        """
        recognizer = transcriber.lanes.express
        recognizer.check_options(options.recognition)
        if recognizer.rate_hz != RATE_HZ:
            raise InvalidParameter(f"live recognition needs a model for {RATE_HZ} Hz")
        if isinstance(audio, RawAudio) and audio.channels > self.limits.max_channels:
            raise InvalidParameter(f"at most {self.limits.max_channels} channels are supported")
        cost = channels_of(audio, options) * cost_of_channel(recognizer, options)
        self._check(cost)
        with self._admission.reserve():
            engine = LiveEngine(transcriber.lanes, transcriber.scheduler, options.recognition)
            stream = LiveStream(audio, options, self.limits, engine, recognizer.window_s, self._metrics)
            self._open[stream] = cost
            running = asyncio.create_task(stream.run())
            try:
                yield stream
            finally:
                del self._open[stream]
                self._metrics.closed(stream.duration_s)
                running.cancel()
                with suppress(asyncio.CancelledError):
                    await running

    def _check(self, cost: float) -> None:
        if len(self._open) >= self.limits.max_streams:
            raise Overloaded("too many live streams at a time; try again later", streams=len(self._open))
        if self._open and sum(self._open.values()) + cost > self.limits.share * self._speed():
            raise Overloaded("the live streams take all computing power; try again later", streams=len(self._open))

    def drain(self) -> None:
        """Let every stream end: running utterances get their finals."""
        for stream in self._open:
            stream.finish(stopping=True)


def channels_of(audio: LiveAudio, options: LiveOptions) -> int:
    """Channels that are computed."""
    if not options.separate:
        return 1
    return audio.channels if isinstance(audio, RawAudio) else UNKNOWN_CHANNELS


def cost_of_channel(recognizer: AnyRecognizer, options: LiveOptions) -> float:
    """Seconds of cost per second of a channel that speaks without a pause: finals, and partials of average length."""
    finals = recognizer.cost_s(recognizer.window_s) / recognizer.window_s
    partials = recognizer.cost_s(min(PARTIAL_S, recognizer.window_s) / 2) / MAX_HOP_S
    return finals + (partials if options.partials else 0.0)
