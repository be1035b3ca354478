"""Computes the words of a piece of audio for a live stream."""

import asyncio
import time
from contextlib import aclosing
from dataclasses import replace

from app.models import Lanes
from app.recognizer import Options, Samples
from app.scheduler import Scheduler
from app.transcript import Segment, Word


class LiveEngine:
    """One model, as live streams use it."""

    def __init__(self, lanes: Lanes, scheduler: Scheduler, options: Options) -> None:
        self._lanes = lanes
        self._scheduler = scheduler
        self.set_options(options)

    def set_options(self, options: Options) -> None:
        """Change what is asked of the model, for what is computed from here on."""
        self._final_options = replace(options, word_times=True, segment_times=True)
        self._draft_options = replace(options, temperatures=options.temperatures[:1], beam_size=1)

    async def final(self, samples: Samples, start_s: float) -> tuple[Segment, ...]:
        """The segments of an utterance, shape (samples,), float32, before all other work that waits.

        start_s: where the utterance starts. Raises the errors of `app.scheduler.Scheduler.compute`.
        """
        return await self._segments(samples, start_s, self._final_options, draft=False)

    async def draft(self, samples: Samples, start_s: float) -> tuple[tuple[Word, ...], float]:
        """The words so far, when nothing more urgent has to be computed, and how long that took, in seconds."""
        begin = time.monotonic()
        segments = await self._segments(samples, start_s, self._draft_options, draft=True)
        return tuple(word for segment in segments for word in segment.words), time.monotonic() - begin

    async def _segments(self, samples: Samples, start_s: float, options: Options, draft: bool) -> tuple[Segment, ...]:
        recognizer = self._lanes.express
        windows = recognizer.windows(samples, options)
        decoder = recognizer.decoder(options)
        found: list[Segment] = []
        outputs = self._scheduler.compute(self._lanes, windows, options, first=not draft, draft=draft)
        async with aclosing(outputs):
            index = 0
            async for output in outputs:
                found += await asyncio.to_thread(decoder.add, windows[index], output)
                index += 1
        found += await asyncio.to_thread(decoder.finish)
        return tuple(shifted(segment, start_s) for segment in found)


def shifted(segment: Segment, start_s: float) -> Segment:
    """The segment, as that of a stream in which its clip starts at `start_s`; always with words."""
    words = segment.words or spread(segment)
    words = tuple(replace(word, start_s=word.start_s + start_s, end_s=word.end_s + start_s) for word in words)
    return replace(segment, words=words, start_s=segment.start_s + start_s, end_s=segment.end_s + start_s)


def spread(segment: Segment) -> tuple[Word, ...]:
    """The words of a segment without word times, each with a share of its time by its letters."""
    texts = segment.text.split()
    letters = sum(map(len, texts))
    words = []
    start_s = segment.start_s
    for text in texts:
        end_s = start_s + (segment.end_s - segment.start_s) * len(text) / letters
        words.append(Word(text, start_s, end_s, segment.confidence))
        start_s = end_s
    return tuple(words)
