"""The service: `uvicorn app.main:app --host 0.0.0.0 --port 8000`."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI, Security
from fastapi_offline import FastAPIOffline

from app import __version__
from app.api import health, metrics, transcribe
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

SURFACES = (transcribe.router,)
"""The APIs that clients speak, each a router that `app.api.intake.surface` made."""


def create_app(settings: Settings | None = None) -> FastAPI:
    """The application. Settings are read from the environment if none are given."""
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

    app = FastAPIOffline(  # Swagger UI from files of its own: /docs works where no content delivery network is reached
        redoc_url=None,
        redirect_slashes=False,  # behind a proxy that ends TLS a redirect would lead to http://
        title="Dikte",
        version=__version__,
        description="Speech to text with wav2vec2-CTC models on ordinary CPUs.",
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
    describe_what_all_routes_share(app)
    return app


def __getattr__(name: str) -> FastAPI:
    """`app.main:app` is made when a server asks for it, so that an import alone does nothing."""
    if name == "app":
        return create_app()
    raise AttributeError(name)
