"""The shapes of errors: Dikte's own and, on the paths of OpenAI's and Deepgram's API, those that their clients read.

OpenAI's: `{"error": {"message", "type", "param", "code"}}`. Its clients retry 408, 409, 429 and every status from 500
on, twice, each time with the whole file; `x-should-retry: false` stops that (openai-python, `_base_client.py`).
"""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from app.api.paths import is_deepgram, is_openai
from app.errors import AudioTooLong, InvalidAudio, InvalidParameter, Overloaded, Unauthorized, UnsupportedMedia
from app.logs import request_id

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
"""Codes that OpenAI and Deepgram answer with status 400."""
DEEPGRAM_CODES = {
    Unauthorized.code: "INVALID_AUTH",
    InvalidParameter.code: "INVALID_QUERY_PARAMETER",
    InvalidAudio.code: "Bad Request",
    UnsupportedMedia.code: "Bad Request",
    Overloaded.code: "TOO_MANY_REQUESTS",
}
"""Codes that Deepgram has its own names for (developers.deepgram.com, API errors); others are in capitals."""
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
DEEPGRAM_ERROR_SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["err_code", "err_msg", "request_id"],
    "properties": {
        "err_code": {"type": "string", "description": "Stable name of the cause."},
        "err_msg": {"type": "string", "description": "What was wrong, for people."},
        "request_id": {"type": "string"},
    },
}


def error_body(code: str, message: str, details: Mapping[str, Any], status: int, path: str) -> dict[str, Any]:
    """The body of an error, in the shape of the API that `path` belongs to. details: JSON values about the cause."""
    if is_deepgram(path):
        return {
            "err_code": DEEPGRAM_CODES.get(code, code.upper()),
            "err_msg": with_allowed(message, details),
            "request_id": request_id.get() or "",
        }
    if not is_openai(path):
        return {"error": {"code": code, "message": message, **details}}
    return {
        "error": {
            "message": with_allowed(message, details),
            "type": openai_type(status),
            "param": details.get("field", "file" if code in FILE_ERRORS else None),
            "code": OPENAI_CODES.get(code, code),
        }
    }


def error_status(code: str, status: int, path: str) -> int:
    """The HTTP status of an error on this path."""
    foreign = is_openai(path) or is_deepgram(path)
    return HTTPStatus.BAD_REQUEST if foreign and code in OPENAI_BAD_REQUESTS else status


def error_schema(path: str) -> dict[str, Any]:
    """The JSON schema of errors on this path."""
    if is_deepgram(path):
        return DEEPGRAM_ERROR_SCHEMA
    return OPENAI_ERROR_SCHEMA if is_openai(path) else ERROR_SCHEMA


def with_allowed(message: str, details: Mapping[str, Any]) -> str:
    """The message, with the values that would have been allowed."""
    allowed = details.get("allowed")
    return f"{message}; allowed: {', '.join(map(str, allowed))}" if allowed else message


def retry_headers(status: int, path: str) -> dict[str, str]:
    """The header that keeps OpenAI's clients from uploading a file again in vain."""
    return {RETRY_HEADER: "false"} if is_openai(path) and status not in RETRYABLE else {}


def openai_type(status: int) -> str:
    """OpenAI's kind of an error with this status."""
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return "server_error"
    return "rate_limit_error" if status == HTTPStatus.TOO_MANY_REQUESTS else "invalid_request_error"
