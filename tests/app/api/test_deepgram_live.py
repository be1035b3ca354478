"""Deepgram's WebSocket, by its messages."""

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import pytest

from app.api.deepgram_bodies import to_message
from app.live.events import Final, Partial
from app.transcript import Word
from tests.app.api.live_sockets import Messages, Socket, nothing_left
from tests.app.api.test_outcomes import outcomes
from tests.app.live.streaming import pieces, s16, speech
from tests.conftest import Client, ServiceFactory
from tests.fakes import FakeRecognizer

LISTEN = "/v1/listen"
LINEAR = "encoding=linear16&sample_rate=16000"
END = {"text": json.dumps({"type": "CloseStream"})}
SPEECH = [{"bytes": piece} for piece in pieces(s16(speech(1.0)))]


@pytest.fixture(autouse=True)
def _nothing_is_left(client: Client) -> Iterator[None]:
    with nothing_left(client):
        yield


def talk(
    client: Client,
    incoming: Messages,
    query: str = LINEAR,
    headers: dict[str, str] | None = None,
    protocols: tuple[str, ...] = (),
    leaves: bool = False,
) -> Socket:
    """A conversation in which the client sends all of this."""
    socket = Socket(client, LISTEN, query, headers, protocols)
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

    def test_leaving_in_the_middle_of_a_container(self, client: Client) -> None:
        talk(client, [{"bytes": b"\x1a\x45\xdf\xa3" + bytes(50)}], "", leaves=True)

    def test_samples_cut_in_half(self, client: Client) -> None:
        frames = pieces(s16(speech(1.0).repeat(2)), 333)
        socket = talk(client, [*({"bytes": piece} for piece in frames), END], f"{LINEAR}&channels=2")
        (text,) = texts(socket, is_final=True)
        assert text

    def test_a_failing_engine(self, client: Client, engine: FakeRecognizer) -> None:
        engine.failure = RuntimeError("secret")
        assert talk(client, [*SPEECH, END]).closed == (1011, "NET-0000")
        assert outcomes(client) == {"engine_failure": 1}

    def test_much_faster_than_speech(self, client: Client) -> None:
        socket = talk(client, [{"bytes": s16(speech(*[1.5] * 20))}, END])
        assert len(texts(socket, is_final=True)) == 20

    def test_never_reading(self, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("app.api.live_conversation.SEND_S", 0.05)
        socket = Socket(client, LISTEN, LINEAR)

        async def run() -> None:
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
    socket = Socket(client, LISTEN, LINEAR)

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
