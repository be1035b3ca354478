"""Errors -> HTTP, for the running service and its OpenAPI document, both generated from the tree in `app.errors`."""

import logging
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocket, WebSocketState

from app.api.messages import CONNECTIONS
from app.api.paths import DOCS, TRANSCRIBE
from app.errors import AsrError
from app.metrics import CLIENT_GONE

logger = logging.getLogger("dikte")

CLIENT_CLOSED_REQUEST = 499
"""nginx's status for a client that disconnected; nobody receives it, but logs show it."""

INTERNAL_ERROR = 1011
"""Close code of a WebSocket after an internal error (RFC 6455, 7.4.1)."""
DENIAL_EXTENSION = "websocket.http.response"
"""The ASGI extension that refuses a WebSocket with a complete HTTP response."""
MAX_PATH, MAX_METHOD = 200, 40
"""Most characters of a client's path and method that an error message repeats."""

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


def error_responses(*errors: type[AsrError]) -> dict[int | str, dict[str, Any]]:
    """The OpenAPI `responses` of a route that can fail with these errors."""
    responses: dict[int | str, dict[str, Any]] = {}
    for error in sorted(errors, key=lambda error: (error.status, error.code)):
        cause = " ".join((error.__doc__ or "").split())
        response = responses.setdefault(
            error.status, {"description": "", "content": {"application/json": {"schema": ERROR_SCHEMA, "examples": {}}}}
        )
        response["description"] = f"{response['description']} `{error.code}`: {cause}".strip()
        for name, schema in header_schemas(error).items():
            response.setdefault("headers", {})[name] = {"schema": schema}
        example = {"error": {"code": error.code, "message": cause}}
        response["content"]["application/json"]["examples"][error.code] = {"value": example}
    return responses


def header_schemas(error: type[AsrError]) -> dict[str, dict[str, Any]]:
    """Header -> JSON schema, for the extra headers of responses with this error."""
    schemas: dict[str, dict[str, Any]] = {name: {"type": "string"} for name in error.headers}
    if error.retry_after_s is not None:
        schemas["Retry-After"] = {"type": "integer", "minimum": 1, "description": "Seconds."}
    return schemas


def error_answer(error: AsrError) -> Response:
    """The HTTP response for an error, in the common error shape."""
    retry = {} if error.retry_after_s is None else {"Retry-After": str(error.retry_after_s)}
    return JSONResponse(error.body(), error.status, {**error.headers, **retry})


def install_error_handlers(app: FastAPI) -> None:
    """Answer every error in the common error shape, and store its code in `request.state.outcome`."""

    @app.exception_handler(AsrError)
    async def asr_error(connection: Request | WebSocket, error: AsrError) -> Response | None:
        if error.status == AsrError.status:  # errors such as not ready and overloaded are expected
            logger.error("%s: %s", error.code, error.message, exc_info=error.__cause__)
        connection.state.outcome = error.code
        answer = error_answer(error)
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
                message = (
                    f"there is nothing at {path}; send audio to POST {TRANSCRIBE}, and see {DOCS} for everything else"
                )
            case HTTPStatus.METHOD_NOT_ALLOWED:
                methods = sorted(request_methods(headers.get("Allow", "")))
                headers["Allow"] = ", ".join(methods)
                message = f"{path} takes {' and '.join(methods)}, not {request.method[:MAX_METHOD]}"
            case _:
                message = f"{error.detail}: {request.method[:MAX_METHOD]} {path}"
        return JSONResponse({"error": {"code": code, "message": message}}, error.status_code, headers=headers)

    @app.exception_handler(ClientDisconnect)
    async def client_left(request: Request, error: ClientDisconnect) -> Response:
        request.state.outcome = CLIENT_GONE
        return Response(status_code=CLIENT_CLOSED_REQUEST)


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
            await error_answer(AsrError("an error inside the service; its log says more"))(scope, receive, send)
