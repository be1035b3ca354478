"""The service: `uvicorn app.main:app --host 0.0.0.0 --port 8000`."""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from fastapi_offline import FastAPIOffline

from app import __version__
from app.api import health, transcribe
from app.api.errors import install_error_handlers
from app.service import Service
from app.settings import Settings


def create_app(settings: Settings | None = None) -> FastAPI:
    """The application. Settings are read from the environment if none are given."""
    settings = settings or Settings()
    service = Service(settings)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        _log_to_stderr(settings.log_level)
        service.start()
        yield
        await service.stop()

    app = FastAPIOffline(  # Swagger UI from files of its own: /docs works where no content delivery network is reached
        redoc_url=None,
        title="Dikte",
        version=__version__,
        description="Speech to text with wav2vec2-CTC models on ordinary CPUs.",
        lifespan=lifespan,
    )
    app.state.service = service
    install_error_handlers(app)
    app.include_router(transcribe.router)
    app.include_router(health.router)
    return app


def _log_to_stderr(level: str) -> None:
    logger = logging.getLogger("dikte")
    logger.setLevel(level.upper())
    if not logger.handlers:
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("%(levelname)s:     %(message)s"))
        logger.addHandler(handler)


def __getattr__(name: str) -> FastAPI:
    """`app.main:app` is made when a server asks for it, so that an import alone does nothing."""
    if name == "app":
        return create_app()
    raise AttributeError(name)
