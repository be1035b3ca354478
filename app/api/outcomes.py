"""Counts the outcomes of transcription requests; nothing else does."""

from fastapi.routing import APIWebSocketRoute
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.api.intake import TranscriptionRoute
from app.api.messages import CONNECTIONS, status_of
from app.metrics import CLIENT_GONE, OK, OTHER, Metrics


class CountOutcomes:
    """Counts each request to a `TranscriptionRoute`, and each WebSocket: `ok`, or the code in `request.state.outcome`.

    Error handlers store the code there; a handler that transcribed stores `timings` and `duration_s` in
    `request.state`. A request that ends without an answer was cancelled, because its client disconnected.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass everything on, and count the outcome at the end."""
        if scope["type"] not in CONNECTIONS:
            await self._app(scope, receive, send)
            return
        outcome = CLIENT_GONE

        async def watched(message: Message) -> None:
            nonlocal outcome
            if (status := status_of(message)) is not None:
                outcome = OK if status < 400 else OTHER
            await send(message)

        try:
            await self._app(scope, receive, watched)
        finally:
            state = scope["state"]
            if is_counted(scope):
                self._metrics.answered(state.get("outcome", outcome))
            if "timings" in state:
                self._metrics.transcribed(state["timings"], state["duration_s"])


def is_counted(scope: Scope) -> bool:
    """Whether a routed request asked for a transcription. Every WebSocket does."""
    route = scope.get("route")
    if isinstance(route, APIWebSocketRoute):
        return True
    return isinstance(route, TranscriptionRoute) and scope["method"] in (route.methods or ())
