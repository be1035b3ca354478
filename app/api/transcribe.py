"""`POST /transcribe`: an audio file in, its text out. Dikte's own API."""

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
    """Wall time by stage, in seconds."""

    decode: float = Field(description="Decoding: bytes to samples.")
    queue: float = Field(description="Waiting for the decoder and for the engine.")
    inference: float = Field(description="The engine computing this clip.")
    total: float


class TranscriptBody(BaseModel):
    """The answer in the format `json`."""

    text: str
    inference_time: float = Field(description="Seconds that the engine computed this clip.")
    duration: float = Field(description="Duration of the clip, seconds.")
    model: str
    backend: str
    confidence: float | None = Field(description="0 to 1; null if there are no words.")
    timings: TimingsBody
    words: list[WordBody] | None = Field(default=None, description="Only with `timestamps=word`.")


class TranscribeForm(UploadForm):
    """The form fields beside the file."""

    timestamps: Literal["none", "word"] = Field(
        "none", description="`word` adds `words` with start, end and confidence."
    )
    response_format: Literal["json", "text", "srt", "vtt"] = Field("json", description="`srt` and `vtt` are subtitles.")

    def options(self) -> Options:
        """The recognition options that the form asks for."""
        return Options(word_times=self.timestamps == "word")


@router.post(
    "/transcribe",
    summary="Transcribe an audio file",
    response_model=TranscriptBody,
    responses={
        200: {"content": {kind: {"schema": {"type": "string"}} for kind in TEXT_KINDS}},
        **error_responses(*ERRORS),
    },
    openapi_extra=describe_form(TranscribeForm),
)
async def transcribe(request: Request) -> Response:
    """Upload one file in the form field `file`. The text has the model's words, without punctuation.

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
