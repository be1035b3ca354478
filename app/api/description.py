"""The OpenAPI document: what FastAPI makes of the routes, and what holds for all of them."""

from typing import Any

from fastapi import FastAPI

from app.api.request_log import HEADER, ID_PATTERN

ID_SCHEMA = {"type": "string", "pattern": f"^{ID_PATTERN}$"}
ID_PARAMETER = {
    "name": HEADER,
    "in": "header",
    "required": False,
    "description": "Names the request in the log and in its answer; if it does not fit the pattern, a new one does.",
    "schema": {"type": "string"},
    "example": "order-4711",
}
ID_HEADER = {"description": "What the log calls this request.", "schema": ID_SCHEMA}


def describe_what_all_routes_share(app: FastAPI) -> None:
    """Add the request's id to every operation and every answer of the document."""
    make = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            for operation in operations(make()):  # FastAPI keeps the document that it has made
                operation.setdefault("parameters", []).append(ID_PARAMETER)
                for response in operation["responses"].values():
                    response.setdefault("headers", {})[HEADER] = ID_HEADER
        return make()

    app.openapi = openapi  # type: ignore[method-assign]  # as FastAPI's documentation has it


def operations(document: dict[str, Any]) -> list[dict[str, Any]]:
    """Every operation of every path."""
    return [operation for path in document["paths"].values() for operation in path.values()]
