"""What HTTP requests and WebSockets have in common, as ASGI messages."""

from collections.abc import Mapping
from typing import Any

CONNECTIONS = frozenset({"http", "websocket"})
"""Types of a scope in which a client is answered."""
SWITCHING_PROTOCOLS, FORBIDDEN = 101, 403


def status_of(message: Mapping[str, Any]) -> int | None:
    """The HTTP status with which a message answers a client; None if it is not the one that does.

    A WebSocket that is accepted is answered 101; one that is closed before, 403.
    """
    match message["type"]:
        case "http.response.start" | "websocket.http.response.start":
            return int(message["status"])
        case "websocket.accept":
            return SWITCHING_PROTOCOLS
    return None
