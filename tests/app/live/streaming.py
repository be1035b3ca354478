"""Live streams on a fake recognizer, whose speech is that of the samples."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
import soundfile

from app.admission import Admission
from app.live.events import Event
from app.live.incoming import LiveAudio, RawAudio
from app.live.options import LiveLimits, LiveOptions
from app.live.stream import LiveStream
from app.live.streams import LiveStreams
from app.metrics import Metrics
from app.recognizer import AnyRecognizer, Samples
from app.scheduler import Scheduler
from app.transcriber import Transcriber
from tests.fakes import PATIENCE_S, FakeRecognizer, all_lanes

SAMPLES = Path(__file__).resolve().parents[3] / "samples"
RAW = RawAudio("s16le", 16_000)
LIMITS, OPTIONS = LiveLimits(), LiveOptions()


def speech(*pauses_s: float, name: str = "short.wav") -> Samples:
    """A clip of real speech, without its last pause, before each of the pauses, at 16 kHz."""
    clip = soundfile.read(SAMPLES / name, dtype="float32")[0]
    clip = clip[: np.flatnonzero(np.abs(clip) > 0.02)[-1]]  # up to the end of the last word
    return np.concatenate([part for pause_s in pauses_s for part in (clip, silence(pause_s))])


def silence(duration_s: float) -> Samples:
    return np.zeros(round(duration_s * 16_000), dtype=np.float32)


def s16(samples: Samples) -> bytes:
    return (samples * 32767).astype("<i2").tobytes()


def pieces(data: bytes, size: int = 3201) -> list[bytes]:
    """Of an odd length: samples are cut in half."""
    return [data[start : start + size] for start in range(0, len(data), size)]


@asynccontextmanager
async def streams(
    recognizer: AnyRecognizer | None = None,
    speed: Callable[[], float] = lambda: 1000.0,
    limits: LiveLimits = LIMITS,
    admission: Admission | None = None,
) -> AsyncIterator[tuple[LiveStreams, Transcriber, Metrics]]:
    metrics = Metrics()
    scheduler = Scheduler(workers=1)
    transcriber = Transcriber(all_lanes(recognizer or FakeRecognizer()), scheduler, limits=None)  # type: ignore[arg-type]
    admission = admission or Admission(100.0, lambda: 20.0, 4, speed=lambda: 1.0, wait_s=lambda s: 0.0)
    try:
        yield LiveStreams(admission, speed, limits, metrics.live), transcriber, metrics
    finally:
        await asyncio.to_thread(transcriber.close)


async def listen(stream: LiveStream, data: Iterable[bytes], then: Callable[[LiveStream], None]) -> list[Event]:
    """Feed a stream, do something at the end, and collect its events."""

    async def feed() -> None:
        for piece in data:
            await stream.feed(piece)
            await asyncio.sleep(0)
        then(stream)

    feeding = asyncio.create_task(feed())
    try:
        async with asyncio.timeout(PATIENCE_S):
            return [event async for event in stream]
    finally:
        feeding.cancel()


def events_of(
    data: Sequence[bytes],
    options: LiveOptions = OPTIONS,
    audio: LiveAudio = RAW,
    recognizer: AnyRecognizer | None = None,
    then: Callable[[LiveStream], None] = lambda stream: stream.finish(),
) -> list[Event]:
    """The events of a stream that gets these bytes and ends."""

    async def run() -> list[Event]:
        async with streams(recognizer) as (live, transcriber, _), live.open(transcriber, audio, options) as stream:
            return await listen(stream, data, then)

    return asyncio.run(run())
