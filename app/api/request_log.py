"""Gives every request an id, in its response and in its log lines, and logs one line when it ends."""

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
"""Logged in place of a method for WebSockets."""
ID_PATTERN = "[A-Za-z0-9._-]{1,128}"


class RequestLog:
    """Gives each request an id, or keeps a valid one from the client, and logs how the request ended.

    A handler that transcribed stores `timings` and `duration_s` in `request.state`; they are part of the line.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass everything on, with the request id set."""
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
    """The client's id if it is safe in logs and headers; otherwise a new one."""
    return given if given and re.fullmatch(ID_PATTERN, given) else uuid4().hex


def log(method: str, path: str, status: int, duration_ms: float, state: dict[str, Any]) -> None:
    """Log one line, without the query: clients put secrets there."""
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
        message += f", {duration_s:.1f} s of audio: " + ", ".join(f"{stage} {s:.3f} s" for stage, s in stages.items())
    logger.log(logging.DEBUG if path in PROBES else logging.INFO, "%s", message, extra=fields)
