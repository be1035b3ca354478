"""The service as a process: it starts, and on SIGTERM or SIGINT answers what it let in before it ends.

`uvicorn app.main:app` serves the same application, but ends as soon as it can and with the signal's exit status.
"""

import logging
import time
from types import FrameType

import uvicorn

from app.errors import STOPPING
from app.logs import set_up_logging
from app.main import create_app
from app.service import Service
from app.settings import Settings

logger = logging.getLogger("dikte")

LAST_ANSWERS_S = 5
"""For answers that are made to be sent."""


class DrainingServer(uvicorn.Server):
    """uvicorn, but at the first signal the service becomes not ready and lets nobody in, and goes on answering.

    It ends when every request that was let in is answered, when `grace_s` is over, or at the second signal.
    """

    def __init__(self, config: uvicorn.Config, service: Service, grace_s: float) -> None:
        super().__init__(config)
        self._service = service
        self._grace_s = grace_s
        self._give_up_at: float | None = None
        self.lost = 0

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Called in the main thread, in the midst of anything: only notes what was asked for."""
        if self._give_up_at is not None:
            self._give_up_at = 0.0
        else:
            self._give_up_at = time.monotonic() + self._grace_s

    async def on_tick(self, counter: int) -> bool:
        """Called ten times a second. True ends the server."""
        if self._give_up_at is None:
            return await super().on_tick(counter)
        if self._service.reason != STOPPING:
            logger.info("stopping: %d requests are being answered", self._service.admission.requests)
            self._service.drain()
        if self._service.idle:
            return True
        if time.monotonic() < self._give_up_at:
            return await super().on_tick(counter)
        self.lost = self._service.admission.requests
        logger.error("stopping: %d requests were not answered in time", self.lost)
        await self._service.stop()  # what waits is refused, so that its clients hear of it
        return True


def serve(settings: Settings) -> int:
    """Serve until a signal comes. Returns the exit status: 0 if all that was let in is answered."""
    set_up_logging(settings.log_level, settings.log_format)
    app = create_app(settings)
    config = uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        log_config=None,
        access_log=False,
        server_header=False,
        http="h11",  # which bounds the headers; httptools, where it is installed, takes them without end
        timeout_graceful_shutdown=LAST_ANSWERS_S,
    )
    server = DrainingServer(config, app.state.service, settings.grace_s)
    server.run()
    return 1 if server.lost or not server.started else 0
