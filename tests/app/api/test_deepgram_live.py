"""Deepgram's WebSocket, by its messages."""

import asyncio
import json
from typing import Any

import pytest

from app.api.deepgram_bodies import to_message
from app.live.events import Final, Partial
from app.transcript import Word
from tests.app.api.test_outcomes import outcomes
from tests.app.live.streaming import pieces, s16, speech
from tests.conftest import Client, ServiceFactory
from tests.fakes import PATIENCE_S

Messages = list[dict[str, Any]]
LINEAR = "encoding=linear16&sample_rate=16000"
END = {"text": json.dumps({"type": "CloseStream"})}
SPEECH = [{"bytes": piece} for piece in pieces(s16(speech(1.0)))]


class Socket:
    """A WebSocket by hand. sent: what the service sent, each as an ASGI message."""

    def __init__(self, client: Client, query: str, headers: dict[str, str], protocols: tuple[str, ...]) -> None:
        self._client = client
        self._headers = [(name.encode(), value.encode()) for name, value in headers.items()]
        if protocols:
            self._headers.append((b"sec-websocket-protocol", ", ".join(protocols).encode()))
        self._scope = {
            "type": "websocket", "asgi": {"version": "3.0"}, "http_version": "1.1", "scheme": "ws",
            "path": "/v1/listen", "raw_path": b"/v1/listen", "query_string": query.encode(), "root_path": "",
            "headers": self._headers, "client": ("127.0.0.1", 1), "server": ("dikte", 80),
            "subprotocols": list(protocols), "extensions": {"websocket.http.response": {}},
        }  # fmt: skip
        self.sent: Messages = []
        self.reads = True

    async def run(self, incoming: Messages, leaves: bool) -> None:
        waiting: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        waiting.put_nowait({"type": "websocket.connect"})
        for message in incoming:
            waiting.put_nowait({"type": "websocket.receive"} | message)
        if leaves:
            waiting.put_nowait({"type": "websocket.disconnect", "code": 1006})

        async def send(message: Any) -> None:
            self.sent.append(message)
            if not self.reads:
                await asyncio.Event().wait()

        async with asyncio.timeout(PATIENCE_S):
            await self._client.app(self._scope, waiting.get, send)

    @property
    def messages(self) -> Messages:
        return [json.loads(message["text"]) for message in self.sent if message["type"] == "websocket.send"]

    @property
    def closed(self) -> tuple[int, str]:
        assert self.sent[-1]["type"] == "websocket.close", self.sent[-1]
        return self.sent[-1]["code"], self.sent[-1]["reason"]


def talk(
    client: Client,
    incoming: Messages,
    query: str = LINEAR,
    headers: dict[str, str] | None = None,
    protocols: tuple[str, ...] = (),
    leaves: bool = False,
) -> Socket:
    """A conversation in which the client sends all of this."""
    socket = Socket(client, query, headers or {}, protocols)
    client.portal.call(socket.run, incoming, leaves)
    return socket


def texts(socket: Socket, **fields: Any) -> list[str]:
    """The transcripts of the results with these fields."""
    return [
        message["channel"]["alternatives"][0]["transcript"]
        for message in socket.messages
        if message["type"] == "Results" and fields.items() <= message.items()
    ]


def test_a_stream_has_results_metadata_and_a_normal_end(client: Client) -> None:
    socket = talk(client, [*SPEECH, END])
    (text,) = texts(socket, is_final=True)
    assert set(text.split()) == {"dikte"}
    *_, metadata = socket.messages
    assert metadata["type"] == "Metadata"
    assert metadata["duration"] == pytest.approx(len(s16(speech(1.0))) / 32_000, abs=0.01)
    assert metadata["channels"] == 1
    assert len(metadata["sha256"]) == 64
    assert socket.closed == (1000, "")
    assert outcomes(client) == {"ok": 1}
    assert texts(socket, is_final=False) == []
    assert "SpeechStarted" not in [message["type"] for message in socket.messages]


def test_interim_results_say_how_many_words_are_committed() -> None:
    words = tuple(Word(text, start, start + 0.4, 0.9) for start, text in enumerate(("bir", "iki", "üç")))
    partial = to_message(Partial(0, 0.0, 3.0, words[:2], words[2:]), 1, {}, speech_final=True)
    assert partial["committed_words"] == 2
    assert partial["channel"]["alternatives"][0]["transcript"] == "bir iki üç"
    final = to_message(Final(0, 0.0, 3.0, (), "endpoint"), 1, {}, speech_final=True)
    assert "committed_words" not in final


