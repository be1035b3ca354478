"""An id for every request, in its answer and on every line that is logged for it, and a line when it ends."""

import logging
import re
import time
from typing import Any
from uuid import uuid4

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.api.errors import CLIENT_CLOSED_REQUEST, MAX_METHOD, MAX_PATH
from app.api.messages import CONNECTIONS, status_of
from app.api.paths import PROBES, path_of
from app.logs import request_id
from app.transcript import Timings

logger = logging.getLogger("dikte.access")

HEADER = "X-Request-ID"
WEBSOCKET = "WEBSOCKET"
"""Stands for the method of a WebSocket in the log."""
ID_PATTERN = "[A-Za-z0-9._-]{1,128}"


class RequestLog:
    """Gives each request its id, or keeps the client's if it is a sane one, and logs how the request ended.

    A handler that transcribed leaves `timings` and `duration_s` in `request.state`; they stand in the line.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass everything on, under its id."""
        if scope["type"] not in CONNECTIONS:
            await self._app(scope, receive, send)
            return
        state = scope.setdefault("state", {})
        current = id_of(Headers(scope=scope).get(HEADER))
        status: int = CLIENT_CLOSED_REQUEST
        started = time.perf_counter()

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if (answered := status_of(message)) is not None:
                status = answered
                message.setdefault("headers", [])
                MutableHeaders(scope=message)[HEADER] = current
            await send(message)

        token = request_id.set(current)
        try:
            await self._app(scope, receive, send_with_id)
        finally:
            log(scope.get("method", WEBSOCKET), path_of(scope), status, (time.perf_counter() - started) * 1000, state)
            request_id.reset(token)


def id_of(given: str | None) -> str:
    """What the client gave, if it can stand in logs and headers as it is; else a new id."""
    return given if given and re.fullmatch(ID_PATTERN, given) else uuid4().hex


def log(method: str, path: str, status: int, duration_ms: float, state: dict[str, Any]) -> None:
    """One line; the query is not in it, for people put secrets there."""
    method, path = method[:MAX_METHOD], path[:MAX_PATH]
    fields = {"method": method, "path": path, "status": status, "duration_ms": round(duration_ms, 1)}
    message = f"{method} {path} {status} in {duration_ms:.1f} ms"
    if outcome := state.get("outcome"):
        fields["outcome"] = outcome
        message += f", {outcome}"
    timings: Timings | None = state.get("timings")
    if timings is not None:
        duration_s: float = state["duration_s"]
        stages = {"decode": timings.decode_s, "queue": timings.queue_s, "inference": timings.inference_s}
        fields |= {"audio_s": round(duration_s, 3)} | {f"{stage}_s": round(s, 4) for stage, s in stages.items()}
        message += f", {duration_s:.1f} s of sound: " + ", ".join(f"{stage} {s:.3f} s" for stage, s in stages.items())
    logger.log(logging.DEBUG if path in PROBES else logging.INFO, "%s", message, extra=fields)
