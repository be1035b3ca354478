"""Errors -> HTTP, for the running service and its OpenAPI document, both generated from the tree in `app.errors`."""

import logging
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocket, WebSocketState

from app.api.error_shapes import error_body, error_schema, error_status, retry_headers
from app.api.messages import CONNECTIONS
from app.api.paths import DOCS, OPENAI, TRANSCRIBE, TRANSCRIPTIONS, is_openai, path_of
from app.errors import AsrError
from app.metrics import CLIENT_GONE

logger = logging.getLogger("dikte")

CLIENT_CLOSED_REQUEST = 499
"""nginx's status for a client that disconnected; nobody receives it, but logs show it."""

INTERNAL_ERROR = 1011
"""Close code of a WebSocket after an internal error (RFC 6455, 7.4.1)."""
DENIAL_EXTENSION = "websocket.http.response"
"""The ASGI extension that refuses a WebSocket with a complete HTTP response."""
BUG = "an error inside the service; its log says more"
"""All that a client learns about an unexpected error."""
MAX_PATH, MAX_METHOD = 200, 40
"""Most characters of a client's path and method that an error message repeats."""


def error_responses(*errors: type[AsrError], path: str = "") -> dict[int | str, dict[str, Any]]:
    """The OpenAPI `responses` of a route that can fail with these errors. path: decides on their shape."""
    responses: dict[int | str, dict[str, Any]] = {}
    schema = error_schema(path)
    for error in sorted(errors, key=lambda error: (error_status(error.code, error.status, path), error.code)):
        cause = " ".join((error.__doc__ or "").split())
        status = error_status(error.code, error.status, path)
        example = error_body(error.code, cause, {}, status, path)
        code = example["err_code"] if "err_code" in example else example["error"]["code"]
        response = responses.setdefault(
            status, {"description": "", "content": {"application/json": {"schema": schema, "examples": {}}}}
        )
        response["description"] = f"{response['description']} `{code}`: {cause}".strip()
        for name, header in header_schemas(error, path).items():
            response.setdefault("headers", {})[name] = {"schema": header}
        response["content"]["application/json"]["examples"][code] = {"value": example}
    return responses


def header_schemas(error: type[AsrError], path: str = "") -> dict[str, dict[str, Any]]:
    """Header -> JSON schema, for the extra headers of responses with this error."""
    names = (*error.headers, *retry_headers(error_status(error.code, error.status, path), path))
    schemas: dict[str, dict[str, Any]] = {name: {"type": "string"} for name in names}
    if error.retry_after_s is not None:
        schemas["Retry-After"] = {"type": "integer", "minimum": 1, "description": "Seconds."}
    return schemas


def error_answer(error: AsrError, path: str = "") -> Response:
    """The HTTP response for an error, in the shape of the API that the request's path belongs to."""
    retry = {} if error.retry_after_s is None else {"Retry-After": str(error.retry_after_s)}
    return shaped(error.code, error.message, error.details, error.status, {**error.headers, **retry}, path)


def shaped(
    code: str, message: str, details: Mapping[str, Any], status: int, headers: Mapping[str, str], path: str
) -> Response:
    """A response with an error, given by its parts."""
    status = error_status(code, status, path)
    body = error_body(code, message, details, status, path)
    return JSONResponse(body, status, {**headers, **retry_headers(status, path)})


def note(connection: HTTPConnection, error: AsrError) -> None:
    """Log an error of the service itself, and keep the code for the request's log line and the metrics."""
    if error.status == AsrError.status:  # errors such as not ready and overloaded are expected
        logger.error("%s: %s", error.code, error.message, exc_info=error.__cause__)
    connection.state.outcome = error.code


def install_error_handlers(app: FastAPI) -> None:
    """Answer every error in the common error shape, and store its code in `request.state.outcome`."""

    @app.exception_handler(AsrError)
    async def asr_error(connection: Request | WebSocket, error: AsrError) -> Response | None:
        note(connection, error)
        answer = error_answer(error, path_of(connection.scope))
        if isinstance(connection, WebSocket):
            await refuse(connection, answer, error.code)
            return None  # starlette would send it even if the server does not support that
        return answer

    @app.exception_handler(HTTPException)
    async def http_error(request: Request, error: HTTPException) -> Response:
        code = str(error.detail).lower().replace(" ", "_")
        request.state.outcome = code
        path = request.url.path[:MAX_PATH]
        headers = dict(error.headers or {})
        match error.status_code:
            case HTTPStatus.NOT_FOUND:
                message = f"there is nothing at {path}; {where_to_send(path)}, and see {DOCS} for everything else"
            case HTTPStatus.METHOD_NOT_ALLOWED:
                methods = sorted(request_methods(headers.get("Allow", "")))
                headers["Allow"] = ", ".join(methods)
                message = f"{path} takes {' and '.join(methods)}, not {request.method[:MAX_METHOD]}"
            case _:
                message = f"{error.detail}: {request.method[:MAX_METHOD]} {path}"
        return shaped(code, message, {}, error.status_code, headers, path_of(request.scope))

    @app.exception_handler(ClientDisconnect)
    async def client_left(request: Request, error: ClientDisconnect) -> Response:
        request.state.outcome = CLIENT_GONE
        return Response(status_code=CLIENT_CLOSED_REQUEST)


def where_to_send(path: str) -> str:
    """What a client should have asked for instead of this path."""
    if is_openai(path):  # the usual mistake is a base URL that has /v1 twice
        return f"clients of OpenAI's API need a base URL that ends in one {OPENAI}; send audio to POST {TRANSCRIPTIONS}"
    return f"send audio to POST {TRANSCRIBE}"


def request_methods(allow: str) -> set[str]:
    """The methods that an Allow header lists, plus HEAD wherever GET is allowed."""
    methods = {method.strip() for method in allow.split(",")} - {""}
    return methods | {"HEAD"} if "GET" in methods else methods


async def refuse(websocket: WebSocket, answer: Response, reason: str) -> None:
    """End a WebSocket with an error.

    Before it is accepted, the error is an HTTP response if the server supports that; otherwise the WebSocket is closed.
    """
    before = websocket.client_state == websocket.application_state == WebSocketState.CONNECTING
    if before and DENIAL_EXTENSION in websocket.scope.get("extensions", {}):
        await websocket.send_denial_response(answer)
    else:
        await websocket.close(INTERNAL_ERROR, reason)


class AnswerBugs:
    """Logs any other exception and answers it in the common error shape, without revealing its message.

    Starlette would do so outside of all middlewares; here the response gets their headers, and the log line its id.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer an unexpected exception, unless a response has already started."""
        if scope["type"] not in CONNECTIONS:
            await self._app(scope, receive, send)
            return
        started = False

        async def watched(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await self._app(scope, receive, watched)
        except Exception as error:
            logger.exception("%s: %s", AsrError.code, type(error).__name__)
            scope["state"]["outcome"] = AsrError.code
            if started:
                raise  # the server closes the connection, so that the client sees that the answer is incomplete
            if scope["type"] == "websocket":
                await send({"type": "websocket.close", "code": INTERNAL_ERROR, "reason": AsrError.code})
                return
            answer = error_answer(AsrError(BUG), path_of(scope))
            await answer(scope, receive, send)