@pytest.mark.parametrize("keywords", ["keyterm=DikTe&keyterm=Ket", "keywords=DikTe:2"])
def test_keywords_are_in_final_and_in_interim_texts(client: Client, keywords: str) -> None:
    socket = talk(client, [*SPEECH, END], f"{LINEAR}&interim_results=true&{keywords}")
    (text,) = texts(socket, is_final=True)
    assert set(text.split()) == {"DikTe"}
    assert all(set(interim.split()) <= {"DikTe"} for interim in texts(socket, is_final=False))


def test_results_have_words_and_places(client: Client) -> None:
    socket = talk(client, [*SPEECH, END])
    result = next(message for message in socket.messages if message["type"] == "Results")
    assert (result["channel_index"], result["speech_final"], result["from_finalize"]) == ([0, 1], True, False)
    assert set(result["metadata"]) == {"request_id", "model_info", "model_uuid"}
    alternative = result["channel"]["alternatives"][0]
    assert 0 < alternative["confidence"] <= 1
    for word in alternative["words"]:
        assert set(word) == {"word", "start", "end", "confidence", "punctuated_word"}
        assert result["start"] <= word["start"] < word["end"] <= result["start"] + result["duration"] + 0.001


def test_what_is_asked_for_comes(client: Client) -> None:
    query = f"{LINEAR}&interim_results=true&vad_events=true&utterance_end_ms=600"
    silence = [{"bytes": piece} for piece in pieces(bytes(64_000))]
    socket = talk(client, [*SPEECH, *silence, END], query)
    kinds = [message["type"] for message in socket.messages]
    assert kinds[0] == "SpeechStarted"
    assert "UtteranceEnd" in kinds


def test_finalize_is_answered(client: Client) -> None:
    finalize = {"text": '{"type": "Finalize"}'}
    socket = talk(client, [*({"bytes": piece} for piece in pieces(s16(speech(0.0)))), finalize, finalize, END])
    first, second = texts(socket, from_finalize=True)
    assert first
    assert second == ""


def test_an_empty_message_ends_it(client: Client) -> None:
    assert talk(client, [*SPEECH, {"bytes": b""}]).closed == (1000, "")


def test_channels_by_themselves(client: Client) -> None:
    samples = speech(1.0)
    stereo = samples.repeat(2)
    socket = talk(
        client, [{"bytes": piece} for piece in pieces(s16(stereo))] + [END], f"{LINEAR}&channels=2&multichannel=true"
    )
    places = [message["channel_index"] for message in socket.messages if message["type"] == "Results"]
    assert sorted(places) == [[0, 2], [1, 2]]


def test_without_endpointing_no_text_ends_an_utterance(client: Client) -> None:
    socket = talk(client, [*SPEECH, {"bytes": bytes(64_000)}, END], f"{LINEAR}&endpointing=false")
    assert texts(socket, is_final=True)
    assert not texts(socket, speech_final=True)


