"""The service as a process: it starts, and on SIGTERM or SIGINT answers what it let in before it ends.

`uvicorn app.main:app` serves the same application, but ends as soon as it can and with the signal's exit status.
"""

import logging
import os
import time
from types import FrameType

import uvicorn

from app.connections import ConnectionConfig, Connections
from app.descriptors import count_free, set_limit
from app.errors import STOPPING
from app.logs import set_up_logging
from app.main import create_app
from app.service import Service
from app.settings import Settings, is_service_link

logger = logging.getLogger("dikte")

LAST_ANSWERS_S = 5
"""For answers that are made to be sent."""
PROBE_DESCRIPTORS = 16
"""For connections that ask how the service is, when all others are in use."""
RESERVED_SHARE = 0.2
"""Of all descriptors, the most that are reserved."""
SHORTAGE_SHARE = 0.5
"""Of the reserved descriptors, those that are left when the service is not ready, until all of them are free again."""
LOOKS_SHORT = 2
"""So often in a row: once, connections that have just been accepted may not be known here yet."""
REQUEST_COMES_WITHIN_S = 1.0
"""A client that has just connected is about to ask something."""


class DrainingServer(uvicorn.Server):
    """uvicorn, but at the first signal the service becomes not ready and lets nobody in, and goes on answering.

    It ends when every request that was let in is answered, when `grace_s` is over, or at the second signal. While file
    descriptors run out, the service is not ready.
    """

    def __init__(self, config: ConnectionConfig, service: Service, grace_s: float) -> None:
        super().__init__(config)
        self._connections = config.connections
        self._connections.shortage = self._look_after_descriptors
        self._shortage: str | None = None
        self._looks_short = 0
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
        if counter % 10 == 0:
            self._look_after_descriptors()
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

    def _look_after_descriptors(self) -> None:
        """Close idle connections where descriptors run out; where that is not enough, the service is not ready."""
        limit, reserved = self._connections.descriptor_limit, self._connections.reserved
        free = count_free(limit) + len(self._connections.closing)
        free += self._connections.close_idle(reserved - free, REQUEST_COMES_WITHIN_S)
        few = int(reserved * SHORTAGE_SHARE)
        self._looks_short = self._looks_short + 1 if free < few else 0
        if self._looks_short >= LOOKS_SHORT:
            self._shortage = f"file descriptors run out: fewer than {few} of {limit} (`ulimit -n`) are free"
        elif free >= reserved:
            self._shortage = None
        self._service.report_shortage(self._shortage)


def serve(settings: Settings) -> int:
    """Serve until a signal comes. Returns the exit status: 0 if all that was let in is answered."""
    set_up_logging(settings.log_level, settings.log_format)
    if is_service_link(os.environ.get("ASR_PORT")):
        logger.warning("ASR_PORT is ignored: Kubernetes has set it for a Service called `asr`")
    app = create_app(settings)
    limit = set_limit()
    connections = Connections(
        header_s=settings.header_s,
        rest_s=settings.upload_idle_s,
        descriptor_limit=limit,
        reserved=min(settings.max_uploads + PROBE_DESCRIPTORS, int(limit * RESERVED_SHARE)),
    )
    config = ConnectionConfig(
        app,
        connections,
        host=settings.host,
        port=settings.port,
        log_config=None,
        access_log=False,
        server_header=False,
        workers=1,  # else uvicorn fails on a WEB_CONCURRENCY that is no number
        timeout_keep_alive=settings.keep_alive_s,
        timeout_graceful_shutdown=LAST_ANSWERS_S,
    )
    server = DrainingServer(config, app.state.service, settings.grace_s)
    server.run()
    return 1 if server.lost or not server.started else 0
