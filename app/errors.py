"""Every way a request can fail, with the HTTP status and the stable code that clients see.

This tree is the only table from errors to HTTP: `app.api.errors` answers with it, and OpenAPI is generated from it.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, ClassVar

LOADING = "the model is being loaded"
"""Why no request is admitted at first."""
STOPPING = "the service is stopping"
"""Why requests are refused once the service was told to stop."""


class AsrError(Exception):
    """Base of all errors that are answered to a client.

    status: the HTTP status. code: a stable machine-readable name. details: JSON values that help a client to react,
    such as a limit and the value that exceeded it. retry_after_s: seconds until a retry is worthwhile, if it ever is.
    headers: extra headers of the answer.
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
        """The common shape of all errors: `{"error": {"code", "message", ...}}`."""
        return {"error": {"code": self.code, "message": self.message, **self.details}}


class InvalidRequest(AsrError):
    """The request is not a well-formed multipart form."""

    status = 400
    code = "invalid_request"


class Unauthorized(AsrError):
    """The service requires an API key, and the request has none or an unknown one."""

    status = 401
    code = "unauthorized"
    headers = MappingProxyType({"WWW-Authenticate": "Bearer"})


class ForeignOrigin(AsrError):
    """A web page of another origin opened a WebSocket, and ASR_CORS_ORIGINS does not list it."""

    status = 403
    code = "foreign_origin"


class InvalidParameter(AsrError):
    """A field or parameter is missing, repeated or has a value that is not allowed."""

    status = 422
    code = "invalid_parameter"


class UnsupportedValue(AsrError):
    """The model cannot honor a field. Only on the paths of OpenAI's API, where such fields are otherwise ignored."""

    status = 400
    code = "unsupported_value"


class ModelNotFound(AsrError):
    """The service has no model of this name. Only on the paths of OpenAI's API, with ASR_STRICT."""

    status = 404
    code = "model_not_found"


class InvalidAudio(AsrError):
    """The format is known, but the file is broken: empty, no data, impossible header, NaN samples."""

    status = 400
    code = "invalid_audio"


class UnsupportedMedia(AsrError):
    """The file is not audio in a format that Dikte reads."""

    status = 415
    code = "unsupported_media"


class UnsupportedEncoding(AsrError):
    """The body is compressed (Content-Encoding). The answer's Accept-Encoding lists what is accepted."""

    status = 415
    code = "unsupported_encoding"
    headers = MappingProxyType({"Accept-Encoding": "identity"})


class UploadTooLarge(AsrError):
    """The request body is larger than the limit."""

    status = 413
    code = "upload_too_large"


class AudioTooLong(AsrError):
    """The audio is longer than the limit, in seconds or in decoded bytes."""

    status = 413
    code = "audio_too_long"


class RequestTimeout(AsrError):
    """The header of the request did not arrive in time."""

    status = 408
    code = "request_timeout"


class UploadTimeout(AsrError):
    """The body stopped arriving, or arrives too slowly."""

    status = 408
    code = "upload_timeout"


class HeaderTooLarge(AsrError):
    """The header of the request is larger than the limit."""

    status = 431
    code = "header_too_large"


class NotReady(AsrError):
    """No model is loaded yet, or it did not pass its checks."""

    status = 503
    code = "not_ready"
    retry_after_s = 5


class Overloaded(AsrError):
    """The service is busy, or cannot answer in time. Retry-After says when to try again."""

    status = 429
    code = "overloaded"
    retry_after_s = 1


class DeadlineExceeded(AsrError):
    """The request was not answered by its deadline, and was dropped."""

    status = 504
    code = "deadline_exceeded"


class EngineFailure(AsrError):
    """The engine failed while transcribing."""

    status = 500
    code = "engine_failure"
