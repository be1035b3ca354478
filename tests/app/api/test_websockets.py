"""WebSockets pass the same middleware as requests: they have an id, a line in the log and an outcome."""

import logging
from collections.abc import MutableMapping
from typing import Any

import pytest
from fastapi import FastAPI, WebSocket

from app.errors import NotReady
from tests.app.api.test_outcomes import outcomes
from tests.conftest import Client


def add_sockets(app: FastAPI) -> None:
    @app.websocket("/echo")
    async def echo(socket: WebSocket) -> None:
        await socket.accept()
        await socket.send_text(await socket.receive_text())
        await socket.close()

    @app.websocket("/refused")
    async def refused(socket: WebSocket) -> None:
        raise NotReady("no model yet")

    @app.websocket("/refused-later")
    async def refused_later(socket: WebSocket) -> None:
        await socket.accept()
        raise NotReady("no model any more")

    @app.websocket("/bug")
    async def bug(socket: WebSocket) -> None:
        raise RuntimeError("secret")


def connect(client: Client, path: str, extensions: tuple[str, ...] = ()) -> list[MutableMapping[str, Any]]:
    """What the service sends to a client that connects and says a word."""
    add_sockets(client.app)
    sent: list[MutableMapping[str, Any]] = []
    said = iter([{"type": "websocket.connect"}, {"type": "websocket.receive", "text": "merhaba"}])

    async def receive() -> MutableMapping[str, Any]:
        return next(said)

    async def send(message: MutableMapping[str, Any]) -> None:
        sent.append(message)

    scope = {
        "type": "websocket", "asgi": {"version": "3.0"}, "http_version": "1.1", "scheme": "ws", "path": path,
        "raw_path": path.encode(), "query_string": b"", "root_path": "", "headers": [(b"x-request-id", b"call-7")],
        "client": ("127.0.0.1", 1), "server": ("dikte", 80), "subprotocols": [],
        "extensions": {name: {} for name in extensions},
    }  # fmt: skip
    client.portal.call(client.app, scope, receive, send)
    return sent


def test_it_has_an_id_a_line_and_an_outcome(client: Client, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "dikte")
    accept, answer, close = connect(client, "/echo")
    assert (b"x-request-id", b"call-7") in accept["headers"]
    assert (answer["text"], close["type"]) == ("merhaba", "websocket.close")
    assert any(line.startswith("WEBSOCKET /echo 101 in ") for line in caplog.messages)
    assert outcomes(client) == {"ok": 1}


def test_an_error_before_it_is_accepted_is_an_answer(client: Client) -> None:
    start, body = connect(client, "/refused", ("websocket.http.response",))
    assert (start["type"], start["status"]) == ("websocket.http.response.start", 503)
    assert b'"code":"not_ready"' in body["body"]
    assert outcomes(client) == {"not_ready": 1}


@pytest.mark.parametrize("path", ["/refused", "/refused-later"])
def test_else_it_is_closed_with_the_code_of_the_error(client: Client, path: str) -> None:
    *_, close = connect(client, path)
    assert {name: close[name] for name in ("type", "code", "reason")} == {
        "type": "websocket.close",
        "code": 1011,
        "reason": "not_ready",
    }
    assert outcomes(client) == {"not_ready": 1}


def test_a_bug_closes_it_and_says_nothing_of_the_inside(client: Client, caplog: pytest.LogCaptureFixture) -> None:
    (close,) = connect(client, "/bug")
    assert (close["code"], close["reason"]) == (1011, "internal_error")
    assert "internal_error: RuntimeError" in caplog.text
    assert outcomes(client) == {"internal_error": 1}
