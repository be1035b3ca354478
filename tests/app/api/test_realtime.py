"""OpenAI's Realtime API, by its events: utterances, failures, and clients that misbehave."""

import asyncio
import base64
import json
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest

from app.recognizer import Samples
from app.service import Service
from tests.app.api.live_sockets import Messages, Socket, nothing_left
from tests.app.live.streaming import pieces, s16, silence, speech
from tests.conftest import Client, ServiceFactory
from tests.fakes import FakeRecognizer

REALTIME = "/v1/realtime"
AT_16_KHZ = {"format": {"type": "audio/pcm", "rate": 16_000}}
BUFFER, TEXT = "input_audio_buffer", "conversation.item.input_audio_transcription"


def event(kind: str, **fields: Any) -> dict[str, Any]:
    return {"text": json.dumps({"type": kind, **fields})}


def update(**given: Any) -> dict[str, Any]:
    return event("session.update", session={"type": "transcription", "audio": {"input": {**AT_16_KHZ, **given}}})


def append(data: bytes) -> dict[str, Any]:
    return event(f"{BUFFER}.append", audio=base64.b64encode(data).decode())


def spoken(samples: Samples) -> Messages:
    return [append(piece) for piece in pieces(s16(samples))]


COMMIT = event(f"{BUFFER}.commit")
UTTERANCE = spoken(speech(1.5))


@pytest.fixture(autouse=True)
def _nothing_is_left(client: Client) -> Iterator[None]:
    with nothing_left(client):
        yield


def talk(client: Client, script: Callable[[Socket], Awaitable[None]], **options: Any) -> Socket:
    """A conversation that follows a script and ends when the client leaves."""
    socket = Socket(client, REALTIME, **options)

    async def run() -> None:
        running = asyncio.create_task(socket.run())
        try:
            await script(socket)
        finally:
            socket.leave()
            await running

    client.portal.call(run)
    return socket


def kinds(socket: Socket) -> list[str]:
    return [message["type"] for message in socket.messages]


def of_type(socket: Socket, kind: str) -> Messages:
    return [message for message in socket.messages if message["type"] == kind]


def test_the_end_of_speech_is_told_before_the_text_is_computed(client: Client, engine: FakeRecognizer) -> None:
    async def script(socket: Socket) -> None:
        engine.gate.clear()
        socket.put(update(), *UTTERANCE)
        try:
            stopped = await socket.until(f"{BUFFER}.speech_stopped")
            committed = await socket.until(f"{BUFFER}.committed")
            await socket.until("conversation.item.done")
            assert f"{TEXT}.completed" not in kinds(socket)
        finally:
            engine.gate.set()
        done = await socket.until(f"{TEXT}.completed")
        assert stopped["item_id"] == committed["item_id"] == done["item_id"]
        assert set(done["transcript"].split()) == {"dikte"}
        assert kinds(socket).count(f"{BUFFER}.speech_stopped") == kinds(socket).count(f"{BUFFER}.committed") == 1

    talk(client, script)


def test_a_failing_engine_fails_an_item_and_the_session_goes_on(client: Client, engine: FakeRecognizer) -> None:
    async def script(socket: Socket) -> None:
        engine.failure = RuntimeError("secret")
        socket.put(update(), *UTTERANCE)
        failed = await socket.until(f"{TEXT}.failed")
        assert failed["error"]["code"] == "engine_failure"
        assert "secret" not in json.dumps(failed)
        engine.failure = None
        socket.put(*UTTERANCE)
        done = await socket.until(f"{TEXT}.completed")
        assert done["item_id"] != failed["item_id"]
        assert [item["item_id"] for item in of_type(socket, f"{BUFFER}.committed")] == [
            failed["item_id"],
            done["item_id"],
        ]
        assert "error" not in kinds(socket)

    talk(client, script)


