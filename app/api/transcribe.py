"""`POST /transcribe`: a file of sound in, its text out."""

from typing import Any, Literal, get_args

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse, PlainTextResponse
from pydantic import BaseModel, Field

from app.api.errors import error_responses
from app.api.upload import FILE_FIELD, read_form
from app.errors import (
    AudioTooLong,
    EngineFailure,
    InvalidAudio,
    InvalidParameter,
    InvalidRequest,
    NotReady,
    Overloaded,
    UnsupportedMedia,
    UploadTooLarge,
)
from app.formats import to_json, to_srt, to_text, to_vtt
from app.service import Service

router = APIRouter(tags=["transcription"])

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
    queue: float = Field(description="Waiting for the engine.")
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


@router.post(
    "/transcribe",
    summary="Transcribe a file of sound",
    response_model=TranscriptBody,
    responses={
        200: {"content": {"text/plain": {}, "application/x-subrip": {}, "text/vtt": {}}},
        **error_responses(
            InvalidRequest, InvalidParameter, InvalidAudio, UnsupportedMedia, UploadTooLarge, AudioTooLong,
            Overloaded, NotReady, EngineFailure,
        ),
    },
    openapi_extra={"requestBody": {"required": True, "content": {"multipart/form-data": {"schema": FORM_SCHEMA}}}},
)  # fmt: skip
async def transcribe(request: Request) -> Response:
    """Upload one file in the form field `file`. The text comes back as the model says it: words without punctuation.

    `curl -F file=@samples/sample.wav http://localhost:8000/transcribe`
    """
    service: Service = request.app.state.service
    transcriber = service.transcriber
    async with read_form(request, service.settings.max_upload_bytes) as form:
        options = parse_options(form.fields)
        transcript = await transcriber.transcribe(form.file)
    match options.response_format:
        case "text":
            return PlainTextResponse(to_text(transcript))
        case "srt":
            return PlainTextResponse(to_srt(transcript), media_type="application/x-subrip")
        case "vtt":
            return PlainTextResponse(to_vtt(transcript), media_type="text/vtt")
        case "json":
            with_words = options.timestamps == "word"
            return JSONResponse(to_json(transcript, service.model_name, service.settings.backend, with_words))


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
