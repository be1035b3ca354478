"""API keys: who may transcribe."""

import hmac
from collections.abc import Iterable
from hashlib import sha256

from fastapi.requests import HTTPConnection
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from starlette.datastructures import Headers

from app.errors import Unauthorized

SCHEMES = frozenset({"bearer", "token"})
"""Of the Authorization header; `Token` is Deepgram's."""
PROTOCOL_HEADER = "sec-websocket-protocol"
KEY_PROTOCOL = "openai-insecure-api-key."
"""Browsers cannot set the headers of a WebSocket: OpenAI's clients send the key in the name of a subprotocol."""


class ApiKeys(HTTPBearer):
    """A route dependency: requires `Authorization: Bearer` with one of the keys, before the body is read.

    `Token` does as well and, for a WebSocket, the subprotocols of Deepgram (`token, KEY`) and OpenAI.
    """

    def __init__(self, keys: Iterable[str]) -> None:
        super().__init__(scheme_name="ApiKey", description="One of the keys in ASR_API_KEYS.", auto_error=False)
        self._digests = [digest(key) for key in keys]

    async def __call__(self, request: HTTPConnection) -> HTTPAuthorizationCredentials | None:
        """Raises Unauthorized."""
        given = credentials(request.headers, request.scope["type"] == "websocket")
        if given is None:
            raise Unauthorized("send an API key: `Authorization: Bearer <key>`")
        if not self.has(given.credentials):
            raise Unauthorized("this API key is not known")
        return given

    def has(self, key: str) -> bool:
        """Whether this is one of the keys. Constant time: every key is compared in full, so timing reveals nothing."""
        given = digest(key)
        return sum(hmac.compare_digest(given, known) for known in self._digests) > 0


def digest(key: str) -> bytes:
    """The key's hash. All hashes have the same length, so comparing them does not reveal the length of a key."""
    return sha256(key.encode()).digest()


def credentials(headers: Headers, is_websocket: bool) -> HTTPAuthorizationCredentials | None:
    """The key in the header of a request; None if there is none."""
    scheme, _, key = headers.get("authorization", "").partition(" ")
    if scheme.lower() in SCHEMES and key:
        return HTTPAuthorizationCredentials(scheme=scheme, credentials=key.strip())
    if not is_websocket:
        return None
    protocols = [name.strip() for name in headers.get(PROTOCOL_HEADER, "").split(",")]
    for name, following in zip(protocols, [*protocols[1:], ""], strict=True):
        if name.lower() in SCHEMES and following:
            return HTTPAuthorizationCredentials(scheme=name, credentials=following)
        if name.startswith(KEY_PROTOCOL):
            return HTTPAuthorizationCredentials(scheme="token", credentials=name.removeprefix(KEY_PROTOCOL))
    return None
