"""The service: `uvicorn app.main:app --host 0.0.0.0 --port 8000`."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI, Security
from fastapi_offline import FastAPIOffline

from app import __version__
from app.api import asr_webservice, deepgram, deepgram_live, health, metrics, openai, page, realtime, transcribe, vosk
from app.api.auth import ApiKeys
from app.api.description import describe_what_all_routes_share
from app.api.errors import error_responses, install_error_handlers
from app.api.middleware import install_middleware
from app.errors import HeaderTooLarge, InvalidRequest, RequestTimeout, Unauthorized
from app.logs import set_up_logging
from app.memory import keep_freed_memory
from app.metrics import Metrics
from app.service import Service
from app.settings import Settings

SURFACES = (
    *(transcribe.router, asr_webservice.router, openai.router, openai.models_router),
    *(deepgram.router, deepgram_live.router, realtime.router, vosk.router),
)
"""Routers of the client APIs, each made with `app.api.intake.surface`."""


def create_app(settings: Settings | None = None) -> FastAPI:
    """Make the application. Settings come from the environment unless given."""
    settings = settings or Settings()
    counters = Metrics()
    service = Service(settings, counters)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        set_up_logging(settings.log_level, settings.log_format)
        keep_freed_memory()
        service.start()
        yield
        await service.stop()

    app = FastAPIOffline(  # serves Swagger UI itself: /docs works without access to a content delivery network
        redoc_url=None,
        redirect_slashes=False,  # behind a proxy that terminates TLS, a redirect would lead to http://
        title="Dikte",
        version=__version__,
        description="Speech to text with wav2vec2-CTC and Whisper models on ordinary CPUs.",
        lifespan=lifespan,
        responses=error_responses(InvalidRequest, RequestTimeout, HeaderTooLarge),
    )
    app.state.service = service
    app.state.metrics = counters
    install_error_handlers(app)
    install_middleware(app, counters, settings.origins)
    for surface in SURFACES:
        app.include_router(
            surface,
            dependencies=[Security(ApiKeys(settings.keys))] if settings.keys else [],
            responses=error_responses(Unauthorized),
        )
    app.include_router(health.router)
    app.include_router(metrics.router)
    app.include_router(page.router)
    describe_what_all_routes_share(app)
    return app


def __getattr__(name: str) -> FastAPI:
    """Make `app.main:app` when a server asks for it, so that the import alone has no effect."""
    if name == "app":
        return create_app()
    raise AttributeError(name)
