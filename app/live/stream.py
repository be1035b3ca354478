"""A live stream: bytes in, events out."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing

import numpy as np

from app.audio.blocks import Block, Samples
from app.audio.channels import Mixer
from app.audio.resampling import Resampler
from app.audio.separation import with_channels
from app.errors import InvalidParameter
from app.live.backlog import Backlog, Mark
from app.live.channel import Channel
from app.live.engine import LiveEngine
from app.live.events import Event, Final, Partial, Reached
from app.live.incoming import LiveAudio, NewFormat, RawAudio, blocks_of
from app.live.options import LiveLimits, LiveOptions
from app.metrics import LiveMetrics
from app.recognizer import Options
from app.silero import RATE_HZ

MAX_EVENTS = 256
"""Events that wait for the listener; then the stream waits too."""
DROPPING_EVENTS = 32
"""While so many events wait, no partials are added."""
FINALIZE, CLEAR, REACHED = Mark("finalize"), Mark("clear"), Mark("reached")


class LiveStream:
    """One stream; made by `app.live.streams.LiveStreams.open`, which also ends it.

    Iterate over it in one task, feed it in another. The iteration ends after `finish`, once all events were taken; it
    raises what went wrong: InvalidAudio and UnsupportedMedia for the audio, NotReady.
    """

    def __init__(
        self, audio: LiveAudio, options: LiveOptions, limits: LiveLimits, engine: LiveEngine, window_s: float,
        metrics: LiveMetrics,
    ) -> None:  # fmt: skip
        self._audio = audio
        self._options = options
        self._limits = limits
        self._engine = engine
        self._longest = int(window_s * RATE_HZ)
        self._metrics = metrics
        self._backlog = Backlog()
        self._events: asyncio.Queue[Event | None] = asyncio.Queue(MAX_EVENTS)
        self._failure: BaseException | None = None
        self._channels: list[Channel] = []
        self._workers: list[asyncio.Task[None]] = []
        self._endpointing_s = options.endpointing_s
        self.stopping = False
        """Whether the service ended it (`finish(stopping=True)`)."""

    @property
    def channels(self) -> int:
        """Channels that are transcribed: 1 if they are mixed. 0 while a container has not said how many it has."""
        return len(self._channels)

    @property
    def duration_s(self) -> float:
        """Audio so far, in seconds."""
        return self._channels[0].cutter.position / RATE_HZ if self._channels else 0.0

    async def feed(self, data: bytes) -> None:
        """Add bytes of audio; waits while too much is not computed yet. After `finish` they are discarded."""
        await self._backlog.put(data)

    def finalize(self) -> None:
        """Give the running utterance its final now, after all audio that was fed: one `finalize` on each channel."""
        self._backlog.mark(FINALIZE)

    def mark(self) -> None:
        """Tell when all audio that was fed is taken: one `Reached` on each channel, after the finals before it."""
        self._backlog.mark(REACHED)

    def clear(self) -> None:
        """Forget the running utterance, after all audio that was fed; nothing answers that."""
        self._backlog.mark(CLEAR)

    def finish(self, *, stopping: bool = False) -> None:
        """There is no more audio: the running utterance gets its final, and the events end."""
        self.stopping = self.stopping or stopping
        self._backlog.end()

    def set_endpointing(self, endpointing_s: float | None) -> None:
        """Change the pause that ends an utterance (`LiveOptions.endpointing_s`)."""
        self._endpointing_s = endpointing_s
        for channel in self._channels:
            channel.cutter.endpointing_s = endpointing_s

    def set_audio(self, audio: RawAudio) -> None:
        """The bytes that are fed from here on are of this kind.

        Raises InvalidParameter unless the stream is of raw audio with as many channels.
        """
        if not isinstance(self._audio, RawAudio) or audio.channels != self._audio.channels:
            raise InvalidParameter("a stream keeps its container and its number of channels")
        self._backlog.mark(NewFormat("format", audio))

    def set_recognition(self, options: Options) -> None:
        """Change the options of what is computed from here on; the model must be able to honor them."""
        self._engine.set_options(options)

    def __aiter__(self) -> AsyncIterator[Event]:
        return self

    async def __anext__(self) -> Event:
        event = await self._events.get()
        if event is not None:
            return event
        await self._events.put(None)  # for the next call
        if self._failure is not None:
            raise self._failure
        raise StopAsyncIteration

    async def run(self) -> None:
        """Compute until the end; failures are passed to the listener."""
        taking = asyncio.create_task(self._take_in())
        try:
            await taking
            for channel in self._channels:
                channel.end()
            await asyncio.gather(*self._workers)
        except Exception as error:  # the listener must learn of it, whatever it is
            self._failure = error
        finally:
            for task in (taking, *self._workers):
                task.cancel()
            self._backlog.end()
        await self._events.put(None)

    async def _take_in(self) -> None:
        sound = _Sound(self._options.separate)
        if isinstance(self._audio, RawAudio):
            self._start(self._audio.channels if self._options.separate else 1)
        async with aclosing(blocks_of(self._audio, self._backlog, self._limits.max_channels)) as items:
            async for item in items:
                if isinstance(item, Block):
                    if not self._channels:
                        self._start(item.samples.shape[1] if self._options.separate else 1)
                    await self._pass_on(sound.add(item, len(self._channels)))
                elif item is FINALIZE:
                    await self._finalize()
                elif item is REACHED:
                    await self._reach()
                else:
                    for channel in self._channels:
                        channel.clear()
                await self._check_workers()
        await self._pass_on(sound.finish())

    async def _check_workers(self) -> None:
        """Raises what a channel's worker raised; lets other tasks run."""
        await asyncio.sleep(0)
        for worker in self._workers:
            if worker.done():
                worker.result()

    def _start(self, channels: int) -> None:
        for number in range(channels):
            channel = Channel(
                number, self._engine, self._longest, self._options, self._limits, self._metrics, self._emit
            )
            channel.cutter.endpointing_s = self._endpointing_s
            self._channels.append(channel)
            self._workers.append(asyncio.create_task(self._work(channel)))

    async def _work(self, channel: Channel) -> None:
        try:
            await channel.run()
        except Exception as error:
            self._failure = self._failure or error
            self._backlog.end()  # nobody would compute what comes
            raise

    async def _pass_on(self, parts: list[Samples]) -> None:
        for samples in parts:
            adding = [channel.add(column) for channel, column in zip(self._channels, samples.T, strict=True)]
            await asyncio.gather(*adding)

    async def _finalize(self) -> None:
        for channel in self._channels:
            channel.finalize()
        if not self._channels:
            await self._emit(Final(0, 0.0, 0.0, (), "finalize"))

    async def _reach(self) -> None:
        for channel in self._channels:
            await channel.mark()
        if not self._channels:
            await self._emit(Reached(0))

    async def _emit(self, event: Event) -> None:
        if isinstance(event, Partial) and self._events.qsize() >= DROPPING_EVENTS:
            self._metrics.partial_dropped()
            return
        await self._events.put(event)


class _Sound:
    """Blocks of any rate -> samples of each channel, or of all mixed, at `app.silero.RATE_HZ`."""

    def __init__(self, separate: bool) -> None:
        self._separate = separate
        self._mixer = Mixer()
        self._resampler = Resampler(RATE_HZ)

    def add(self, block: Block, channels: int) -> list[Samples]:
        """Samples that are ready, shape (samples, channels), float32."""
        if not self._separate:
            mixed = self._mixer.mono(block)
            block = Block(mixed.samples[:, np.newaxis], mixed.rate_hz)
        else:
            (block,) = with_channels(iter([block]), channels)
        return self._resampler.add(block.samples, block.rate_hz)

    def finish(self) -> list[Samples]:
        """The rest."""
        return self._resampler.finish()
