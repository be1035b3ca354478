"""vosk-server's WebSocket: one answer to each message."""

import asyncio
import json
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from tests.app.api.live_sockets import Messages, Socket, nothing_left
from tests.app.api.test_outcomes import outcomes
from tests.app.live.streaming import pieces, s16, silence, speech
from tests.conftest import Client, ServiceFactory
from tests.fakes import FakeRecognizer

VOSK = "/vosk"
END, RESET = {"text": '{"eof" : 1}'}, {"text": '{"reset" : 1}'}
AT_16_KHZ = {"text": '{ "config" : { "sample_rate" : 16000 } }'}


@pytest.fixture(autouse=True)
def _nothing_is_left(client: Client) -> Iterator[None]:
    with nothing_left(client):
        yield


def config(**given: Any) -> dict[str, Any]:
    return {"text": json.dumps({"config": {"sample_rate": 16_000, **given}})}


def audio(*pauses_s: float, size: int = 6400) -> Messages:
    """Speech with pauses after it, in messages of 0.2 s, as vosk-server's test client has them."""
    return [{"bytes": piece} for piece in pieces(s16(speech(*pauses_s)), size)]


def talk(client: Client, incoming: Sequence[dict[str, Any]], leaves: bool = False) -> Socket:
    socket = Socket(client, VOSK)
    client.portal.call(socket.run, incoming, leaves)
    return socket


def texts(socket: Socket) -> list[str]:
    return [message["text"] for message in socket.messages if "text" in message]


def test_each_message_has_one_answer(client: Client) -> None:
    sound = audio(1.5, 0.3)
    socket = talk(client, [AT_16_KHZ, *sound, END])
    assert len(socket.messages) == len(sound) + 1
    assert all(message.keys() in ({"partial"}, {"result", "text"}) for message in socket.messages)
    first, last = texts(socket)
    assert set(first.split()) == set(last.split()) == {"dikte"}
    assert socket.messages[-1]["text"] == last
    assert socket.closed == (1000, "")
    assert outcomes(client) == {"ok": 1}


def test_the_text_is_in_the_answer_to_the_audio_that_ends_the_utterance(client: Client) -> None:
    sound = audio(1.5)
    socket = Socket(client, VOSK)

    async def run() -> int:
        running = asyncio.create_task(socket.run([AT_16_KHZ]))
        for number, message in enumerate(sound, 1):
            socket.put(message)
            while len(socket.messages) < number:
                await asyncio.sleep(0.001)
            if "text" in socket.messages[-1]:
                break
        socket.put(END)
        await running
        return number

    number = client.portal.call(run)
    pause_s = number * 0.2 - len(speech(0.0)) / 16_000
    assert 0.4 < pause_s < 1.0
    assert texts(socket)[1:] == [""]


def test_words_have_times_and_confidence(client: Client) -> None:
    socket = talk(client, [AT_16_KHZ, *audio(0.0), END])
    for word in socket.messages[-1]["result"]:
        assert set(word) == {"conf", "start", "end", "word"}
        assert 0 <= word["start"] < word["end"]
        assert 0 < word["conf"] <= 1


def test_it_is_telephone_audio_unless_the_client_says_otherwise(client: Client) -> None:
    narrow = s16(speech(0.0)[::2])
    assert texts(talk(client, [{"bytes": narrow}, END]))[-1]


def test_what_is_asked_for_comes(client: Client) -> None:
    socket = talk(client, [config(words=False, phrase_list=["DikTe", "[unk]", "Zeynep"]), *audio(0.0), END])
    assert set(socket.messages[-1]["text"].split()) == {"DikTe"}
    assert "result" not in socket.messages[-1]
    (alternative,) = talk(client, [config(max_alternatives=3), *audio(0.0), END]).messages[-1]["alternatives"]
    assert alternative["confidence"] > 0
    assert alternative["text"]


def test_reset_ends_an_utterance(client: Client) -> None:
    sound = audio(0.0)
    socket = talk(client, [AT_16_KHZ, *sound, RESET, RESET, END])
    assert [bool(text) for text in texts(socket)] == [True, False, False]
    assert len(socket.messages) == len(sound) + 3


def test_silence_has_empty_answers(client: Client) -> None:
    socket = talk(client, [AT_16_KHZ, {"bytes": s16(silence(2.0))}, {"bytes": b""}, END])
    assert socket.messages == [{"partial": ""}, {"partial": ""}, {"text": ""}]


class TestHostileClients:
    @pytest.mark.parametrize(
        "text",
        [
            "hello",
            "[]",
            "3",
            "{}",
            "[" * 100_000,
            '{"config": 3}',
            '{"config": {"sample_rate": 1}}',
            '{"config": {"sample_rate": "much"}}',
            '{"config": {"phrase_list": ["!"]}}',
        ],
    )
    def test_what_is_wrong_ends_it(self, client: Client, text: str) -> None:
        assert talk(client, [{"text": text}]).closed[0] == 1008

    def test_samples_cut_in_half(self, client: Client) -> None:
        assert set(texts(talk(client, [AT_16_KHZ, *audio(0.0, size=333), END]))[-1].split()) == {"dikte"}

    def test_leaving_in_the_middle(self, client: Client) -> None:
        talk(client, [AT_16_KHZ, *audio(0.0)], leaves=True)

    def test_nothing_for_too_long(self, serve: ServiceFactory) -> None:
        with serve(live_idle_s=0.05) as client:
            assert talk(client, [AT_16_KHZ]).closed[0] == 1011

    def test_never_reading(self, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("app.api.live_conversation.SEND_S", 0.05)
        socket = Socket(client, VOSK)
        socket.reads = False
        client.portal.call(socket.run, [AT_16_KHZ, *audio(1.0)])

    def test_a_failing_engine(self, client: Client, engine: FakeRecognizer) -> None:
        engine.failure = RuntimeError("secret")
        assert talk(client, [AT_16_KHZ, *audio(1.0), END]).closed == (1011, "engine_failure")

    def test_pages_of_other_origins(self, client: Client) -> None:
        socket = Socket(client, VOSK, headers={"host": "dikte", "origin": "https://example.org"})
        client.portal.call(socket.run)
        assert socket.sent[0]["status"] == 403


def test_a_stopping_service_sends_the_last_text(client: Client) -> None:
    socket = Socket(client, VOSK)
    sound = audio(0.0)

    async def run() -> None:
        running = asyncio.create_task(socket.run([AT_16_KHZ, *sound]))
        while len(socket.messages) < len(sound):
            await asyncio.sleep(0.001)
        client.app.state.service.drain()
        await running

    client.portal.call(run)
    assert texts(socket)[-1]
    assert socket.closed[0] == 1012
