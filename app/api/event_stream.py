"""Answers as server-sent events, while the transcription goes on.

Each event has an `event:` and a `data:` line: some clients drop those without a name. The answer starts with the first
event, so that an error before it is an ordinary answer with its own status. If the first event takes long, the answer
starts with a comment, and comments follow, so that no proxy takes the connection for dead.
"""

import asyncio
import json
import logging
from collections.abc import AsyncGenerator, Mapping
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass
from typing import Any, TypeVar

from fastapi import Request, Response
from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope, Send

from app.api.error_shapes import error_body
from app.api.errors import BUG, note
from app.api.intake import disconnected
from app.api.paths import path_of
from app.errors import AsrError
from app.metrics import CLIENT_GONE

logger = logging.getLogger("dikte")

MEDIA_TYPE = "text/event-stream"
HEARTBEAT_S = 5.0
"""Seconds without an event after which a comment is sent; proxies close connections that are silent for a minute."""
HEARTBEAT = b": working\n\n"
ERROR_EVENT = "error"

EVENT_SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["event", "data"],
    "properties": {
        "event": {"type": "string"},
        "data": {"type": "string", "contentMediaType": "application/json"},
    },
}
"""Of each event, for OpenAPI."""

Item = TypeVar("Item")


@dataclass(frozen=True)
class Event:
    """A server-sent event. data: a JSON object."""

    name: str
    data: Mapping[str, Any]

    def encode(self) -> bytes:
        """The event as it is sent."""
        return f"event: {self.name}\ndata: {json.dumps(self.data, ensure_ascii=False)}\n\n".encode()


class EventStream(Response):
    """A response that sends events as a generator yields them.

    resources: what the generator needs, such as the request's place in the queue and its deadline; closed at the end.
    When the client disconnects, the generator is closed. An error after the first event is sent as an event.
    """

    media_type = MEDIA_TYPE

    def __init__(
        self,
        request: Request,
        events: AsyncGenerator[Event, None],
        resources: AsyncExitStack,
        headers: Mapping[str, str],
    ) -> None:
        self.status_code = 200
        self.background = None
        self._request = request
        self._events = events
        self._resources = resources
        self._started = False
        self.init_headers({**headers, "X-Accel-Buffering": "no"})  # nginx would keep the events to itself

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the events. Errors before the first one are raised."""
        try:
            async with self._resources, aclosing(while_connected(self._request, self._events)) as events:
                async for event in events:
                    await self._send(send, HEARTBEAT if event is None else event.encode())
        except ClientDisconnect:
            if not self._started:
                raise
            scope["state"]["outcome"] = CLIENT_GONE
            return
        except AsrError as error:
            if not self._started:
                raise
            note(self._request, error)
            await self._send(send, self._error(error).encode())
        except Exception:
            if self._started:
                await self._send(send, self._error(AsrError(BUG)).encode())
            raise
        await self._send(send, b"", more=False)

    async def _send(self, send: Send, body: bytes, *, more: bool = True) -> None:
        if not self._started:
            self._started = True
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        await send({"type": "http.response.body", "body": body, "more_body": more})

    def _error(self, error: AsrError) -> Event:
        body = error_body(error.code, error.message, error.details, error.status, path_of(self._request.scope))
        return Event(ERROR_EVENT, body)


async def while_connected(request: Request, items: AsyncGenerator[Item, None]) -> AsyncGenerator[Item | None, None]:
    """Yield the items, and None after each `HEARTBEAT_S` without one.

    Raises ClientDisconnect when the client disconnects. The generator of the items is closed at the end.
    """
    leaving = asyncio.create_task(disconnected(request))
    coming: asyncio.Task[Item | None] | None = None
    try:
        while True:
            coming = asyncio.create_task(_next(items))
            while not coming.done():
                done, _ = await asyncio.wait(
                    (coming, leaving), timeout=HEARTBEAT_S, return_when=asyncio.FIRST_COMPLETED
                )
                if leaving in done and coming not in done:
                    raise ClientDisconnect
                if not done:
                    yield None
            item = coming.result()
            if item is None:
                return
            yield item
    finally:
        tasks = [task for task in (leaving, coming) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        await items.aclose()


async def _next(items: AsyncGenerator[Item, None]) -> Item | None:
    """The next item; None after the last."""
    return await anext(items, None)
