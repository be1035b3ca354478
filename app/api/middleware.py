"""What every request passes on its way in and every answer on its way out, in order."""

from collections.abc import Sequence

from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware

from app.api.errors import AnswerBugs
from app.api.headers import SecurityHeaders
from app.api.outcomes import CountOutcomes
from app.api.request_log import HEADER, RequestLog
from app.metrics import Metrics


def install_middleware(app: FastAPI, metrics: Metrics, origins: Sequence[str]) -> None:
    """Innermost first. All are plain ASGI: starlette's BaseHTTPMiddleware would hide that a client has left."""
    app.add_middleware(AnswerBugs)
    app.add_middleware(CountOutcomes, metrics=metrics)
    if origins:  # around the errors, for a page has to read those too
        app.add_middleware(
            CORSMiddleware,
            allow_origins=origins,
            allow_methods=("GET", "POST"),
            allow_headers=("Authorization", "X-Request-Timeout", HEADER),
            expose_headers=(HEADER, "Retry-After"),
        )
    app.add_middleware(SecurityHeaders)
    app.add_middleware(RequestLog)
