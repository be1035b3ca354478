"""Counting how transcription requests end: the only place that does."""

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.api.paths import TRANSCRIBE, path_of
from app.metrics import CLIENT_GONE, OK, OTHER, Metrics

COUNTED = frozenset({("POST", TRANSCRIBE)})


class CountOutcomes:
    """Counts each request to a route in COUNTED as `ok` or as what an error handler left in `request.state.outcome`.

    A handler that transcribed leaves `timings` and `duration_s` in `request.state`. A request that ends without an
    answer, because it was cancelled, was left by its client.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass everything on, and count what is counted when it has ended."""
        if scope["type"] != "http" or (scope["method"], path_of(scope)) not in COUNTED:
            await self._app(scope, receive, send)
            return
        outcome = CLIENT_GONE

        async def watched(message: Message) -> None:
            nonlocal outcome
            if message["type"] == "http.response.start":
                outcome = OK if message["status"] < 400 else OTHER
            await send(message)

        try:
            await self._app(scope, receive, watched)
        finally:
            state = scope["state"]
            self._metrics.answered(state.get("outcome", outcome))
            if "timings" in state:
                self._metrics.transcribed(state["timings"], state["duration_s"])
