"""HTTP connections with time limits, which keep file descriptors free for new clients.

uvicorn's own protocol waits without limit for the header of a request, and for the rest of a body that it has refused.
It drops a client that closes its side of the connection, and answers invalid HTTP with plain text.
"""

import asyncio
import enum
import socket
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from itertools import islice
from typing import Any

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from app.api.errors import error_answer
from app.errors import AsrError, HeaderTooLarge, InvalidRequest, RequestTimeout
from app.websocket_connections import MAX_MESSAGE_BYTES, PING_S, WebSocketConnection

LINGER_S, LINGER_BYTES = 2.0, 1 << 20
"""Lingering close: how long, and how many bytes, a client may still send after an error that ends the connection.
Closing at once would discard the response."""
FIRST_PROBE_S = 0.2
"""Most requests are answered by then. The probe is visible to people who use tools such as `nc`."""
PEER_CHECK_S, MAX_PEER_CHECK_S = 0.05, 2.0


@dataclass
class Connections:
    """State and limits that all connections share.

    header_s: seconds to send the whole header of a request. rest_s: seconds to send the rest of a body whose request is
    already answered. stalled_s: seconds for a client to accept data that is sent to it. descriptor_limit: of the
    process; `reserved` of them are kept for health checks and temporary files. shortage: called when a connection takes
    a reserved descriptor and no other connection can be closed.
    """

    header_s: float = 10.0
    rest_s: float = 30.0
    stalled_s: float = 60.0
    descriptor_limit: int = sys.maxsize
    reserved: int = 0
    shortage: Callable[[], object] = lambda: None
    idle: dict["Connection", float] = field(default_factory=dict)
    """Connections that are not answering a request, with the time since when (`time.monotonic`); longest idle first."""
    closing: set["Connection"] = field(default_factory=set)
    """Closed connections whose descriptor is released in the event loop's next step."""

    def make_room(self, descriptor: int) -> None:
        """Close the longest idle connection if a new connection's descriptor is a reserved one.

        The kernel assigns the lowest free number, so all lower numbers are in use.
        """
        if descriptor >= self.descriptor_limit - self.reserved and self.close_idle(1) == 0:
            self.shortage()

    def close_idle(self, count: int, min_s: float = 0.0) -> int:
        """Close up to `count` connections that have been idle for `min_s` seconds and have nothing left to send.

        The longest idle ones are closed first. Returns how many were closed.
        """
        before = time.monotonic() - min_s
        idle = (connection for connection, since in self.idle.items() if since <= before and connection.sent)
        closing = list(islice(idle, max(count, 0)))
        for connection in closing:
            connection.abort()
        return len(closing)


class Phase(enum.Enum):
    """What a connection waits for."""

    HEADER = enum.auto()
    """The header of its first request, or the rest of a header."""
    ANSWER = enum.auto()
    """The answer to its request; the application limits that time."""
    NEXT = enum.auto()
    """Another request, of which nothing has arrived; uvicorn's `timeout_keep_alive` ends it."""
    REST = enum.auto()
    """The rest of what the client sends after its request was answered or refused."""


class ConnectionConfig(uvicorn.Config):
    """uvicorn's configuration and the state that its connections share."""

    def __init__(self, app: Any, connections: Connections, **options: Any) -> None:
        super().__init__(
            app,
            http=Connection,
            ws=WebSocketConnection,
            ws_max_size=MAX_MESSAGE_BYTES,
            ws_ping_interval=PING_S,
            ws_ping_timeout=PING_S,
            ws_per_message_deflate=False,  # sound does not get shorter, and bombs stay out
            **options,
        )
        self.connections = connections


