"""WebSockets on uvicorn: bounded messages, pings, and clients that do not read."""

import asyncio
import logging

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

MAX_MESSAGE_BYTES = 16 << 20
"""Longest message. OpenAI's API allows 15 MiB of base64 at a time."""
PING_S = 20.0
"""Seconds between pings, and for their answer; proxies close connections that are silent for a minute."""

quiet = logging.getLogger("dikte.websockets")
quiet.setLevel(logging.WARNING)


class WebSocketConnection(WebSocketsSansIOProtocol):
    """One WebSocket.

    It is read only as fast as the application takes messages. uvicorn would log each with its query, where clients put
    secrets; and it would keep what a client does not read until the kernel gives up.
    """

    def __init__(self, *args: object, **options: object) -> None:
        super().__init__(*args, **options)  # type: ignore[arg-type]  # passed on
        self.logger = self.conn.logger = quiet

    def data_received(self, data: bytes) -> None:
        """Called by the event loop. A request that is no handshake, after all, ends the connection."""
        super().data_received(data)
        if self.conn.parser_exc is not None and not self.handshake_initiated:
            self.transport.close()

    def shutdown(self) -> None:
        """Called when the service stops."""
        if self.handshake_initiated:
            super().shutdown()
        else:
            self.transport.close()

    def on_task_complete(self, task: asyncio.Task[None]) -> None:
        """The application is done with it."""
        super().on_task_complete(task)
        if not self.writable.is_set():
            self.transport.abort()