def test_an_item_fails_once_however_many_parts_it_has(
    client: Client, engine: FakeRecognizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    compute = engine.emissions

    def only_short(clips: Any) -> Any:
        if any(len(clip) > 8 * 16_000 for clip in clips):
            raise RuntimeError("too long")
        return compute(clips)

    monkeypatch.setattr(engine, "emissions", only_short)

    async def script(socket: Socket) -> None:
        socket.put(update(turn_detection=None), *spoken(speech(0, 0, 0, 0, name="sample.wav")), COMMIT)
        failed = await socket.until(f"{TEXT}.failed")
        socket.put(*UTTERANCE, COMMIT)
        done = await socket.until(f"{TEXT}.completed")
        assert done["item_id"] != failed["item_id"]
        assert kinds(socket).count(f"{TEXT}.failed") == kinds(socket).count(f"{TEXT}.completed") == 1

    talk(client, script)


def test_keywords_are_in_the_texts(client: Client) -> None:
    async def script(socket: Socket) -> None:
        socket.put(update(transcription={"keywords": ["DikTe"]}), *UTTERANCE)
        session = (await socket.until("session.updated"))["session"]
        assert session["audio"]["input"]["transcription"]["keywords"] == ["DikTe"]
        assert set((await socket.until(f"{TEXT}.completed"))["transcript"].split()) == {"DikTe"}

    talk(client, script)


class TestHostileClients:
    def test_nothing_for_too_long(self, serve: ServiceFactory) -> None:
        with serve(live_session_idle_s=0.05) as client:
            socket = Socket(client, REALTIME)
            client.portal.call(socket.run, [UTTERANCE[0]])
            assert socket.messages[-1]["error"]["code"] == "request_timeout"
            assert socket.closed == (1008, "request_timeout")

    def test_leaving_in_the_middle(self, client: Client) -> None:
        socket = Socket(client, REALTIME)
        client.portal.call(socket.run, [update(), *UTTERANCE], True)

    def test_leaving_while_the_engine_computes(self, client: Client, engine: FakeRecognizer) -> None:
        async def script(socket: Socket) -> None:
            engine.gate.clear()
            socket.put(update(), *UTTERANCE)
            await socket.until(f"{BUFFER}.speech_stopped")

        try:
            talk(client, script)
        finally:
            engine.gate.set()

    def test_never_reading(self, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("app.api.live_conversation.SEND_S", 0.05)

        async def script(socket: Socket) -> None:
            await socket.until("session.created")
            socket.reads = False
            socket.put(update(), *UTTERANCE)

        talk(client, script)

    def test_never_reading_the_first_event(self, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("app.api.live_conversation.SEND_S", 0.05)
        socket = Socket(client, REALTIME)
        socket.reads = False
        client.portal.call(socket.run, [], True)

    def test_much_faster_than_speech(self, client: Client) -> None:
        minute = s16(speech(*[1.5] * 20))

        async def script(socket: Socket) -> None:
            socket.put(update(), append(minute), COMMIT)
            while kinds(socket).count(f"{TEXT}.completed") < 21:
                await asyncio.sleep(0.01)
            assert "error" not in kinds(socket)

        talk(client, script)

    def test_samples_cut_in_half(self, client: Client) -> None:
        data = s16(speech(1.5))

        async def script(socket: Socket) -> None:
            socket.put(update(), *(append(piece) for piece in pieces(data, 333)))
            assert (await socket.until(f"{TEXT}.completed"))["transcript"]
            assert "error" not in kinds(socket)

        talk(client, script)

    @pytest.mark.parametrize(
        "message",
        [
            {"text": "hello"},
            {"text": "[" * 100_000},
            {"text": "[]"},
            {"text": "null"},
            {"text": '{"type": ["list"]}'},
            {"text": '{"type": "response.create"}'},
            {"bytes": b"\x00" * 640},
            event(f"{BUFFER}.append", audio="???"),
            event(f"{BUFFER}.append", audio=3),
            event(f"{BUFFER}.append"),
            event("session.update"),
            event("session.update", session="much"),
            event(f"{BUFFER}.commit"),
            update(transcription={"keywords": ["!?"]}),
            update(transcription={"keywords": ["Zeynep"]}),
            update(format={"type": "audio/mp3"}),
        ],
        ids=str,
    )
    def test_what_is_wrong_is_told_and_the_session_goes_on(self, client: Client, message: dict[str, Any]) -> None:
        async def script(socket: Socket) -> None:
            socket.put(message)
            assert (await socket.until("error"))["error"]["type"] == "invalid_request_error"
            socket.put(update(), *UTTERANCE)
            await socket.until(f"{TEXT}.completed")
            assert kinds(socket).count("error") == 1

        talk(client, script)

    def test_pages_of_other_origins(self, client: Client) -> None:
        socket = Socket(client, REALTIME, headers={"host": "dikte", "origin": "https://example.org"})
        client.portal.call(socket.run)
        start, body = socket.sent
        assert start["status"] == 403
        assert json.loads(body["body"])["error"]["code"] == "foreign_origin"

    def test_other_intents(self, client: Client) -> None:
        socket = Socket(client, REALTIME, "intent=conversation")
        client.portal.call(socket.run)
        assert socket.sent[0]["status"] == 400


@pytest.mark.parametrize(
    "options",
    [{"headers": {"openai-beta": "realtime=v1"}}, {"protocols": ("realtime", "openai-beta.realtime-v1")}, {}],
    ids=["header", "subprotocol", "by its event"],
)
def test_the_beta_has_its_own_names(client: Client, options: dict[str, Any]) -> None:
    async def script(socket: Socket) -> None:
        session = {
            "input_audio_format": "g711_ulaw",
            "input_audio_transcription": {"model": "gpt-4o-transcribe"},
            "turn_detection": {"type": "server_vad", "silence_duration_ms": 400},
        }
        socket.put(event("transcription_session.update", session=session))
        updated = (await socket.until("transcription_session.updated"))["session"]
        assert updated["input_audio_format"] == "g711_ulaw"
        assert updated["turn_detection"]["silence_duration_ms"] == 400
        socket.put(append(b"\x00\xff" * 4000), COMMIT)
        created = await socket.until("conversation.item.created")
        assert (await socket.until(f"{TEXT}.completed"))["item_id"] == created["item"]["id"]
        assert "conversation.item.added" not in kinds(socket)

    socket = talk(client, script, **options)
    assert kinds(socket)[0] == ("transcription_session.created" if options else "session.created")


def test_a_stopping_service_completes_the_running_utterance(client: Client) -> None:
    service: Service = client.app.state.service
    socket = Socket(client, REALTIME)

    async def run() -> None:
        running = asyncio.create_task(socket.run([update(), *spoken(speech(0.0))]))
        await socket.until(f"{BUFFER}.speech_started")
        service.drain()
        await running

    client.portal.call(run)
    (done,) = of_type(socket, f"{TEXT}.completed")
    assert done["transcript"]
    assert socket.closed[0] == 1012


def test_silence_is_no_utterance(client: Client) -> None:
    async def script(socket: Socket) -> None:
        socket.put(update(), *spoken(silence(3.0)), event(f"{BUFFER}.clear"))
        await socket.until(f"{BUFFER}.cleared")

    assert kinds(talk(client, script)) == ["session.created", "session.updated", f"{BUFFER}.cleared"]
