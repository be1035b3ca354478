"""Every way a request can fail, each with the HTTP status and the stable code that clients see.

This tree is the only table from errors to HTTP: `app.api.errors` answers with it and OpenAPI is made from it.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, ClassVar

LOADING = "the model is being loaded"
"""Why nothing is let in at first."""
STOPPING = "the service is stopping"
"""Why nothing is let in, and what waits is refused, once the service was told to end."""


class AsrError(Exception):
    """Base of all errors that are answered to a client.

    `status` is the HTTP status, `code` a stable machine-readable name. `details` holds JSON values that help a
    client to react (a limit, the value that broke it). `retry_after_s`: when it is worth trying again, if it is.
    `headers`: what the answer says besides.
    """

    status: ClassVar[int] = 500
    code: ClassVar[str] = "internal_error"
    retry_after_s: int | None = None
    headers: ClassVar[Mapping[str, str]] = MappingProxyType({})

    def __init__(self, message: str, *, retry_after_s: int | None = None, **details: Any) -> None:
        super().__init__(message)
        self.message = message
        self.details = details
        if retry_after_s is not None:
            self.retry_after_s = retry_after_s

    def body(self) -> dict[str, Any]:
        """The one error shape: `{"error": {"code", "message", ...}}`."""
        return {"error": {"code": self.code, "message": self.message, **self.details}}


class InvalidRequest(AsrError):
    """The request is not a well-formed multipart form."""

    status = 400
    code = "invalid_request"


class Unauthorized(AsrError):
    """The service wants an API key, and the request has none or another."""

    status = 401
    code = "unauthorized"
    headers = MappingProxyType({"WWW-Authenticate": "Bearer"})


class InvalidParameter(AsrError):
    """A field or parameter is missing, doubled or has a value that is not allowed."""

    status = 422
    code = "invalid_parameter"


class InvalidAudio(AsrError):
    """The bytes are of a known format, but broken: empty, no data, impossible header, NaN samples."""

    status = 400
    code = "invalid_audio"


class UnsupportedMedia(AsrError):
    """The bytes are not sound in a format that Dikte reads."""

    status = 415
    code = "unsupported_media"


class UnsupportedEncoding(AsrError):
    """The body is compressed (Content-Encoding). The answer's Accept-Encoding says what is read."""

    status = 415
    code = "unsupported_encoding"
    headers = MappingProxyType({"Accept-Encoding": "identity"})


class UploadTooLarge(AsrError):
    """The request body has more bytes than the limit."""

    status = 413
    code = "upload_too_large"


class AudioTooLong(AsrError):
    """The sound is longer than the limit, in seconds or in decoded bytes."""

    status = 413
    code = "audio_too_long"


class RequestTimeout(AsrError):
    """The header of the request did not come in time."""

    status = 408
    code = "request_timeout"


class UploadTimeout(AsrError):
    """The body stopped coming, or comes too slowly."""

    status = 408
    code = "upload_timeout"


class HeaderTooLarge(AsrError):
    """The header of the request has more bytes than the limit."""

    status = 431
    code = "header_too_large"


class NotReady(AsrError):
    """No model is loaded (yet), or it did not pass its checks."""

    status = 503
    code = "not_ready"
    retry_after_s = 5


class Overloaded(AsrError):
    """More is waiting than the service takes, or than it can answer in time. Retry-After says when to come back."""

    status = 429
    code = "overloaded"
    retry_after_s = 1


class DeadlineExceeded(AsrError):
    """The request was not answered by its deadline, and is dropped."""

    status = 504
    code = "deadline_exceeded"


class EngineFailure(AsrError):
    """The engine raised while it transcribed."""

    status = 500
    code = "engine_failure"
