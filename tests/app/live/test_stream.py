import asyncio
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from app.errors import EngineFailure, InvalidAudio, UnsupportedMedia
from app.live.events import Event, Failed, Final, Partial, SpeechStarted, SpeechStopped, UtteranceEnd
from app.live.incoming import AnyContainer, RawAudio
from app.live.options import LiveOptions
from app.live.stream import LiveStream
from tests.app.live.streaming import RAW, events_of, listen, pieces, s16, silence, speech, streams
from tests.fakes import PATIENCE_S, FakeRecognizer
from tests.sounds import ENCODINGS


def test_the_end_of_speech_comes_before_its_final() -> None:
    events = events_of(pieces(s16(speech(1.5, 0.0))), LiveOptions(partials=False))
    assert [type(event) for event in events] == [SpeechStarted, SpeechStopped, Final] * 2
    for stopped, final in zip(events[1::3], events[2::3], strict=True):
        assert isinstance(stopped, SpeechStopped)
        assert isinstance(final, Final)
        assert (stopped.end_s, stopped.reason) == (final.end_s, final.reason)


def finals(events: list[Event]) -> list[Final]:
    return [event for event in events if isinstance(event, Final)]


def test_an_utterance_begins_has_partials_and_ends_with_its_final() -> None:
    events = events_of(pieces(s16(speech(2.0))), LiveOptions(utterance_end_s=1.0))
    kinds = [type(event) for event in events]
    assert kinds[0] is SpeechStarted
    assert kinds[-2:] == [Final, UtteranceEnd]
    (final,) = finals(events)
    assert final.reason == "endpoint"
    assert final.text
    assert set(final.text.split()) == {"dikte"}
    last = events[-1]
    assert isinstance(last, UtteranceEnd)
    assert last.last_word_end_s == final.words[-1].end_s


def test_each_utterance_has_one_final_and_no_audio_is_in_two() -> None:
    found = finals(events_of(pieces(s16(speech(1.5, 1.5, 0.0)))))
    assert [final.reason for final in found] == ["endpoint", "endpoint", "end_of_stream"]
    for before, after in pairwise(found):
        assert before.end_s <= after.start_s
    assert found[1].words[0].start_s > found[0].end_s


def test_without_partials_there_are_none() -> None:
    events = events_of(pieces(s16(speech(1.0))), LiveOptions(partials=False))
    assert not [event for event in events if isinstance(event, Partial)]
    assert finals(events)


def test_silence_has_no_events() -> None:
    assert events_of(pieces(s16(silence(3.0)))) == []


def test_nothing_at_all_has_no_events() -> None:
    assert events_of([]) == []
    assert events_of([b"\x01"]) == []


class TestFinalize:
    def test_it_ends_the_running_utterance(self) -> None:
        def then(stream: LiveStream) -> None:
            stream.finalize()
            stream.finish()

        found = finals(events_of(pieces(s16(speech(0.0))), then=then))
        assert [(final.reason, bool(final.text)) for final in found] == [("finalize", True)]

    def test_it_is_answered_where_nobody_speaks(self) -> None:
        def then(stream: LiveStream) -> None:
            stream.finalize()
            stream.finish()

        found = finals(events_of(pieces(s16(speech(1.5))), then=then))
        assert [(final.reason, bool(final.text)) for final in found] == [("endpoint", True), ("finalize", False)]

    def test_only_it_ends_utterances_without_endpointing(self) -> None:
        def then(stream: LiveStream) -> None:
            stream.finalize()
            stream.finish()

        found = finals(events_of(pieces(s16(speech(1.5, 1.5))), LiveOptions(endpointing_s=None), then=then))
        assert [final.reason for final in found] == ["finalize"]

    def test_cleared_speech_has_no_final(self) -> None:
        def then(stream: LiveStream) -> None:
            stream.clear()
            stream.finalize()
            stream.finish()

        found = finals(events_of(pieces(s16(speech(0.0))), then=then))
        assert [(final.reason, final.text) for final in found] == [("finalize", "")]


def test_a_long_utterance_is_cut_and_goes_on() -> None:
    found = finals(
        events_of(pieces(s16(speech(0.0, 0.0, 0.0, 0.0, name="sample.wav"))), LiveOptions(endpointing_s=2.0))
    )
    assert [final.reason for final in found] == ["max_length", "end_of_stream"]
    assert found[0].end_s == found[1].start_s
    assert found[0].end_s <= 20.1