class Connection(H11Protocol):
    """One HTTP/1.1 connection. h11 limits the size of headers, this class limits their time."""

    def __init__(
        self,
        config: ConnectionConfig,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._shared = config.connections
        self._phase: Phase | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._refused = False
        self._ignored_bytes = 0
        self._half_closed = False
        self._upgraded = False

    # Called by the event loop

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn
        """A client connected."""
        super().connection_made(transport)
        self._socket: socket.socket = transport.get_extra_info("socket")
        with suppress(AttributeError, OSError):  # only Linux has it
            stalled_ms = round(self._shared.stalled_s * 1000)
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, stalled_ms)
        self._shared.make_room(self._socket.fileno())
        self._enter(Phase.HEADER, self._shared.header_s)

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection was closed by either side."""
        self._leave()
        self._shared.closing.discard(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """The client sent data."""
        if self._refused:
            self._ignored_bytes += len(data)
            if self._ignored_bytes > LINGER_BYTES:
                self.abort()
            return
        super().data_received(data)
        if self._refused or self._upgraded or self.transport.is_closing():
            return
        if self.conn.their_state is h11.IDLE:
            self._enter(Phase.HEADER, self._shared.header_s)
        else:
            self._wait_for_answer()

    def eof_received(self) -> bool:  # type: ignore[override]  # uvicorn's returns nothing
        """The client will send no more.

        Returns whether the connection stays open, so that pending requests are answered.
        """
        if self._phase is not Phase.ANSWER:
            return False
        if self.conn.their_state is h11.SEND_BODY:
            self._refuse(InvalidRequest("the body is incomplete: the client closed the connection"))
            return False
        if not self._half_closed:
            self._half_closed = True
            self._timer = self.loop.call_later(FIRST_PROBE_S, self._probe_peer)
        return True

    # Called by uvicorn

    def on_response_complete(self) -> None:
        """A request was answered. The next one on the connection may already have arrived."""
        super().on_response_complete()
        if self.transport.is_closing():
            return
        if self.conn.their_state is not h11.IDLE:
            self._wait_for_answer()
        elif self._half_closed:
            self.transport.close()
        elif self.conn.trailing_data[0]:
            self._enter(Phase.HEADER, self._shared.header_s)
        else:
            self._enter(Phase.NEXT)

    def handle_websocket_upgrade(self, event: h11.Request) -> None:
        """The client asks for a WebSocket, which has its own limits from here on."""
        self._upgraded = True
        self._leave()
        super().handle_websocket_upgrade(event)

    def send_400_response(self, msg: str) -> None:
        """Called while an h11 error is handled: the client sent invalid HTTP."""
        problem = sys.exception()
        if isinstance(problem, h11.RemoteProtocolError) and problem.error_status_hint == HeaderTooLarge.status:
            self._refuse(HeaderTooLarge("the header of the request is too large"))
        else:
            reason = str(problem or msg).partition(": bytearray")[0]  # without echoing what the client sent
            self._refuse(InvalidRequest(f"this is not a valid HTTP request: {reason}"))

    def _should_upgrade_to_ws(self) -> bool:
        """Whether a request that names a WebSocket is a handshake (RFC 6455, section 4.2.1): a GET with a key, no body.

        Any other is answered as if it did not name it. uvicorn would hand it to the WebSocket, which never answers.
        """
        headers = dict(self.headers)
        has_body = b"transfer-encoding" in headers or headers.get(b"content-length", b"0") != b"0"
        return self.scope["method"] == "GET" and b"sec-websocket-key" in headers and not has_body

    def _unsupported_upgrade_warning(self) -> None:
        """Java's client asks for HTTP/2 with every request; answered in HTTP/1.1, it continues with that.

        So no warning.
        """

    # Phases

    def _enter(self, phase: Phase, timeout_s: float | None = None) -> None:
        """Enter a phase for at most `timeout_s` seconds. Entering the current phase again does not extend it."""
        if phase is self._phase:
            return
        self._leave()
        self._phase = phase
        if phase is not Phase.ANSWER:
            self._shared.idle[self] = time.monotonic()
        if timeout_s is not None:
            self._timer = self.loop.call_later(timeout_s, self._give_up)

    def _leave(self) -> None:
        self._phase = None
        self._shared.idle.pop(self, None)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _wait_for_answer(self) -> None:
        """Wait for the answer to a request or, if it was sent, for the rest of the body, which is discarded."""
        if self.cycle is not None and self.cycle.response_complete and self.conn.their_state is h11.SEND_BODY:
            self._unset_keepalive_if_required()
            self._enter(Phase.REST, self._shared.rest_s)
        else:
            self._enter(Phase.ANSWER)

    def _give_up(self) -> None:
        """The time of the phase is over."""
        if self._phase is Phase.HEADER and self.conn.trailing_data[0]:
            header_s = self._shared.header_s
            self._refuse(RequestTimeout(f"the header of the request did not come within {header_s:g} s"))
        else:
            self.abort()

    @property
    def sent(self) -> bool:
        """Whether the kernel has taken all outgoing data."""
        return self.transport.get_write_buffer_size() == 0

    def abort(self) -> None:
        """Close the connection now and discard unsent data."""
        self._leave()
        self._shared.closing.add(self)
        self.transport.abort()

    # Errors and clients that are gone

    def _refuse(self, error: AsrError) -> None:
        """Send the error if no answer was started, and close the connection once the client has read it."""
        self._refused = True
        self._unset_keepalive_if_required()
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        if self.conn.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
            self.transport.close()
            return
        in_request = self.cycle is not None and not self.cycle.response_complete
        answer = error_answer(error, str(self.scope["path"]) if in_request else "")
        to_head = self.conn.our_state is h11.SEND_RESPONSE and self.scope["method"] == "HEAD"
        headers = [*self.server_state.default_headers, *answer.raw_headers, (b"connection", b"close")]
        for event in (
            h11.Response(status_code=answer.status_code, headers=headers, reason=HTTPStatus(answer.status_code).phrase),
            h11.Data(data=b"" if to_head else bytes(answer.body)),
            h11.EndOfMessage(),
        ):
            self.transport.write(self.conn.send(event))
        # If the socket is closed while data from the client is unread, the kernel discards the answer.
        self.transport.write_eof()
        self._enter(Phase.REST, LINGER_S)

    def _probe_peer(self) -> None:
        """Find out whether a client that sends no more still listens, or is gone.

        Both look the same until something is sent: a client that is gone resets the connection. Clients ignore any
        number of `100 Continue` responses (RFC 9110, 15.2).
        """
        if self.conn.our_state is h11.SEND_RESPONSE and self.conn.their_http_version == b"1.1":
            event = h11.InformationalResponse(status_code=100, headers=[], reason=b"Continue")
            self.transport.write(self.conn.send(event))
            self._check_peer(PEER_CHECK_S)

    def _check_peer(self, wait_s: float) -> None:
        """Close the connection if the client has reset it.

        The event loop no longer watches a socket after its end of file, so it does not report the reset.
        """
        if self.transport.is_closing() or self._phase is not Phase.ANSWER:
            return
        if self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            self.abort()
            return
        self._timer = self.loop.call_later(wait_s, self._check_peer, min(2 * wait_s, MAX_PEER_CHECK_S))
