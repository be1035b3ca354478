"""The paths that are more than a route to us, and how a request names its own."""

from starlette.types import Scope

TRANSCRIBE = "/transcribe"
DOCS = "/docs"
STATIC_FILES = "/static-offline-docs/"
"""What Swagger UI is made of."""
PROBES = frozenset({"/livez", "/readyz", "/metrics"})
"""Asked every few seconds by machines."""


def path_of(scope: Scope) -> str:
    """The path as routes know it: without what a proxy in front strips (uvicorn's `--root-path`)."""
    path: str = scope["path"]
    return path.removeprefix(scope.get("root_path", ""))
