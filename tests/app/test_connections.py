"""Real sockets against the service on a fake engine, in a thread, on the event loop that it has in production."""

import http.client
import json
import logging
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from fastapi import FastAPI, Response

from app.connections import FIRST_PROBE_S, ConnectionConfig, Connections
from app.main import create_app
from app.service import LoadedModel
from app.settings import Settings
from tests.fakes import PATIENCE_S, FakeRecognizer, all_lanes, fake_artifact
from tests.sounds import speechlike, wav

SOON_S = 0.3
LARGE_BYTES = 5 << 20
"""More than the kernel takes for a client that does not read."""
BOUNDARY = b"a-line-that-is-in-no-file"
FORM = b"Content-Type: multipart/form-data; boundary=" + BOUNDARY + b"\r\n"
GET = b"GET /livez HTTP/1.1\r\nHost: a\r\n\r\n"


@dataclass
class Listening:
    """The service at work: where it listens, and its inside."""

    port: int
    app: FastAPI
    server: uvicorn.Server

    @property
    def connections(self) -> int:
        return len(self.server.server_state.connections)

    def connect(self, receive_bytes: int | None = None) -> socket.socket:
        client = socket.socket()
        client.settimeout(PATIENCE_S)
        if receive_bytes is not None:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        client.connect(("127.0.0.1", self.port))
        return client

    def ask(self, request: bytes, end: bool = False) -> tuple[int, dict[str, Any]]:
        """Send it, and nothing after it if `end`. Status and body of the answer."""
        with self.connect() as client:
            client.sendall(request)
            if end:
                client.shutdown(socket.SHUT_WR)
            return read_answer(client)


Listen = Callable[..., AbstractContextManager[Listening]]


@pytest.fixture
def loop() -> str:
    return "uvloop"


both_loops = pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
"""For what the event loops do each in its own way."""


@pytest.fixture
def listen(loop: Any, engine: FakeRecognizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Listen:
    model = LoadedModel(fake_artifact(tmp_path), "onnx_int8", all_lanes(engine))
    monkeypatch.setattr("app.service.load_model", lambda _: model)

    @contextmanager
    def listening(
        connections: Connections | None = None, keep_alive_s: float = PATIENCE_S, **settings: Any
    ) -> Iterator[Listening]:
        app = create_app(Settings(model_dir=str(tmp_path), **settings))
        config = ConnectionConfig(
            app,
            connections or Connections(),
            host="127.0.0.1",
            port=0,
            loop=loop,
            log_config=None,
            access_log=False,
            timeout_keep_alive=keep_alive_s,
        )
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run)
        thread.start()
        until(lambda: server.started)
        here = Listening(server.servers[0].sockets[0].getsockname()[1], app, server)
        try:
            until(lambda: app.state.service.reason is None)
            engine.at_work.clear()
            yield here
        finally:
            engine.gate.set()
            server.should_exit = True
            thread.join(PATIENCE_S)
            assert not thread.is_alive()

    return listening


