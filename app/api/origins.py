"""Which web pages may open a WebSocket: browsers do not ask first, as they do for requests (CORS)."""

from collections.abc import Sequence
from urllib.parse import urlsplit

from fastapi import WebSocket

from app.errors import ForeignOrigin


def check_origin(socket: WebSocket, origins: Sequence[str]) -> None:
    """Raises ForeignOrigin if a page of another origin, which is not in `origins`, opens the socket.

    Clients that are no browsers send no origin.
    """
    origin = socket.headers.get("origin")
    if origin is None or origin in origins or "*" in origins:
        return
    if urlsplit(origin).netloc.lower() != socket.headers.get("host", "").lower():
        raise ForeignOrigin("pages of this origin may not use the service; ASR_CORS_ORIGINS lists those that may")
