"""API keys: who may transcribe."""

import hmac
from collections.abc import Iterable
from hashlib import sha256

from fastapi.requests import HTTPConnection
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from app.errors import Unauthorized


class ApiKeys(HTTPBearer):
    """A route dependency: requires `Authorization: Bearer` with one of the keys, before the body is read."""

    def __init__(self, keys: Iterable[str]) -> None:
        super().__init__(scheme_name="ApiKey", description="One of the keys in ASR_API_KEYS.", auto_error=False)
        self._digests = [digest(key) for key in keys]

    async def __call__(self, request: HTTPConnection) -> HTTPAuthorizationCredentials | None:
        """Raises Unauthorized."""
        given = await super().__call__(request)
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