def until(true: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < deadline, "it never came to pass"
        time.sleep(0.005)


def upload(sound: bytes | None = None, target: bytes = b"/transcribe", headers: bytes = b"") -> bytes:
    """A whole request."""
    part = b"--" + BOUNDARY + b'\r\nContent-Disposition: form-data; name="file"\r\n\r\n'
    body = part + (wav(speechlike(1)) if sound is None else sound) + b"\r\n--" + BOUNDARY + b"--\r\n"
    length = b"Content-Length: %d\r\n" % len(body)
    return b"POST " + target + b" HTTP/1.1\r\nHost: a\r\n" + FORM + length + headers + b"\r\n" + body


def read_answer(client: socket.socket) -> tuple[int, dict[str, Any]]:
    """Status and body of the next answer; http.client passes over `100 Continue`."""
    answer = http.client.HTTPResponse(client)
    answer.begin()
    return answer.status, json.loads(answer.read())


def read_all(client: socket.socket) -> bytes:
    """Until the service closes the connection."""
    received = bytearray()
    try:
        while chunk := client.recv(1 << 16):
            received += chunk
    except ConnectionResetError:
        pass
    return bytes(received)


def error_of(answer: bytes) -> tuple[bytes, str, str]:
    """Status line, code and message of an error that ended the connection."""
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"connection: close" in head
    error = json.loads(body)["error"]
    return head.partition(b"\r\n")[0], error["code"], error["message"]


# Who owes a request


def test_a_connection_that_sends_nothing_is_closed(listen: Listen) -> None:
    with listen(Connections(header_s=SOON_S)) as here, here.connect() as client:
        assert read_all(client) == b""
        until(lambda: here.connections == 0)


@pytest.mark.parametrize("first", [b"", GET], ids=["at first", "after a request"])
def test_a_header_that_drips_is_answered_and_closed(listen: Listen, first: bytes) -> None:
    with listen(Connections(header_s=SOON_S)) as here, here.connect() as client:
        if first:
            client.sendall(first)
            assert read_answer(client)[0] == 200
        dripping = threading.Event()

        def drip() -> None:
            while not dripping.wait(SOON_S / 10):
                try:
                    client.send(b"G")
                except OSError:
                    return

        thread = threading.Thread(target=drip)
        thread.start()
        try:
            answer = read_all(client)
        finally:
            dripping.set()
            thread.join()
        client.close()
        assert error_of(answer)[:2] == (b"HTTP/1.1 408 Request Timeout", "request_timeout")
        until(lambda: here.connections == 0)


def test_a_header_in_pieces_and_a_body_after_its_time_are_answered(listen: Listen) -> None:
    request = upload()
    split = request.index(b"\r\n\r\n") + 10
    with listen(Connections(header_s=PATIENCE_S)) as here, here.connect() as client:
        for byte in request[:split]:
            client.sendall(bytes([byte]))
        client.sendall(request[split:])
        assert read_answer(client)[0] == 200
    with listen(Connections(header_s=SOON_S)) as here, here.connect() as client:
        client.sendall(request[:split])
        time.sleep(3 * SOON_S)
        client.sendall(request[split:])
        assert read_answer(client)[0] == 200


def test_an_answer_may_take_longer_than_a_header(listen: Listen, engine: FakeRecognizer) -> None:
    with listen(Connections(header_s=SOON_S)) as here, here.connect() as client:
        engine.gate.clear()
        client.sendall(upload())
        assert engine.at_work.wait(PATIENCE_S)
        time.sleep(3 * SOON_S)
        engine.gate.set()
        assert read_answer(client)[0] == 200


def test_a_connection_without_another_request_is_closed(listen: Listen) -> None:
    with listen(Connections(header_s=PATIENCE_S), keep_alive_s=SOON_S) as here, here.connect() as client:
        client.sendall(GET)
        assert read_all(client).endswith(b'{"status":"alive"}')


def test_a_connection_stays_open_between_requests(listen: Listen) -> None:
    with listen(Connections(header_s=SOON_S)) as here, here.connect() as client:
        for _ in range(3):
            client.sendall(GET)
            assert read_answer(client) == (200, {"status": "alive"})
            time.sleep(1.5 * SOON_S)


def test_the_rest_of_a_refused_body_is_not_read_for_ever(listen: Listen) -> None:
    with listen(Connections(header_s=PATIENCE_S, rest_s=SOON_S)) as here, here.connect() as client:
        client.sendall(b"POST /nothing HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n")
        assert read_answer(client)[0] == 404
        with pytest.raises(ConnectionError):
            while True:
                client.sendall(b"x")
                time.sleep(SOON_S / 10)
        until(lambda: here.connections == 0)


def test_after_a_refused_body_the_connection_goes_on(listen: Listen) -> None:
    with listen() as here, here.connect() as client:
        client.sendall(b"POST /nothing HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n")
        assert read_answer(client)[0] == 404
        client.sendall(bytes(1_000_000) + GET)
        assert read_answer(client) == (200, {"status": "alive"})


def test_a_body_that_drips_loses_its_place(listen: Listen) -> None:
    head, _, body = upload().partition(b"\r\n\r\n")
    with listen(upload_idle_s=5 * SOON_S) as here, here.connect() as client:
        client.sendall(head + b"\r\n\r\n")
        for byte in body:
            client.sendall(bytes([byte]))
            time.sleep(SOON_S / 5)  # 50 bytes/s
            if readable(client):
                break
        status, answer = read_answer(client)
        assert (status, answer["error"]["code"]) == (408, "upload_timeout")
        assert "too slowly" in answer["error"]["message"]
        assert here.app.state.service.idle


@both_loops
def test_a_client_that_does_not_read_is_disconnected(listen: Listen) -> None:
    """Much is asked for, over and over, and nothing of it taken."""
    with listen(Connections(stalled_s=0.5)) as here, here.connect(receive_bytes=1024) as client:
        client.sendall(b"GET /static-offline-docs/swagger-ui-bundle.js HTTP/1.1\r\nHost: a\r\n\r\n" * 20)
        until(lambda: here.connections == 1)
        until(lambda: here.connections == 0)


# Who ends its side of the connection


@both_loops
def test_a_client_that_sends_no_more_is_answered(listen: Listen) -> None:
    with listen() as here:
        assert here.ask(upload(), end=True)[1]["text"] == "dikte"
        until(lambda: here.connections == 0)


@both_loops
def test_a_client_that_sends_no_more_may_wait_for_its_answer(listen: Listen, engine: FakeRecognizer) -> None:
    with listen() as here, here.connect() as client:
        engine.gate.clear()
        client.sendall(upload())
        client.shutdown(socket.SHUT_WR)
        assert engine.at_work.wait(PATIENCE_S)
        time.sleep(2 * FIRST_PROBE_S)
        engine.gate.set()
        assert read_answer(client)[1]["text"] == "dikte"
        assert read_all(client) == b""


@both_loops
@pytest.mark.parametrize("abruptly", [True, False])
def test_work_of_a_client_that_is_gone_is_dropped(listen: Listen, engine: FakeRecognizer, abruptly: bool) -> None:
    with listen() as here:
        engine.gate.clear()
        client = here.connect()
        client.sendall(upload())
        assert engine.at_work.wait(PATIENCE_S)
        if abruptly:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.close()
        until(lambda: here.app.state.service.idle)
        until(lambda: here.connections == 0)
        assert not engine.gate.is_set(), "while the engine was still at work"


@both_loops
def test_requests_that_came_together_are_all_answered(listen: Listen) -> None:
    with listen() as here, here.connect() as client:
        client.sendall(GET + upload() + GET)
        client.shutdown(socket.SHUT_WR)
        received = read_all(client)
    assert received.count(b"HTTP/1.1 200 OK") == 3
    assert received.endswith(b'{"status":"alive"}')


@both_loops
def test_an_incomplete_body_is_answered_with_an_error(listen: Listen, engine: FakeRecognizer) -> None:
    with listen() as here, here.connect() as client:
        client.sendall(upload()[:-10])
        client.shutdown(socket.SHUT_WR)
        status, code, message = error_of(read_all(client))
        assert (status, code) == (b"HTTP/1.1 400 Bad Request", "invalid_request")
        assert "is incomplete" in message
        until(lambda: here.app.state.service.idle)


def test_a_header_that_breaks_off_leaves_nothing(listen: Listen) -> None:
    with listen() as here, here.connect() as client:
        client.sendall(GET[:-3])
        client.shutdown(socket.SHUT_WR)
        assert read_all(client) == b""
        until(lambda: here.connections == 0)


# Who speaks another HTTP


def test_a_target_with_scheme_and_host(listen: Listen) -> None:
    with listen() as here:
        assert here.ask(upload(target=b"http://a/transcribe"))[1]["text"] == "dikte"
        assert here.ask(b"GET http://a/livez?x=http://b/ HTTP/1.1\r\nHost: a\r\n\r\n")[0] == 200
        status, body = here.ask(b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n")
        assert (status, body["error"]["code"]) == (404, "not_found")


NO_HTTP = {
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03": "illegal request line",
    b"GET /livez HTTP/1.1\r\n\r\n": "Host",
    b"GET /liv\xc3\xa9z HTTP/1.1\r\nHost: a\r\n\r\n": "illegal request line",
    b"GET /livez HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n": "Content-Length",
    b"GET /livez HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n": "Content-Length",
    b"GET /livez HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n": "chunked",
    b"GET /livez HTTP/1.1\r\nHost: a\r\nA\x00: b\r\n\r\n": "header",
    b"POST /transcribe HTTP/1.1\r\nHost: a\r\n" + FORM + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n": "chunk",
    b"HEAD /livez HTTP/1.1\r\n\r\n": "Host",
}
"""Bytes that are no request, and what the answer's message names."""


def test_what_is_no_http_is_answered_in_the_one_shape(listen: Listen, caplog: pytest.LogCaptureFixture) -> None:
    with listen() as here:
        for request, says in NO_HTTP.items():
            with here.connect() as client:
                client.sendall(request)
                status, code, message = error_of(read_all(client))
            assert (status, code) == (b"HTTP/1.1 400 Bad Request", "invalid_request")
            assert says in message, request
            assert "bytearray" not in message
        until(lambda: here.connections == 0)
        assert here.app.state.service.idle
    assert [record for record in caplog.records if record.levelno > logging.WARNING] == []


@both_loops
def test_a_header_that_is_too_large_is_answered_with_an_error(listen: Listen) -> None:
    with listen() as here, here.connect() as client:
        client.sendall(b"GET /livez HTTP/1.1\r\nHost: a\r\n")
        client.sendall((b"X: " + b"a" * 8000 + b"\r\n") * 40)
        status, code, _ = error_of(read_all(client))
        assert (status, code) == (b"HTTP/1.1 431 Request Header Fields Too Large", "header_too_large")


def readable(client: socket.socket) -> bool:
    client.setblocking(False)
    try:
        return client.recv(1, socket.MSG_PEEK) != b""
    except BlockingIOError:
        return False
    finally:
        client.settimeout(PATIENCE_S)


def test_nonsense_in_mid_answer_ends_the_connection(
    listen: Listen, engine: FakeRecognizer, caplog: pytest.LogCaptureFixture
) -> None:
    with listen() as here, here.connect() as client:
        engine.gate.clear()
        client.sendall(upload() + b"\x00\x01 nonsense\r\n\r\n")
        assert engine.at_work.wait(PATIENCE_S)
        engine.gate.set()
        received = read_all(client)
    assert received.startswith(b"HTTP/1.1 200 OK")
    assert error_of(received[received.rindex(b"HTTP/1.1") :])[1] == "invalid_request"
    assert [record for record in caplog.records if record.levelno > logging.WARNING] == []


@pytest.mark.parametrize("version", [b"1.0", b"1.1"])
def test_expect_is_answered_before_the_body_is_sent(listen: Listen, version: bytes) -> None:
    head, _, body = upload(headers=b"Expect: 100-continue\r\nConnection: close\r\n").partition(b"\r\n\r\n")
    with listen() as here, here.connect() as client:
        client.sendall(head.replace(b"HTTP/1.1", b"HTTP/" + version) + b"\r\n\r\n")
        if version == b"1.1":
            assert client.recv(1 << 16) == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.sendall(body)
        received = read_all(client)
        assert received.startswith(b"HTTP/1.1 200 OK")


def test_what_is_refused_is_not_asked_for(listen: Listen) -> None:
    request = (
        b"POST /transcribe HTTP/1.1\r\nHost: a\r\n" + FORM + b"Expect: 100-continue\r\nContent-Length: 9999999999\r\n"
    )
    with listen() as here:
        status, body = here.ask(request + b"\r\n")
        assert (status, body["error"]["code"]) == (413, "upload_too_large")


@pytest.mark.parametrize(
    "upgrade",
    [
        b"Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAA\r\n",
        b"Upgrade: websocket\r\nConnection: Upgrade\r\n",
        b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n",
    ],
    ids=["h2c", "websocket", "websocket with a key"],
)
def test_an_upgrade_is_passed_over(listen: Listen, upgrade: bytes, caplog: pytest.LogCaptureFixture) -> None:
    """Java's HTTP client asks for HTTP/2 in every request."""
    with listen() as here:
        assert here.ask(upload(headers=upgrade))[1]["text"] == "dikte"
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


@pytest.mark.parametrize("missing", [b"Sec-WebSocket-Version: 13\r\n", b"Host: a\r\n"], ids=["version", "host"])
def test_a_broken_handshake_is_refused_and_holds_up_no_stop(listen: Listen, missing: bytes) -> None:
    """`listening` itself checks that the server ends."""
    request = (
        b"GET /v1/listen HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
    with listen() as here, here.connect() as client:
        client.sendall(request.replace(missing, b""))
        answer = http.client.HTTPResponse(client)
        answer.begin()
        assert 400 <= answer.status < 500


# Who takes a descriptor


def test_a_new_connection_replaces_the_one_that_is_idle_longest(listen: Listen, engine: FakeRecognizer) -> None:
    connections = Connections(descriptor_limit=0, reserved=0)
    shortages: list[int] = []
    connections.shortage = lambda: shortages.append(1)
    with listen(connections) as here, here.connect() as busy:
        engine.gate.clear()
        busy.sendall(upload())
        assert engine.at_work.wait(PATIENCE_S)
        shortages.clear()
        with here.connect() as first:
            until(lambda: len(connections.idle) == 1)
            assert len(shortages) == 1, "a request that is being answered is not closed"
            with here.connect() as second, here.connect() as third:
                assert (read_all(first), read_all(second)) == (b"", b"")
                third.sendall(GET)
                assert read_answer(third) == (200, {"status": "alive"})
        engine.gate.set()
        assert read_answer(busy)[1]["text"] == "dikte"
        assert len(shortages) == 1


def test_a_connection_with_unsent_data_is_not_closed(listen: Listen) -> None:
    connections = Connections()
    with listen(connections) as here, here.connect(receive_bytes=1024) as slow:
        here.app.add_api_route("/large", lambda: Response(bytes(LARGE_BYTES)))
        slow.sendall(b"GET /large HTTP/1.1\r\nHost: a\r\n\r\n")
        until(lambda: connections.idle and not any(connection.sent for connection in connections.idle))
        assert connections.close_idle(10) == 0
        answer = http.client.HTTPResponse(slow)
        answer.begin()
        assert len(answer.read()) == LARGE_BYTES
        assert connections.close_idle(10, min_s=PATIENCE_S) == 0
        until(lambda: connections.close_idle(10) == 1)
        assert read_all(slow) == b""
