"""Rewrites requests for the router: `GET http://host/livez` asks for `/livez`, and `HEAD` for the answer to `GET`."""

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send


class AbsoluteTargets:
    """Replaces a target with scheme and host, as sent to proxies, by its path (RFC 9112, 3.2.2).

    The host in the target overrides the Host header.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, with its path."""
        if scope["type"] == "http" and scope["path"].lower().startswith(("http://", "https://")):
            host, _, path = scope["path"].partition("://")[2].partition("/")
            raw_path = scope["raw_path"].partition(b"://")[2].partition(b"/")[2]
            scope = {**scope, "path": f"/{path}", "raw_path": b"/" + raw_path, "headers": list(scope["headers"])}
            MutableHeaders(scope=scope)["host"] = host
        await self._app(scope, receive, send)


class HeadAsGet:
    """Answers HEAD like GET, without the body (RFC 9110, 9.1: a server must support it); uptime monitors send HEAD."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on as GET."""
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self._app(scope, receive, send)
            return

        async def send_without_body(message: Message) -> None:
            await send({**message, "body": b""} if message["type"] == "http.response.body" else message)

        await self._app({**scope, "method": "GET"}, receive, send_without_body)
