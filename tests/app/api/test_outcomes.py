import asyncio
from typing import Any

import httpx
import pytest

from app.service import Service
from tests.app.test_metrics import samples
from tests.conftest import Client, ServiceFactory
from tests.fakes import FakeRecognizer
from tests.sounds import speechlike, wav

SOUND = wav(speechlike(1))


def outcomes(client: Client) -> dict[str, float]:
    """How many requests ended how, without those that nobody ended."""
    counted = samples(client.get("/metrics").text)
    prefix = 'dikte_requests_total{outcome="'
    return {name[len(prefix) : -2]: value for name, value in counted.items() if name.startswith(prefix) and value}


def post(client: Client, sound: bytes = SOUND, **options: Any) -> httpx.Response:
    return client.post("/transcribe", files={"file": sound}, **options)


def test_answers_and_errors_are_counted_by_their_code(client: Client, engine: FakeRecognizer) -> None:
    post(client)
    post(client)
    post(client, b"no sound at all")
    post(client, data={"timestamps": "never"})
    engine.failure = RuntimeError()
    post(client)
    assert outcomes(client) == {"ok": 2, "unsupported_media": 1, "invalid_parameter": 1, "engine_failure": 1}


def test_a_bug_is_counted_as_one(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(service: Service) -> None:
        raise RuntimeError

    with monkeypatch.context() as broken:
        broken.setattr(Service, "transcriber", property(fail))
        assert post(client).status_code == 500
    assert outcomes(client) == {"internal_error": 1}


def test_strangers_are_counted(serve: ServiceFactory) -> None:
    with serve(api_keys="alpha") as client:
        assert post(client).status_code == 401
        assert outcomes(client) == {"unauthorized": 1}


def test_only_transcription_requests_count(client: Client) -> None:
    for path in ("/", "/livez", "/readyz", "/nothing", "/transcribe", "/docs"):
        client.get(path)
    client.post("/livez")
    client.request("OPTIONS", "/transcribe")
    assert outcomes(client) == {}


@pytest.mark.parametrize("how", ["leaves", "is cancelled"])
def test_clients_that_left_are_counted(client: Client, how: str) -> None:
    async def leave() -> None:
        async def receive() -> dict[str, Any]:
            if how == "is cancelled":
                raise asyncio.CancelledError
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            pass

        headers = [(b"content-type", b"multipart/form-data; boundary=x")]
        scope = {
            "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "POST", "scheme": "http",
            "path": "/api/transcribe", "raw_path": b"/api/transcribe", "query_string": b"", "root_path": "/api",
            "headers": headers, "client": None, "server": ("dikte", 80),
        }  # fmt: skip
        try:
            await client.app(scope, receive, send)
        except asyncio.CancelledError:
            assert how == "is cancelled"

    client.portal.call(leave)
    assert outcomes(client) == {"client_gone": 1}
