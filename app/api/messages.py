"""ASGI messages: what HTTP requests and WebSockets have in common."""

from collections.abc import Mapping
from typing import Any

CONNECTIONS = frozenset({"http", "websocket"})
"""Scope types in which a client gets an answer."""
SWITCHING_PROTOCOLS, FORBIDDEN = 101, 403


def status_of(message: Mapping[str, Any]) -> int | None:
    """The HTTP status that a message sends to the client; None if it sends none.

    Accepting a WebSocket counts as 101.
    """
    match message["type"]:
        case "http.response.start" | "websocket.http.response.start":
            return int(message["status"])
        case "websocket.accept":
            return SWITCHING_PROTOCOLS
    return None