class TestChannels:
    def stereo(self) -> bytes:
        left = speech(4.0)
        right = np.roll(left, 3 * 16_000)
        return s16(np.stack([left, right], axis=1).ravel())

    def test_each_has_events_of_its_own(self) -> None:
        events = events_of(pieces(self.stereo(), 4001), LiveOptions(separate=True), RawAudio("s16le", 16_000, 2))
        found = finals(events)
        assert sorted(final.channel for final in found) == [0, 1]
        first, second = sorted(found, key=lambda final: final.channel)
        assert second.start_s > first.end_s

    def test_they_are_mixed_otherwise(self) -> None:
        found = finals(events_of(pieces(self.stereo(), 4001), audio=RawAudio("s16le", 16_000, 2)))
        assert [final.channel for final in found] == [0, 0]


@pytest.mark.parametrize(
    "name", ["webm opus, live", "webm opus", "ogg opus", "wav s16", "flac 16", "mp3", "wav mu-law 8 kHz", "amr"]
)
def test_containers_are_read_as_they_arrive(name: str) -> None:
    data = ENCODINGS[name](speech(1.0), 16_000)
    events = events_of(pieces(data, 700), audio=AnyContainer())
    if name != "amr":  # that one is noise
        assert [bool(final.text) for final in finals(events)] == [True]


def test_a_container_gives_partials_before_it_ends() -> None:
    data = ENCODINGS["webm opus, live"](speech(0.5, 0.0), 16_000)

    async def run() -> None:
        async with streams() as (live, transcriber, _), live.open(transcriber, AnyContainer(), LiveOptions()) as stream:
            for piece in pieces(data[: len(data) * 2 // 3], 700):
                await stream.feed(piece)
            async with asyncio.timeout(PATIENCE_S):
                async for event in stream:
                    if isinstance(event, Final):
                        return

    asyncio.run(run())


@pytest.mark.parametrize(
    ("data", "audio", "error"),
    [
        ([b"this is no sound at all, but a text that somebody sent"], AnyContainer(), UnsupportedMedia),
        ([b"OggS" + bytes(500)], AnyContainer(), InvalidAudio),
        ([b"\x00\x00\xc0\x7f" * 100], RawAudio("f32le", 16_000), InvalidAudio),
    ],
)
def test_what_is_no_audio_ends_the_stream(data: list[bytes], audio: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        events_of(data, audio=audio)


def test_a_failing_engine_is_told_and_the_stream_goes_on() -> None:
    engine = FakeRecognizer(failure=RuntimeError("broken"))

    async def run() -> None:
        async with streams(engine) as (live, transcriber, _), live.open(transcriber, RAW, LiveOptions()) as stream:
            told: list[type] = []
            await stream.feed(s16(speech(1.5)))
            async with asyncio.timeout(PATIENCE_S):
                async for event in stream:
                    told.append(type(event))
                    if isinstance(event, Failed):
                        assert isinstance(event.error, EngineFailure)
                        engine.failure = None
                        await stream.feed(s16(speech(1.5)))
                        stream.finish()
        assert [kind for kind in told if kind is not Partial] == [
            *(SpeechStarted, SpeechStopped, Failed),
            *(SpeechStarted, SpeechStopped, Final),
        ]

    asyncio.run(run())


def test_a_stream_that_nobody_computes_takes_a_bounded_part_of_what_is_sent() -> None:
    async def run() -> int:
        engine = FakeRecognizer()
        engine.gate.clear()
        fed = 0
        async with streams(engine) as (live, transcriber, _):
            async with live.open(transcriber, RAW, LiveOptions()) as stream:
                with pytest.raises(TimeoutError):
                    async with asyncio.timeout(2.0):
                        while True:
                            await stream.feed(s16(speech(1.0)))
                            fed += 1
            engine.gate.set()
        return fed

    fed = asyncio.run(run())
    assert fed * len(s16(speech(1.0))) < 4 << 20


def test_a_listener_that_takes_no_events_holds_the_stream_up() -> None:
    async def run() -> int:
        fed = 0
        async with streams() as (live, transcriber, _), live.open(transcriber, RAW, LiveOptions()) as stream:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(3.0):
                    while True:
                        stream.finalize()
                        await stream.feed(bytes(20_000))
                        fed += 1
        return fed

    assert asyncio.run(run()) < 2000


def test_a_draining_service_gives_finals_to_running_utterances() -> None:
    async def run() -> None:
        async with streams() as (live, transcriber, _), live.open(transcriber, RAW, LiveOptions()) as stream:
            events = await listen(stream, pieces(s16(speech(0.0))), lambda stream: live.drain())
            assert [final.reason for final in finals(events)] == ["end_of_stream"]
            assert stream.stopping

    asyncio.run(run())
