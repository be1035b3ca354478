"""`POST /transcribe`: a file of sound in, its text out."""

import asyncio
import re
import time
from collections.abc import AsyncIterator, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Literal, get_args

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse, PlainTextResponse
from pydantic import BaseModel, Field
from starlette.requests import ClientDisconnect

from app.api.errors import error_responses
from app.api.upload import FILE_FIELD, UploadLimits, read_form
from app.errors import (
    AudioTooLong,
    DeadlineExceeded,
    EngineFailure,
    HeaderTooLarge,
    InvalidAudio,
    InvalidParameter,
    InvalidRequest,
    NotReady,
    Overloaded,
    RequestTimeout,
    UnsupportedEncoding,
    UnsupportedMedia,
    UploadTimeout,
    UploadTooLarge,
)
from app.formats import to_json, to_srt, to_text, to_vtt
from app.service import Service
from app.transcript import Transcript

router = APIRouter(tags=["transcription"])

TIMEOUT_HEADER = "X-Request-Timeout"
"""Seconds that the client will wait for its answer."""
NUMBER = r"[0-9]*\.?[0-9]+([eE][+-]?[0-9]+)?|inf"
"""Python takes more for one, such as `1_0`."""

ResponseFormat = Literal["json", "text", "srt", "vtt"]
Timestamps = Literal["none", "word"]


class WordBody(BaseModel):
    """One word; `start` and `end` in seconds from the start of the clip."""

    word: str
    start: float
    end: float
    confidence: float = Field(ge=0, le=1)


class TimingsBody(BaseModel):
    """Seconds of wall clock."""

    decode: float = Field(description="Bytes to samples.")
    queue: float = Field(description="Waiting to be decoded, and for the engine.")
    inference: float = Field(description="The engine at work on this clip.")
    total: float


class TranscriptBody(BaseModel):
    """The answer in the format `json`."""

    text: str
    inference_time: float = Field(description="Seconds that the engine worked on this clip.")
    duration: float = Field(description="Seconds of sound.")
    model: str
    backend: str
    confidence: float | None = Field(description="0 to 1; null where nothing was said.")
    timings: TimingsBody
    words: list[WordBody] | None = Field(default=None, description="Only with `timestamps=word`.")


class TranscribeForm(BaseModel):
    """The fields beside the file."""

    timestamps: Timestamps = "none"
    response_format: ResponseFormat = "json"


FORM_SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": [FILE_FIELD],
    "additionalProperties": False,
    "properties": {
        FILE_FIELD: {
            "type": "string",
            "format": "binary",
            "description": "WAV, FLAC, OGG, Opus, MP3, M4A, WebM, 3GP, AMR, AAC, AIFF, CAF; told from its bytes.",
        },
        "timestamps": {
            "type": "string",
            "enum": list(get_args(Timestamps)),
            "default": "none",
            "description": "`word` adds `words` with start, end and confidence.",
        },
        "response_format": {
            "type": "string",
            "enum": list(get_args(ResponseFormat)),
            "default": "json",
            "description": "`srt` and `vtt` are subtitles.",
        },
    },
}


TIMEOUT_PARAMETER: dict[str, Any] = {
    "name": TIMEOUT_HEADER,
    "in": "header",
    "required": False,
    "description": "Seconds that the client waits for its answer; ASR_DEADLINE_S at most.",
    "schema": {"type": "number", "exclusiveMinimum": 0},
}
TEXT_KINDS = ("text/plain", "application/x-subrip", "text/vtt")


