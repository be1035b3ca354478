"""The OpenAPI document: adds what all routes share to what FastAPI generates."""

from typing import Any

from fastapi import FastAPI

from app.api.request_log import HEADER, ID_PATTERN

ID_SCHEMA = {"type": "string", "pattern": f"^{ID_PATTERN}$"}
ID_PARAMETER = {
    "name": HEADER,
    "in": "header",
    "required": False,
    "description": "Id of the request in the log and in its answer; one that does not match the pattern is replaced.",
    "schema": {"type": "string"},
    "example": "order-4711",
}
ID_HEADER = {"description": "Id of this request in the log.", "schema": ID_SCHEMA}


def describe_what_all_routes_share(app: FastAPI) -> None:
    """Add the request id to every operation and every response of the document."""
    make = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            for operation in operations(make()):  # FastAPI caches this document, so the changes last
                operation.setdefault("parameters", []).append(ID_PARAMETER)
                for response in operation["responses"].values():
                    response.setdefault("headers", {})[HEADER] = ID_HEADER
        return make()

    app.openapi = openapi  # type: ignore[method-assign]  # as FastAPI's documentation has it


def operations(document: dict[str, Any]) -> list[dict[str, Any]]:
    """Every operation of every path."""
    return [operation for path in document["paths"].values() for operation in path.values()]
