"""Paths that other modules refer to, and the path of a request."""

from starlette.types import Scope

TRANSCRIBE = "/transcribe"
OPENAI = "/v1"
"""Prefix of the paths of OpenAI's API."""
TRANSCRIPTIONS = f"{OPENAI}/audio/transcriptions"
TRANSLATIONS = f"{OPENAI}/audio/translations"
MODELS = f"{OPENAI}/models"
LISTEN = f"{OPENAI}/listen"
"""Deepgram's path, below the same prefix."""
REALTIME = f"{OPENAI}/realtime"
VOSK = "/vosk"
"""The WebSocket of vosk-server's clients."""
DOCS = "/docs"
STATIC_FILES = "/static-offline-docs/"
"""The files of Swagger UI."""
PAGE_FILES = "/page/"
"""The files of the page at `/`."""
PROBES = frozenset({"/livez", "/readyz", "/metrics"})
"""Requested every few seconds by machines."""


def path_of(scope: Scope) -> str:
    """The path as routes know it, without the prefix that a proxy strips (uvicorn's `--root-path`)."""
    path: str = scope["path"]
    return path.removeprefix(scope.get("root_path", ""))


def is_openai(path: str) -> bool:
    """Whether a path belongs to OpenAI's API, existing or not."""
    return (path == OPENAI or path.startswith(f"{OPENAI}/")) and not is_deepgram(path)


def is_deepgram(path: str) -> bool:
    """Whether a path belongs to Deepgram's API."""
    return path == LISTEN or path.startswith(f"{LISTEN}/")
