"""The service as a process: on SIGTERM or SIGINT it answers every admitted request before it ends.

`uvicorn app.main:app` serves the same application, but ends as soon as possible and with the signal's exit status.
"""

import logging
import os
import time
from types import FrameType

import uvicorn

from app.connections import ConnectionConfig, Connections
from app.descriptors import count_free, set_limit
from app.environment import is_service_link
from app.errors import STOPPING
from app.logs import set_up_logging
from app.main import create_app
from app.service import Service
from app.settings import Settings

logger = logging.getLogger("dikte")

LAST_RESPONSES_S = 5
"""Seconds to send responses that are ready when the service ends."""
PROBE_DESCRIPTORS = 16
"""File descriptors reserved for health checks while all others are in use."""
RESERVED_SHARE = 0.2
"""Largest share of all descriptors that is reserved."""
SHORTAGE_SHARE = 0.5
"""The service is not ready while less than this share of the reserved descriptors is free, until all of them are."""
SHORTAGE_CHECKS = 2
"""Failed checks in a row that count as a shortage: a single one may miss connections that were only just accepted."""
REQUEST_COMES_WITHIN_S = 1.0
"""A connection younger than this is not closed as idle: its request is about to arrive."""


class DrainingServer(uvicorn.Server):
    """uvicorn, but the first signal only stops admission: the service becomes not ready and answers what it admitted.

    It ends when all admitted requests are answered, when `grace_s` seconds have passed, or at the second signal. While
    file descriptors run out, the service is not ready.

    unanswered: the number of requests that were dropped at the end.
    """

    def __init__(self, config: ConnectionConfig, service: Service, grace_s: float) -> None:
        super().__init__(config)
        self._connections = config.connections
        self._connections.shortage = self._watch_descriptors
        self._shortage: str | None = None
        self._short_checks = 0
        self._service = service
        self._grace_s = grace_s
        self._give_up_at: float | None = None
        self.unanswered = 0

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Note a signal. It arrives in the main thread at any point, so nothing else is safe here."""
        if self._give_up_at is not None:
            self._give_up_at = 0.0
        else:
            self._give_up_at = time.monotonic() + self._grace_s

    async def on_tick(self, counter: int) -> bool:
        """Called ten times a second; True ends the server."""
        if counter % 10 == 0:
            self._watch_descriptors()
        if self._give_up_at is None:
            return await super().on_tick(counter)
        if self._service.reason != STOPPING:
            logger.info("stopping: %d requests are being answered", self._service.admission.requests)
            self._service.drain()
        if self._service.idle:
            return True
        if time.monotonic() < self._give_up_at:
            return await super().on_tick(counter)
        self.unanswered = self._service.admission.requests
        logger.error("stopping: %d requests were not answered in time", self.unanswered)
        await self._service.stop()  # refuses the waiting requests, so that their clients get an answer
        return True

    def _watch_descriptors(self) -> None:
        """Close idle connections when descriptors run out; if that is not enough, make the service not ready."""
        limit, reserved = self._connections.descriptor_limit, self._connections.reserved
        free = count_free(limit) + len(self._connections.closing)
        free += self._connections.close_idle(reserved - free, REQUEST_COMES_WITHIN_S)
        few = int(reserved * SHORTAGE_SHARE)
        self._short_checks = self._short_checks + 1 if free < few else 0
        if self._short_checks >= SHORTAGE_CHECKS:
            self._shortage = f"file descriptors run out: fewer than {few} of {limit} (`ulimit -n`) are free"
        elif free >= reserved:
            self._shortage = None
        self._service.report_shortage(self._shortage)


def serve(settings: Settings) -> int:
    """Serve until a signal arrives. Returns the exit status: 0 if all admitted requests were answered."""
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
        workers=1,  # otherwise uvicorn reads WEB_CONCURRENCY and fails if it is not a number
        timeout_keep_alive=settings.keep_alive_s,
        timeout_graceful_shutdown=LAST_RESPONSES_S,
    )
    server = DrainingServer(config, app.state.service, settings.grace_s)
    server.run()
    return 1 if server.unanswered or not server.started else 0
