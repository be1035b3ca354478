"""`POST /transcribe`: a file of sound in, its text out. Dikte's own API."""

from typing import Literal

from fastapi import Request, Response
from fastapi.responses import JSONResponse, PlainTextResponse
from pydantic import BaseModel, Field

from app.api.errors import error_responses
from app.api.forms import UploadForm
from app.api.intake import ERRORS, describe_form, surface, take_in
from app.formats import to_json, to_srt, to_text, to_vtt
from app.recognizer import Options
from app.service import Service

router = surface()

TEXT_KINDS = ("text/plain", "application/x-subrip", "text/vtt")


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


class TranscribeForm(UploadForm):
    """The fields beside the file."""

    timestamps: Literal["none", "word"] = Field(
        "none", description="`word` adds `words` with start, end and confidence."
    )
    response_format: Literal["json", "text", "srt", "vtt"] = Field("json", description="`srt` and `vtt` are subtitles.")

    def options(self) -> Options:
        """What is asked of the recognition."""
        return Options(word_times=self.timestamps == "word")


@router.post(
    "/transcribe",
    summary="Transcribe a file of sound",
    response_model=TranscriptBody,
    responses={
        200: {"content": {kind: {"schema": {"type": "string"}} for kind in TEXT_KINDS}},
        **error_responses(*ERRORS),
    },
    openapi_extra=describe_form(TranscribeForm),
)
async def transcribe(request: Request) -> Response:
    """Upload one file in the form field `file`. The text comes back as the model says it: words without punctuation.

    `curl -F file=@samples/sample.wav http://localhost:8000/transcribe`
    """
    service: Service = request.app.state.service
    async with take_in(request, TranscribeForm) as intake:
        transcript = await intake.transcribe()
    match intake.form.response_format:
        case "text":
            return PlainTextResponse(to_text(transcript))
        case "srt":
            return PlainTextResponse(to_srt(transcript), media_type="application/x-subrip")
        case "vtt":
            return PlainTextResponse(to_vtt(transcript), media_type="text/vtt")
        case "json":
            with_words = intake.form.timestamps == "word"
            return JSONResponse(to_json(transcript, service.model_name, service.backend, with_words))
