"""Answers in server-sent events, on Dikte's own API."""

import json
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import httpx
import pytest

from app.api import event_stream
from app.families.ctc.decoding import Emissions
from app.recognizer import Samples
from tests.app.api.test_outcomes import outcomes
from tests.conftest import Client, Connection, ServiceFactory, assert_error
from tests.fakes import PATIENCE_S, WORD, FakeRecognizer
from tests.sounds import speechlike, two_sides, wav

LONG_S = 60
"""Of several windows."""


def events_of(body: str) -> list[tuple[str, dict[str, Any]]]:
    """Name and data of each event, as the specification has it."""
    events = []
    for block in body.removesuffix("\n\n").split("\n\n"):
        lines = [line for line in block.split("\n") if not line.startswith(":")]
        if lines:
            name, data = lines
            events.append((name.removeprefix("event: "), json.loads(data.removeprefix("data: "))))
    return events


def start(client: Client, path: str = "/transcribe", duration_s: float = LONG_S, **headers: str) -> Connection:
    """A request for a stream, by a client that may leave."""
    request = httpx.Request(
        "POST", f"http://dikte{path}", files={"file": wav(speechlike(duration_s))}, data={"stream": "true"}
    )
    connection = Connection(client, dict(request.headers) | headers, path)
    connection.send(request.read(), more=False)
    return connection


def until(condition: Callable[[], bool]) -> None:
    give_up = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < give_up, "it does not happen"
        time.sleep(0.001)


class Faltering:
    """Replaces the engine: after the first window it waits, and then does what the test says."""

    def __init__(self, engine: FakeRecognizer, then: Callable[[], object]) -> None:
        self._compute, self._then = engine.emissions, then
        self._lock = threading.Lock()
        self._first = True
        self.gate = threading.Event()

    def __call__(self, clips: Sequence[Samples]) -> list[Emissions]:
        with self._lock:
            first, self._first = self._first, False
        if not first:
            assert self.gate.wait(PATIENCE_S)
            self._then()
        return self._compute(clips)


def falter(engine: FakeRecognizer, monkeypatch: pytest.MonkeyPatch, then: Callable[[], object]) -> Faltering:
    faltering = Faltering(engine, then)
    monkeypatch.setattr(engine, "emissions", faltering)
    return faltering


def nothing() -> None:
    pass


def fail() -> None:
    raise RuntimeError("/srv/secret")


def test_segments_come_first_and_then_the_result(client: Client) -> None:
    sound = {"file": wav(speechlike(3))}
    answer = client.post("/transcribe", files=sound, data={"stream": "true", "timestamps": "word"})
    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert answer.headers["x-accel-buffering"] == "no"
    assert answer.headers["cache-control"] == "no-store"
    *segments, (name, result) = events_of(answer.text)
    assert [name for name, _ in segments] == ["segment"] * 3
    assert [segment["text"] for _, segment in segments] == [WORD] * 3
    assert [word for _, segment in segments for word in segment["words"]] == result["words"]
    assert name == "result"
    whole = client.post("/transcribe", files=sound, data={"timestamps": "word"}).json()
    for timing in ("timings", "inference_time"):
        del whole[timing], result[timing]
    assert result == whole


def test_streamed_segments_of_a_call_have_speakers(client: Client) -> None:
    answer = client.post("/transcribe", files={"file": two_sides(4.0)}, data={"stream": "true"})
    *segments, (_, result) = events_of(answer.text)
    assert [(data["channel"], data["speaker"]) for _, data in segments] == [(0, "A"), (1, "B")] * 2
    assert result["segments"] == [data for _, data in segments]