@router.post(
    "/transcribe",
    summary="Transcribe a file of sound",
    response_model=TranscriptBody,
    responses={
        200: {"content": {kind: {"schema": {"type": "string"}} for kind in TEXT_KINDS}},
        **error_responses(
            InvalidRequest, InvalidParameter, InvalidAudio, UnsupportedMedia, UnsupportedEncoding, UploadTooLarge,
            AudioTooLong, RequestTimeout, UploadTimeout, HeaderTooLarge, Overloaded, NotReady, EngineFailure,
            DeadlineExceeded,
        ),
    },
    openapi_extra={
        "parameters": [TIMEOUT_PARAMETER],
        "requestBody": {"required": True, "content": {"multipart/form-data": {"schema": FORM_SCHEMA}}},
    },
)  # fmt: skip
async def transcribe(request: Request) -> Response:
    """Upload one file in the form field `file`. The text comes back as the model says it: words without punctuation.

    `curl -F file=@samples/sample.wav http://localhost:8000/transcribe`
    """
    service: Service = request.app.state.service
    settings, transcriber, admission = service.settings, service.transcriber, service.admission
    timeout_s = parse_timeout(request.headers.get(TIMEOUT_HEADER), settings.deadline_s)
    async with within(timeout_s) as deadline, AsyncExitStack() as stack:
        place = stack.enter_context(admission.place(deadline))
        with admission.uploading():
            limits = UploadLimits(settings.max_upload_bytes, settings.upload_idle_s, settings.upload_min_bytes_per_s)
            form = await stack.enter_async_context(read_form(request, limits))
        options = parse_options(form.fields)
        transcript = await while_connected(request, transcriber.transcribe(form.file, place))
    request.state.timings, request.state.duration_s = transcript.timings, transcript.duration_s
    match options.response_format:
        case "text":
            return PlainTextResponse(to_text(transcript))
        case "srt":
            return PlainTextResponse(to_srt(transcript), media_type="application/x-subrip")
        case "vtt":
            return PlainTextResponse(to_vtt(transcript), media_type="text/vtt")
        case "json":
            with_words = options.timestamps == "word"
            return JSONResponse(to_json(transcript, service.model_name, service.backend, with_words))


def parse_timeout(header: str | None, longest_s: float) -> float:
    """Seconds that a request has: what its header asks for, and `longest_s` at most. Raises InvalidParameter."""
    if header is None:
        return longest_s
    wanted_s = float(header) if re.fullmatch(NUMBER, header) else 0.0
    if wanted_s <= 0:
        raise InvalidParameter(f"{TIMEOUT_HEADER} must be a positive number of seconds", field=TIMEOUT_HEADER)
    return min(wanted_s, longest_s)


@asynccontextmanager
async def within(seconds: float) -> AsyncIterator[float]:
    """Cancel what is in it after `seconds`. Gives the deadline, on the clock of `time.monotonic`.

    Raises DeadlineExceeded then.
    """
    try:
        async with asyncio.timeout(seconds):
            yield time.monotonic() + seconds
    except TimeoutError as error:
        raise DeadlineExceeded(f"not answered within {seconds:g} s", deadline_s=seconds) from error


async def while_connected(request: Request, work: Coroutine[Any, Any, Transcript]) -> Transcript:
    """The result of `work`. Raises ClientDisconnect when the client leaves before, and cancels the work."""
    working, leaving = asyncio.create_task(work), asyncio.create_task(disconnected(request))
    try:
        await asyncio.wait((working, leaving), return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise ClientDisconnect
        return working.result()
    finally:
        working.cancel()
        leaving.cancel()
        await asyncio.wait((working, leaving))


async def disconnected(request: Request) -> None:
    """Returns when the client has left. The body must have been read."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


def parse_options(fields: dict[str, str]) -> TranscribeForm:
    """The form's fields, checked. Raises InvalidParameter for a name or value that is not known."""
    allowed = {"timestamps": get_args(Timestamps), "response_format": get_args(ResponseFormat)}
    for name, value in fields.items():
        if name not in allowed:
            raise InvalidParameter(
                f"there is no field {name[:100]!r}", field=name[:100], allowed=[FILE_FIELD, *allowed]
            )
        if value not in allowed[name]:
            raise InvalidParameter(f"{name} cannot be {value[:100]!r}", field=name, allowed=list(allowed[name]))
    return TranscribeForm.model_validate(fields)