class TestHostileClients:
    def test_sound_that_is_none(self, client: Client) -> None:
        socket = talk(client, [{"bytes": b"<html>" * 100}, END], "")
        assert socket.closed == (1008, "DATA-0000")
        assert outcomes(client) == {"unsupported_media": 1}

    @pytest.mark.parametrize("text", ["hello", "[" * 100_000, "\ud800"])
    def test_text_instead_of_sound(self, client: Client, text: str) -> None:
        assert talk(client, [{"text": text}]).closed == (1008, "DATA-0000")

    @pytest.mark.parametrize("text", ['{"type": "Nothing"}', "{}", "[]", "3", "null"])
    def test_unknown_messages_are_told(self, client: Client, text: str) -> None:
        socket = talk(client, [{"text": text}, END])
        assert [message["type"] for message in socket.messages] == ["Error", "Metadata"]
        assert socket.closed[0] == 1000

    def test_nothing_for_too_long(self, serve: ServiceFactory) -> None:
        with serve(live_idle_s=0.05) as client:
            socket = talk(client, [{"text": '{"type": "KeepAlive"}'}, SPEECH[0]])
            assert socket.closed == (1011, "NET-0001")

    def test_leaving_in_the_middle(self, client: Client) -> None:
        talk(client, SPEECH, leaves=True)
        assert "dikte_live_streams 0.0" in client.get("/metrics").text
        assert client.app.state.service.idle

    def test_never_reading(self, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("app.api.live_conversation.SEND_S", 0.05)
        socket = Socket(client, LINEAR, {}, ())

        async def run() -> None:
            socket.reads = True
            running = asyncio.create_task(socket.run([*SPEECH, END], leaves=False))
            while not socket.sent:
                await asyncio.sleep(0)
            socket.reads = False
            await running

        client.portal.call(run)
        assert client.app.state.service.idle


class TestDoor:
    def refused(self, socket: Socket) -> tuple[int, dict[str, Any]]:
        start, body = socket.sent
        return start["status"], json.loads(body["body"])

    @pytest.mark.parametrize(
        ("headers", "protocols"),
        [
            ({"authorization": "Token alpha"}, ()),
            ({"authorization": "Bearer alpha"}, ()),
            ({}, ("token", "alpha")),
            ({}, ("realtime", "openai-insecure-api-key.alpha")),
        ],
    )
    def test_keys(self, serve: ServiceFactory, headers: dict[str, str], protocols: tuple[str, ...]) -> None:
        with serve(api_keys="alpha") as client:
            socket = talk(client, [END], headers=headers, protocols=protocols)
            assert socket.closed == (1000, "")
            assert socket.sent[0].get("subprotocol") == ("token" if "token" in protocols else None)

    @pytest.mark.parametrize("protocols", [(), ("token",), ("token", "beta"), ("alpha",)])
    def test_other_keys(self, serve: ServiceFactory, protocols: tuple[str, ...]) -> None:
        with serve(api_keys="alpha") as client:
            status, body = self.refused(talk(client, [END], protocols=protocols))
            assert (status, body["err_code"]) == (401, "INVALID_AUTH")

    @pytest.mark.parametrize(
        ("origin", "origins", "allowed"),
        [
            (None, "", True),
            ("http://dikte", "", True),
            ("https://example.org", "https://example.org", True),
            ("https://example.org", "*", True),
            ("https://example.org", "", False),
            ("null", "", False),
        ],
    )
    def test_pages_of_other_origins(
        self, serve: ServiceFactory, origin: str | None, origins: str, allowed: bool
    ) -> None:
        with serve(cors_origins=origins) as client:
            headers = {"host": "dikte"} | ({} if origin is None else {"origin": origin})
            socket = talk(client, [END], headers=headers)
            assert (socket.sent[0]["type"] == "websocket.accept") == allowed
            if not allowed:
                assert self.refused(socket)[0] == 403

    @pytest.mark.parametrize(
        "query",
        [
            "encoding=mp9",
            "sample_rate=abc",
            "channels=0",
            "language=12345",
            "endpointing=-1",
            f"{LINEAR}&channels=20",
            f"{LINEAR}&keyterm=Zeynep",
            f"{LINEAR}&keywords=Dikte:9",
        ],
    )
    def test_impossible_parameters(self, client: Client, query: str) -> None:
        status, body = self.refused(talk(client, [END], query))
        assert (status, body["err_code"]) == (400, "INVALID_QUERY_PARAMETER")

    def test_what_has_no_effect_is_logged_or_refused(
        self, serve: ServiceFactory, caplog: pytest.LogCaptureFixture
    ) -> None:
        query = f"{LINEAR}&diarize=true&numerals=false&smart_format=true&redact=pii"
        with serve() as client:
            caplog.set_level("INFO", "dikte")
            assert talk(client, [END], query).closed[0] == 1000
            assert "ignored parameters: diarize, redact" in caplog.text
        with serve(strict=True) as client:
            status, body = self.refused(talk(client, [END], query))
            assert (status, body["err_code"]) == (400, "UNSUPPORTED_VALUE")

    def test_too_many(self, serve: ServiceFactory) -> None:
        with serve(live_streams=0) as client:
            status, body = self.refused(talk(client, [END]))
            assert (status, body["err_code"]) == (429, "TOO_MANY_REQUESTS")


def test_a_stopping_service_gives_the_last_final_and_says_so(client: Client) -> None:
    socket = Socket(client, LINEAR, {}, ())

    async def run() -> None:
        running = asyncio.create_task(socket.run([{"bytes": s16(speech(0.0))}], leaves=False))
        while not any(message["type"] == "websocket.accept" for message in socket.sent):
            await asyncio.sleep(0)
        await asyncio.sleep(0.05)
        client.app.state.service.drain()
        await running

    client.portal.call(run)
    assert texts(socket, is_final=True) != []
    assert socket.closed[0] == 1012
    assert client.app.state.service.idle