def test_segments_come_while_the_engine_still_works(
    client: Client, engine: FakeRecognizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    faltering = falter(engine, monkeypatch, nothing)
    streaming = start(client)
    until(lambda: b"event: segment" in streaming.body)
    assert not streaming.answered
    assert b"event: result" not in streaming.body
    faltering.gate.set()
    assert streaming.status() == 200
    *segments, (name, result) = events_of(streaming.body.decode())
    assert name == "result"
    assert " ".join(segment["text"] for _, segment in segments) == result["text"] == " ".join([WORD] * LONG_S)
    assert outcomes(client) == {"ok": 1}


def test_silence_is_a_result_alone(client: Client) -> None:
    answer = client.post("/transcribe", files={"file": wav(speechlike(3) * 0)}, data={"stream": "true"})
    ((name, result),) = events_of(answer.text)
    assert (name, result["text"]) == ("result", "")


def test_an_error_before_the_first_event_has_its_own_status(client: Client) -> None:
    answer = client.post("/transcribe", files={"file": b"no sound"}, data={"stream": "true"})
    assert_error(answer, 415, "unsupported_media")
    assert outcomes(client) == {"unsupported_media": 1}


@pytest.mark.parametrize("response_format", ["text", "srt", "vtt"])
def test_other_formats_are_not_streamed(client: Client, response_format: str) -> None:
    data = {"stream": "true", "response_format": response_format}
    answer = client.post("/transcribe", files={"file": wav(speechlike(1))}, data=data)
    assert "json" in assert_error(answer, 422, "invalid_parameter")["message"]


def test_an_error_in_the_middle_is_an_event(
    client: Client, engine: FakeRecognizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    faltering = falter(engine, monkeypatch, fail)
    streaming = start(client)
    until(lambda: b"event: segment" in streaming.body)
    faltering.gate.set()
    assert streaming.status() == 200
    name, data = events_of(streaming.body.decode())[-1]
    assert (name, data["error"]["code"]) == ("error", "engine_failure")
    assert b"secret" not in streaming.body
    assert outcomes(client) == {"engine_failure": 1}


def test_a_bug_in_the_middle_is_an_event_and_breaks_the_answer_off(
    client: Client, engine: FakeRecognizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("/srv/secret")

    monkeypatch.setattr("app.api.transcribe.to_json", broken)
    streaming = start(client, duration_s=3)
    with pytest.raises(RuntimeError):
        streaming.status()
    name, data = events_of(streaming.body.decode())[-1]
    assert (name, data["error"]["code"]) == ("error", "internal_error")
    assert b"secret" not in streaming.body
    assert outcomes(client) == {"internal_error": 1}


def test_a_deadline_in_the_middle_is_an_event(
    serve: ServiceFactory, engine: FakeRecognizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_stream, "HEARTBEAT_S", 0.01)
    with serve(deadline_s=2.0) as client:
        engine.gate.clear()
        streaming = start(client, duration_s=3)
        assert streaming.status() == 200
        engine.gate.set()
        ((name, data),) = events_of(streaming.body.decode())
        assert (name, data["error"]["code"]) == ("error", "deadline_exceeded")
        assert client.app.state.service.admission.requests == 0


def test_comments_come_before_the_first_window(
    client: Client, engine: FakeRecognizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_stream, "HEARTBEAT_S", 0.01)
    engine.gate.clear()
    streaming = start(client, duration_s=3)
    until(lambda: streaming.body.count(b": working\n\n") >= 3)
    engine.gate.set()
    assert streaming.status() == 200
    assert [name for name, _ in events_of(streaming.body.decode())] == ["segment"] * 3 + ["result"]


def test_an_error_after_a_comment_is_an_event(
    client: Client, engine: FakeRecognizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_stream, "HEARTBEAT_S", 0.01)
    engine.gate.clear()
    engine.failure = RuntimeError("/srv/secret")
    streaming = start(client, "/v1/audio/transcriptions", duration_s=3)
    until(lambda: streaming.started)
    engine.gate.set()
    assert streaming.status() == 200
    ((name, data),) = events_of(streaming.body.decode())
    assert name == "error"
    assert data["error"] == {
        "message": "the engine failed on this clip", "type": "server_error", "param": None, "code": "engine_failure"
    }  # fmt: skip


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_client_that_leaves_frees_its_place(
    client: Client, engine: FakeRecognizer, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    """The windows that have not begun are not computed."""
    computed = []
    if when == "before":
        engine.gate.clear()
    faltering = falter(engine, monkeypatch, lambda: computed.append(1))
    streaming = start(client, duration_s=600)
    until(lambda: engine.at_work.is_set() if when == "before" else b"event: segment" in streaming.body)
    streaming.leave()
    until(lambda: streaming.answered)
    admission = client.app.state.service.admission
    assert (admission.requests, admission.queued_s) == (0, 0)
    assert outcomes(client) == {"client_gone": 1}
    engine.gate.set()
    faltering.gate.set()
    assert client.post("/transcribe", files={"file": wav(speechlike(1))}).json()["text"] == WORD
    assert len(computed) < 20
