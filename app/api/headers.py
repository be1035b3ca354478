"""Security headers for browsers."""

import re
from base64 import b64encode
from hashlib import sha256

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.api.paths import DOCS, STATIC_FILES, path_of

POLICY = "default-src 'none'; frame-ancestors 'none'"
DOCS_POLICY = (
    "default-src 'none'; script-src 'self' {hashes}; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""Swagger UI: its own files, its inline script by hash, its icons (data: URLs), and requests to this service only."""
PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; media-src 'self' blob:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""The page at `/`: its own files, the user's recordings (blob: URLs), and requests to this service only."""
HEADERS = {"X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY", "Referrer-Policy": "no-referrer"}


class SecurityHeaders:
    """Adds the security headers to every response."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, and the response with the headers."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        path = path_of(scope)
        page: Message | None = None

        async def send_with_headers(message: Message) -> None:
            nonlocal page
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.update(HEADERS)
                if not path.startswith(STATIC_FILES):
                    headers.setdefault("Cache-Control", "no-store")
                headers.setdefault("Content-Security-Policy", POLICY)
                if path == DOCS:
                    page = message  # sent once its body is known
                    return
            elif page is not None:
                MutableHeaders(scope=page)["Content-Security-Policy"] = docs_policy(message.get("body", b""))
                await send(page)
                page = None
            await send(message)

        await self._app(scope, receive, send_with_headers)


def docs_policy(page: bytes) -> str:
    """The policy that allows this page's inline scripts and no others."""
    scripts = re.findall(rb"<script>(.*?)</script>", page, re.DOTALL)
    hashes = (f"'sha256-{b64encode(sha256(script).digest()).decode()}'" for script in scripts)
    return DOCS_POLICY.format(hashes=" ".join(hashes))
