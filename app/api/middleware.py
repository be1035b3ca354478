"""The middlewares that every request and every response pass, in order."""

from collections.abc import Sequence

from fastapi import FastAPI, Response
from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.types import Receive, Scope, Send

from app.api.error_shapes import RETRY_HEADER
from app.api.errors import AnswerBugs, error_answer
from app.api.headers import SecurityHeaders
from app.api.intake import TIMEOUT_HEADER
from app.api.openai_options import IGNORED_HEADER, MODEL_HEADER
from app.api.outcomes import CountOutcomes
from app.api.paths import path_of
from app.api.request_log import HEADER, RequestLog
from app.api.targets import AbsoluteTargets, HeadAsGet
from app.errors import InvalidRequest
from app.metrics import Metrics

CLIENT_HEADERS = ("x-stainless-", "openai-")
"""Prefixes of the headers that OpenAI's clients add to every request, in browsers too."""
ASKED_METHOD, ASKED_HEADERS = "access-control-request-method", "access-control-request-headers"


def install_middleware(app: FastAPI, metrics: Metrics, origins: Sequence[str]) -> None:
    """Add the middlewares, innermost first.

    All are plain ASGI: starlette's BaseHTTPMiddleware would hide that a client has disconnected.
    """
    app.add_middleware(AnswerBugs)
    app.add_middleware(CountOutcomes, metrics=metrics)
    if origins:  # outside of the error handlers, because a page must be able to read errors too
        app.add_middleware(
            CrossOrigin,
            allow_origins=origins,
            allow_methods=("GET", "POST"),
            allow_headers=("Authorization", TIMEOUT_HEADER, HEADER, "Idempotency-Key", "X-Client-Request-Id"),
            expose_headers=(HEADER, "Retry-After", RETRY_HEADER, IGNORED_HEADER, MODEL_HEADER),
        )
    app.add_middleware(SecurityHeaders)
    app.add_middleware(HeadAsGet)
    app.add_middleware(RequestLog)
    app.add_middleware(AbsoluteTargets)


class CrossOrigin(CORSMiddleware):
    """Starlette's CORSMiddleware, but it allows the headers that OpenAI's clients add to every request.

    It refuses a preflight in the common error shape.
    """

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass everything on; answer an OPTIONS request that asks what a page may send."""
        headers = Headers(scope=scope) if scope["type"] == "http" else Headers()
        if scope["type"] != "http" or scope["method"] != "OPTIONS" or not {"origin", ASKED_METHOD} <= {*headers}:
            await super().__call__(scope, receive, send)
            return
        response = self.preflight_response(headers)
        if response.status_code >= InvalidRequest.status:
            refusal = error_answer(InvalidRequest(bytes(response.body).decode()), path_of(scope))
            for name, value in response.headers.items():
                if name not in refusal.headers:
                    refusal.headers[name] = value
            response = refusal
        await response(scope, receive, send)

    def preflight_response(self, request_headers: Headers) -> Response:
        """What a page may send, as far as it asks."""
        asked = [name.strip() for name in request_headers.get(ASKED_HEADERS, "").split(",")]
        of_clients = [name for name in asked if name.lower().startswith(CLIENT_HEADERS)]
        others = [name for name in asked if name and name not in of_clients]
        known = {name: value for name, value in request_headers.items() if name != ASKED_HEADERS}
        response = super().preflight_response(Headers(known | ({ASKED_HEADERS: ", ".join(others)} if others else {})))
        if of_clients:
            allowed = response.headers["access-control-allow-headers"]
            response.headers["access-control-allow-headers"] = ", ".join([allowed, *of_clients])
        return response
