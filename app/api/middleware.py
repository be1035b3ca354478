"""The middlewares that every request and every response pass, in order."""

from collections.abc import Sequence

from fastapi import FastAPI, Response
from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware

from app.api.errors import AnswerBugs, error_answer
from app.api.headers import SecurityHeaders
from app.api.outcomes import CountOutcomes
from app.api.request_log import HEADER, RequestLog
from app.api.targets import AbsoluteTargets, HeadAsGet
from app.errors import InvalidRequest
from app.metrics import Metrics


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
            allow_headers=("Authorization", "X-Request-Timeout", HEADER),
            expose_headers=(HEADER, "Retry-After"),
        )
    app.add_middleware(SecurityHeaders)
    app.add_middleware(HeadAsGet)
    app.add_middleware(RequestLog)
    app.add_middleware(AbsoluteTargets)


class CrossOrigin(CORSMiddleware):
    """Starlette's CORSMiddleware, but it refuses a preflight in the common error shape."""

    def preflight_response(self, request_headers: Headers) -> Response:
        """The response to an OPTIONS request that asks what a page may send."""
        response = super().preflight_response(request_headers)
        if response.status_code < InvalidRequest.status:
            return response
        refusal = error_answer(InvalidRequest(bytes(response.body).decode()))
        for name, value in response.headers.items():
            if name not in refusal.headers:
                refusal.headers[name] = value
        return refusal
