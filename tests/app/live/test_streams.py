import asyncio
import re
from contextlib import AsyncExitStack

import pytest

from app.admission import Admission
from app.errors import InvalidParameter, NotReady, Overloaded
from app.live.incoming import RawAudio
from app.live.options import LiveLimits, LiveOptions
from app.recognizer import Options
from tests.app.live.streaming import RAW, listen, pieces, s16, speech, streams


def opened(count: int, *, speed: float = 1000.0, max_streams: int = 64) -> int:
    """How many of so many streams are opened."""

    async def run() -> int:
        async with (
            streams(speed=lambda: speed, limits=LiveLimits(max_streams=max_streams)) as (live, transcriber, _),
            AsyncExitStack() as stack,
        ):
            try:
                for _ in range(count):
                    await stack.enter_async_context(live.open(transcriber, RAW, LiveOptions()))
            except Overloaded as error:
                assert error.retry_after_s
            return len(live)

    return asyncio.run(run())


def test_no_more_than_allowed() -> None:
    assert opened(3, max_streams=2) == 2


def test_no_more_than_there_is_power_for_but_always_one() -> None:
    assert opened(3, speed=1.0) == 1
    assert 1 < opened(20, speed=20.0) < 20


def test_a_closed_one_frees_its_place() -> None:
    async def run() -> None:
        async with streams(limits=LiveLimits(max_streams=1)) as (live, transcriber, _):
            for _ in range(2):
                async with live.open(transcriber, RAW, LiveOptions()):
                    pass
            assert len(live) == 0

    asyncio.run(run())


def test_a_stopping_service_opens_none() -> None:
    async def run() -> None:
        admission = Admission(100.0, lambda: 20.0, 4, speed=lambda: 1.0, wait_s=lambda s: 0.0)
        admission.close()
        async with streams(admission=admission) as (live, transcriber, _):
            with pytest.raises(NotReady):
                async with live.open(transcriber, RAW, LiveOptions()):
                    pass

    asyncio.run(run())


@pytest.mark.parametrize(
    ("audio", "options"),
    [(RawAudio("s16le", 16_000, 9), LiveOptions()), (RAW, LiveOptions(recognition=Options(task="translate")))],
)
def test_what_cannot_be_honored_is_refused(audio: RawAudio, options: LiveOptions) -> None:
    async def run() -> None:
        async with streams() as (live, transcriber, _), live.open(transcriber, audio, options):
            pass

    with pytest.raises(InvalidParameter):
        asyncio.run(run())


def test_it_is_measured() -> None:
    async def run() -> str:
        async with streams() as (live, transcriber, metrics):
            async with live.open(transcriber, RAW, LiveOptions()) as stream:
                assert "dikte_live_streams 1.0" in metrics.exposition()[0].decode()
                await listen(stream, pieces(s16(speech(1.0))), lambda stream: stream.finish())
            return metrics.exposition()[0].decode()

    text = asyncio.run(run())
    assert "dikte_live_streams 0.0" in text
    assert "dikte_live_final_delay_seconds_count 1.0" in text
    partials = [float(count) for count in re.findall(r'dikte_live_partials_total\{outcome="\w+"\} (\S+)', text)]
    assert len(partials) == 2
    assert sum(partials) > 0, "computed or, if the final was faster, dropped"
    duration_s = float(text.split("dikte_live_audio_seconds_total ")[-1].split()[0])
    assert duration_s == pytest.approx(len(speech(1.0)) / 16_000, abs=0.01)
