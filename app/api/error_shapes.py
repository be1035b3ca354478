"""The two shapes of errors: Dikte's own and, on the paths of OpenAI's API, the one that its clients read.

OpenAI's: `{"error": {"message", "type", "param", "code"}}`. Its clients retry 408, 409, 429 and every status from 500
on, twice, each time with the whole file; `x-should-retry: false` stops that (openai-python, `_base_client.py`).
"""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from app.api.paths import is_openai
from app.errors import AudioTooLong, InvalidAudio, InvalidParameter, Overloaded, Unauthorized, UnsupportedMedia

RETRY_HEADER = "x-should-retry"
RETRYABLE = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE})
"""Statuses after which a second upload may succeed."""
OPENAI_CODES = {
    Unauthorized.code: "invalid_api_key",
    Overloaded.code: "rate_limit_exceeded",
    InvalidParameter.code: "invalid_value",
    "not_found": "unknown_url",
    "method_not_allowed": "method_not_supported",
}
"""Codes that OpenAI has its own names for; all others are the same in both shapes."""
OPENAI_BAD_REQUESTS = frozenset({InvalidParameter.code, UnsupportedMedia.code})
"""Codes that OpenAI answers with status 400."""
FILE_ERRORS = frozenset({InvalidAudio.code, UnsupportedMedia.code, AudioTooLong.code})
"""Codes of errors in the uploaded file."""

ERROR_SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["code", "message"],
            "properties": {
                "code": {"type": "string", "description": "Stable name of the cause."},
                "message": {"type": "string", "description": "What was wrong, for people."},
            },
            "additionalProperties": True,
        }
    },
}
OPENAI_ERROR_SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message", "type", "param", "code"],
            "properties": {
                "message": {"type": "string", "description": "What was wrong, for people."},
                "type": {"type": "string", "enum": ["invalid_request_error", "rate_limit_error", "server_error"]},
                "param": {"anyOf": [{"type": "string"}, {"type": "null"}], "description": "The field it is about."},
                "code": {"type": "string", "description": "Stable name of the cause."},
            },
        }
    },
}


def error_body(code: str, message: str, details: Mapping[str, Any], status: int, path: str) -> dict[str, Any]:
    """The body of an error, in the shape of the API that `path` belongs to. details: JSON values about the cause."""
    if not is_openai(path):
        return {"error": {"code": code, "message": message, **details}}
    if allowed := details.get("allowed"):
        message += f"; allowed: {', '.join(map(str, allowed))}"
    return {
        "error": {
            "message": message,
            "type": openai_type(status),
            "param": details.get("field", "file" if code in FILE_ERRORS else None),
            "code": OPENAI_CODES.get(code, code),
        }
    }


def error_status(code: str, status: int, path: str) -> int:
    """The HTTP status of an error on this path."""
    return HTTPStatus.BAD_REQUEST if is_openai(path) and code in OPENAI_BAD_REQUESTS else status


def retry_headers(status: int, path: str) -> dict[str, str]:
    """The header that keeps OpenAI's clients from uploading a file again in vain."""
    return {RETRY_HEADER: "false"} if is_openai(path) and status not in RETRYABLE else {}


def openai_type(status: int) -> str:
    """OpenAI's kind of an error with this status."""
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return "server_error"
    return "rate_limit_error" if status == HTTPStatus.TOO_MANY_REQUESTS else "invalid_request_error"
