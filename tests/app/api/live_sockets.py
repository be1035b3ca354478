"""A WebSocket by hand, to an application in this process."""

import asyncio
import json
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from tests.conftest import Client
from tests.fakes import PATIENCE_S

Messages = list[dict[str, Any]]


@contextmanager
def nothing_left(client: Client) -> Iterator[None]:
    """Afterwards no task, no thread and no place of a live stream is left."""

    async def tasks() -> set[asyncio.Task[Any]]:
        return asyncio.all_tasks() - {asyncio.current_task()}

    async def ended(before: set[asyncio.Task[Any]]) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while left := await tasks() - before:
                await asyncio.wait(left, timeout=0.01)

    before = client.portal.call(tasks)
    yield
    client.portal.call(ended, before)
    assert "dikte_live_streams 0.0" in client.get("/metrics").text
    assert client.app.state.service.admission.requests == 0
    assert client.app.state.service.idle
    assert not [thread for thread in threading.enumerate() if thread.name == "live-decoder"]


class Socket:
    """One client. sent: what the service sent, each as an ASGI message. reads: whether the client takes that."""

    def __init__(
        self,
        client: Client,
        path: str,
        query: str = "",
        headers: dict[str, str] | None = None,
        protocols: tuple[str, ...] = (),
    ) -> None:
        self._client = client
        self._headers = [(name.encode(), value.encode()) for name, value in (headers or {}).items()]
        if protocols:
            self._headers.append((b"sec-websocket-protocol", ", ".join(protocols).encode()))
        self._waiting: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._waiting.put_nowait({"type": "websocket.connect"})
        self._said = asyncio.Event()
        self._scope = {
            "type": "websocket", "asgi": {"version": "3.0"}, "http_version": "1.1", "scheme": "ws",
            "path": path, "raw_path": path.encode(), "query_string": query.encode(), "root_path": "",
            "headers": self._headers, "client": ("127.0.0.1", 1), "server": ("dikte", 80),
            "subprotocols": list(protocols), "extensions": {"websocket.http.response": {}},
        }  # fmt: skip
        self.sent: Messages = []
        self.reads = True

    async def run(self, incoming: Sequence[dict[str, Any]] = (), leaves: bool = False) -> None:
        """Until the service has closed it. incoming: what the client sends, at once. leaves: without a goodbye."""
        self.put(*incoming)
        if leaves:
            self.leave()

        async def send(message: Any) -> None:
            self.sent.append(message)
            self._said.set()
            if not self.reads and message["type"] == "websocket.send":
                await asyncio.Event().wait()

        async with asyncio.timeout(PATIENCE_S):
            await self._client.app(self._scope, self._waiting.get, send)

    def put(self, *messages: dict[str, Any]) -> None:
        """Send more."""
        for message in messages:
            self._waiting.put_nowait({"type": "websocket.receive"} | message)

    def leave(self) -> None:
        """Go without a goodbye."""
        self._waiting.put_nowait({"type": "websocket.disconnect", "code": 1006})

    async def until(self, kind: str) -> dict[str, Any]:
        """The first message of a type, waiting for it."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                self._said.clear()
                for message in self.messages:
                    if message["type"] == kind:
                        return message
                await self._said.wait()

    @property
    def messages(self) -> Messages:
        return [json.loads(message["text"]) for message in self.sent if message["type"] == "websocket.send"]

    @property
    def closed(self) -> tuple[int, str]:
        assert self.sent[-1]["type"] == "websocket.close", self.sent[-1]
        return self.sent[-1]["code"], self.sent[-1]["reason"]
