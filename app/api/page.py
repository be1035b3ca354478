"""The web page at `/`, for browsers; other clients get JSON there. Its files are in `app/page`."""

import gzip
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from http import HTTPStatus
from pathlib import Path

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from app.api.about import AboutBody, about
from app.api.headers import PAGE_POLICY
from app.api.paths import PAGE_FILES

router = APIRouter()

FOLDER = Path(__file__).resolve().parents[1] / "page"
INDEX = "index.html"
KINDS = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
"""Suffix of a file -> its media type. Other files are not served."""
GZIP = "gzip"


@dataclass(frozen=True)
class PageFile:
    """A file of the page, plain and compressed. tag: changes with the content."""

    kind: str
    plain: bytes
    compressed: bytes
    tag: str


@cache
def page_files() -> dict[str, PageFile]:
    """All files of the page by name, read once: some 100 kB."""
    return {path.name: read(path) for path in sorted(FOLDER.iterdir()) if path.suffix in KINDS}


def read(path: Path) -> PageFile:
    """A file, ready to be sent."""
    content = path.read_bytes()
    return PageFile(KINDS[path.suffix], content, gzip.compress(content, mtime=0), sha256(content).hexdigest()[:16])


@router.get(
    "/",
    summary="What is this?",
    tags=["health"],
    response_model=AboutBody,
    responses={200: {"content": {"text/html": {"schema": {"type": "string"}}}}},
)
async def root(request: Request) -> Response:
    """Name, version, model, proofs, speed and links; with `Accept: text/html`, as browsers send it, the web page."""
    if "text/html" in request.headers.get("accept", ""):
        return sent(page_files()[INDEX], request)
    return JSONResponse(about(request).model_dump(), headers={"Vary": "Accept"})


@router.get(PAGE_FILES + "{name}", include_in_schema=False)
async def page_file(request: Request, name: str) -> Response:
    """A file of the page."""
    file = page_files().get(name)
    if file is None or name == INDEX:  # the page itself is at `/`, from where its addresses count
        raise HTTPException(HTTPStatus.NOT_FOUND)
    return sent(file, request)


def sent(file: PageFile, request: Request) -> Response:
    """The answer with a file: 304 if the browser has it. Browsers ask each time, so an upgrade is seen at once."""
    encoded = GZIP in request.headers.get("accept-encoding", "")
    tag = f'"{file.tag}-{GZIP}"' if encoded else f'"{file.tag}"'
    headers = {
        "ETag": tag,
        "Cache-Control": "no-cache",
        "Vary": "Accept, Accept-Encoding",
        "Content-Security-Policy": PAGE_POLICY,
    }
    if tag in (given.strip().removeprefix("W/") for given in request.headers.get("if-none-match", "").split(",")):
        return Response(status_code=HTTPStatus.NOT_MODIFIED, headers=headers)
    if encoded:
        headers["Content-Encoding"] = GZIP
    return Response(file.compressed if encoded else file.plain, headers=headers, media_type=file.kind)
