import asyncio
from typing import Any

import pytest
from starlette.types import Receive, Scope, Send

from app.api.targets import AbsoluteTargets
from tests.conftest import Client

HOST = [(b"host", b"dikte")]


@pytest.mark.parametrize("path", ["/", "/livez", "/readyz", "/metrics", "/docs", "/openapi.json"])
def test_head_is_get_without_the_body(client: Client, path: str) -> None:
    whole, head = client.get(path), client.request("HEAD", path)
    assert (whole.status_code, head.status_code) == (200, 200)
    assert whole.content
    assert head.content == b""
    changing = {"x-request-id", "content-length"} if path == "/metrics" else {"x-request-id"}
    assert {name: value for name, value in head.headers.items() if name not in changing} == {
        name: value for name, value in whole.headers.items() if name not in changing
    }


def test_head_of_nothing(client: Client) -> None:
    answer = client.request("HEAD", "/nothing")
    assert (answer.status_code, answer.content) == (404, b"")


@pytest.mark.parametrize(
    ("target", "path", "host"),
    [
        ("http://elsewhere:81/transcribe", "/transcribe", b"elsewhere:81"),
        ("HTTPS://elsewhere/a b/", "/a b/", b"elsewhere"),
        ("http://elsewhere", "/", b"elsewhere"),
        ("http:///livez", "/livez", b""),
        ("/livez", "/livez", b"dikte"),
        ("/http://elsewhere/", "/http://elsewhere/", b"dikte"),
        ("*", "*", b"dikte"),
        ("ftp://elsewhere/", "ftp://elsewhere/", b"dikte"),
        ("http://[", "/", b"["),
    ],
)
def test_an_absolute_target_asks_for_its_path(target: str, path: str, host: bytes) -> None:
    seen: dict[str, Any] = {}

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        seen.update(scope)

    async def nothing(*_: object) -> Any:
        raise AssertionError

    scope = {"type": "http", "path": target, "raw_path": target.replace(" ", "%20").encode(), "headers": HOST}
    asyncio.run(AbsoluteTargets(application)(scope, nothing, nothing))
    assert (seen["path"], seen["raw_path"]) == (path, path.replace(" ", "%20").encode())
    assert seen["headers"] == [(b"host", host)]
    assert scope["headers"] == HOST, "the server's own scope stays as it is"
