"""One channel of a live stream: its utterances, their partials and their finals, in order."""

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable

from app.errors import EngineFailure
from app.live.agreement import Agreement, contradicted
from app.live.engine import LiveEngine
from app.live.events import Event, Failed, Final, Partial, Reached, SpeechStarted, SpeechStopped, UtteranceEnd
from app.live.options import LiveLimits, LiveOptions
from app.live.utterances import Cutter, Started, Utterance
from app.metrics import LiveMetrics
from app.recognizer import Samples
from app.silero import RATE_HZ

PARTIAL_S = 6.0
"""Partials are computed from the last seconds of an utterance."""
CONTEXT_S = 1.0
"""Audio before the first word that is not committed, which the model hears again."""
MAX_HOP_S = 3.0
"""Under load, partials come so rarely at most."""
HOP_FACTOR = 2.0
"""The next partial waits for so many times the time that the last one took."""
FIRST_PARTIAL_S = 0.35
"""Least audio of an utterance, with what comes before its speech, for a partial."""
MAX_WAITING = 4
"""Utterances whose finals wait; a stream that arrives faster than it is computed waits for them."""


class Channel:
    """Takes samples (`add`) and gives events (`emit`); `run` computes until `end` was called."""

    def __init__(
        self,
        number: int,
        engine: LiveEngine,
        longest: int,
        options: LiveOptions,
        limits: LiveLimits,
        metrics: LiveMetrics,
        emit: Callable[[Event], Awaitable[None]],
    ) -> None:
        self.number = number
        self._engine = engine
        self._options = options
        self._limits = limits
        self._metrics = metrics
        self._emit = emit
        self.cutter = Cutter(longest, options.endpointing_s)
        self._todo: deque[tuple[Started | Utterance | Final | UtteranceEnd | Reached, float]] = deque()
        self._changed = asyncio.Event()
        self._space = asyncio.Event()
        self._ended = False
        self._agreement = Agreement()
        self._drafted = 0  # sample up to which the last partial was computed
        self._hop_s = limits.hop_s
        self._busy = False
        self._last_word_end_s: float | None = None

    async def add(self, samples: Samples) -> None:
        """Take the next samples, shape (samples,), float32, at `app.silero.RATE_HZ`; waits while finals are behind."""
        while len(self._todo) >= MAX_WAITING:
            self._space.clear()
            await self._space.wait()
        found = self.cutter.add(samples)
        now = time.monotonic()
        for item in found:
            late_s = (self.cutter.position - item.voice_end) / RATE_HZ if isinstance(item, Utterance) else 0.0
            self._todo.append((item, now - late_s))
        self._look_for_end()
        if found or self._draft_is_due():
            self._changed.set()

    def finalize(self) -> None:
        """End the running utterance now; there is a final in any case."""
        end = self.cutter.position
        utterance = self.cutter.finish("finalize")
        nothing = Final(self.number, end / RATE_HZ, end / RATE_HZ, (), "finalize")
        self._todo.append((utterance or nothing, time.monotonic()))
        self._changed.set()

    async def mark(self) -> None:
        """Tell when everything up to here is done; a partial that is being computed is not waited for."""
        if self._busy or self._todo:
            self._todo.append((Reached(self.number), time.monotonic()))
            self._changed.set()
        else:
            await self._emit(Reached(self.number))

    def clear(self) -> None:
        """Forget the running utterance."""
        self.cutter.clear()
        self._agreement = Agreement()
        self._drafted = self.cutter.position

    def end(self) -> None:
        """There are no more samples; the running utterance gets its final."""
        utterance = self.cutter.finish("end_of_stream")
        if utterance is not None:
            self._todo.append((utterance, time.monotonic()))
        self._ended = True
        self._changed.set()

    async def run(self) -> None:
        """Compute partials and finals. Raises NotReady if the service stops computing."""
        while True:
            if self._todo:
                self._busy = True
                await self._do(*self._todo.popleft())
                self._busy = False
                self._space.set()
                self._look_for_end()
            elif self._ended:
                return
            elif (start := self.cutter.start) is not None and self._draft_is_due():
                await self._draft(start)
            else:
                self._changed.clear()
                await self._changed.wait()

    async def _do(self, item: Started | Utterance | Final | UtteranceEnd | Reached, since: float) -> None:
        match item:
            case Started():
                self._last_word_end_s = None
                await self._emit(SpeechStarted(self.number, item.start / RATE_HZ))
            case Utterance():
                await self._finish(item, since)
            case Final() | UtteranceEnd() | Reached():
                await self._emit(item)

    async def _finish(self, utterance: Utterance, since: float) -> None:
        start_s, end_s = utterance.start / RATE_HZ, utterance.end / RATE_HZ
        if utterance.reason != "max_length":
            await self._emit(SpeechStopped(self.number, end_s, utterance.reason))
        committed, self._agreement = self._agreement.committed, Agreement()
        self._drafted = utterance.end
        try:
            segments = await self._engine.final(utterance.samples, start_s)
        except EngineFailure as error:
            await self._emit(Failed(self.number, start_s, end_s, utterance.reason, error))
            return
        final = Final(self.number, start_s, end_s, segments, utterance.reason)
        self._metrics.final(time.monotonic() - since, len(committed), contradicted(committed, final.words))
        if final.words:
            self._last_word_end_s = final.words[-1].end_s
        await self._emit(final)

    def _look_for_end(self) -> None:
        """Report the end of an utterance once nobody has spoken for long enough."""
        if self._last_word_end_s is None or self._options.utterance_end_s is None or self._busy or self._todo:
            return
        silent_s = self.cutter.position / RATE_HZ - self._last_word_end_s
        if self.cutter.start is None and silent_s >= self._options.utterance_end_s:
            self._todo.append((UtteranceEnd(self.number, self._last_word_end_s), time.monotonic()))
            self._last_word_end_s = None
            self._changed.set()

    def _draft_is_due(self) -> bool:
        if not self._options.partials or self.cutter.start is None or self._todo:
            return False
        new_s = (self.cutter.position - max(self._drafted, self.cutter.start)) / RATE_HZ
        return new_s >= (self._hop_s if self._drafted > self.cutter.start else FIRST_PARTIAL_S)

    async def _draft(self, start: int) -> None:
        """Compute a partial of the utterance that starts there, unless something more urgent comes meanwhile."""
        edge = self.cutter.position
        first = max(start, edge - round(PARTIAL_S * RATE_HZ))
        committed_end_s = self._agreement.committed_end_s
        if committed_end_s is not None:
            first = max(first, round((committed_end_s - CONTEXT_S) * RATE_HZ))
        self._drafted = edge
        drafting = asyncio.ensure_future(self._engine.draft(self.cutter.running(first), first / RATE_HZ))
        try:
            while not drafting.done() and not self._todo and not self._ended:
                self._changed.clear()
                changed = asyncio.ensure_future(self._changed.wait())
                try:
                    await asyncio.wait((drafting, changed), return_when=asyncio.FIRST_COMPLETED)
                finally:
                    changed.cancel()
            if not drafting.done() or self.cutter.start != start:
                self._metrics.partial_dropped()
                return
            words, took_s = drafting.result()
        except EngineFailure:  # the final tells it, if it fails too
            self._metrics.partial_dropped()
            return
        finally:
            drafting.cancel()
            await asyncio.gather(drafting, return_exceptions=True)
        self._hop_s = min(max(self._limits.hop_s, HOP_FACTOR * took_s), MAX_HOP_S)
        before = first / RATE_HZ if first > start else start / RATE_HZ - 1
        volatile = self._agreement.update(words, before, edge / RATE_HZ)
        self._metrics.partial_computed()
        if self._agreement.committed or volatile:
            partial = Partial(self.number, start / RATE_HZ, edge / RATE_HZ, self._agreement.committed, volatile)
            await self._emit(partial)
