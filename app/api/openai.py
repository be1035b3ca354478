"""OpenAI's audio API: `/v1/audio/transcriptions`, `/v1/audio/translations` and `/v1/models`.

Any name of a model is answered. What the model cannot honor is ignored, as OpenAI does, and named in the header
`X-Ignored-Parameters` and in the log; with ASR_STRICT it is refused.
"""

from collections.abc import AsyncGenerator, Mapping
from contextlib import AsyncExitStack, aclosing
from typing import Any, Literal

from fastapi import Request, Response
from fastapi.responses import JSONResponse, PlainTextResponse
from pydantic import BaseModel, Field

from app.api.errors import error_responses
from app.api.event_stream import EVENT_SCHEMA, MEDIA_TYPE, Event, EventStream
from app.api.intake import ERRORS, TIMEOUT_PARAMETER, Intake, SurfaceRoute, surface, take_in
from app.api.openai_bodies import (
    DiarizedBody,
    TranscriptionBody,
    VerboseBody,
    to_delta,
    to_diarized,
    to_diarized_segment,
    to_done,
    to_transcription,
    to_verbose,
)
from app.api.openai_forms import OpenAIForm, TranscriptionForm, TranslationForm, openai_schema
from app.api.openai_options import IGNORED_HEADER, check_model, honor
from app.api.paths import MODELS, OPENAI, TRANSCRIPTIONS, TRANSLATIONS
from app.errors import HeaderTooLarge, InvalidRequest, ModelNotFound, RequestTimeout, Unauthorized, UnsupportedValue
from app.formats import to_srt, to_text, to_vtt
from app.service import Service
from app.subtitles import SubtitleStyle
from app.transcript import Transcript

router = surface()
models_router = surface(SurfaceRoute)

OWNER = "dikte"
ALL_ERRORS = (*ERRORS, UnsupportedValue, ModelNotFound, Unauthorized)
MODEL_ERRORS = (Unauthorized, InvalidRequest, RequestTimeout, HeaderTooLarge)


class ModelBody(BaseModel):
    """A model."""

    id: str
    object: Literal["model"] = "model"
    created: int = Field(description="When it was made, seconds since 1970; 0 if that is not known.")
    owned_by: str = OWNER
    root: str = Field(description="The model that answers for it.")


class ModelsBody(BaseModel):
    """The models of the service: the one that it has loaded."""

    object: Literal["list"] = "list"
    data: list[ModelBody]


def described(form: type[OpenAIForm], *kinds: str) -> dict[str, Any]:
    """The OpenAPI of a route that takes this form; kinds: media types of its answers besides JSON."""
    body = {"required": True, "content": {"multipart/form-data": {"schema": openai_schema(form)}}}
    string = {"type": "string"}
    answer = {
        "content": {kind: {"schema": EVENT_SCHEMA if kind == MEDIA_TYPE else string} for kind in kinds},
        "headers": {IGNORED_HEADER: {"schema": string, "description": "Fields without effect, comma separated."}},
    }
    return {
        "responses": {200: answer, **error_responses(*ALL_ERRORS, path=OPENAI)},
        "openapi_extra": {"parameters": [TIMEOUT_PARAMETER], "requestBody": body},
    }


@router.post(
    TRANSCRIPTIONS,
    summary="Transcribe an audio file, as OpenAI's API does",
    response_model=TranscriptionBody | VerboseBody | DiarizedBody,
    **described(TranscriptionForm, "text/plain", MEDIA_TYPE),
)
async def transcriptions(request: Request) -> Response:
    """For clients of OpenAI's API, with the base URL `http://localhost:8000/v1`.

    Lists may be sent with and without brackets. Unknown fields are ignored.
    """
    service: Service = request.app.state.service
    async with AsyncExitStack() as stack:
        intake = await stack.enter_async_context(take_in(request, TranscriptionForm))
        form = intake.form
        headers = honor(intake, service)
        if form.streams:
            return EventStream(request, events(intake), stack.pop_all(), headers)
        transcript = await intake.transcribe()
    match form.format:
        case "json":
            body = to_transcription(transcript, form.logprobs)
        case "verbose_json":
            language = service.language or form.language or None
            words = form.words and intake.options.word_times
            body = to_verbose(transcript, form.task, language, form.segments, words)
        case "diarized_json":
            body = to_diarized(transcript)
        case kind:
            return text_answer(transcript, kind, service.settings.subtitle_style, headers)
    return JSONResponse(body, headers=headers)


@router.post(
    TRANSLATIONS,
    summary="Translate the speech of an audio file into English, as OpenAI's API does",
    response_model=TranscriptionBody | VerboseBody,
    **described(TranslationForm, "text/plain"),
)
async def translations(request: Request) -> Response:
    """Only with a Whisper model that can translate."""
    service: Service = request.app.state.service
    async with take_in(request, TranslationForm) as intake:
        headers = honor(intake, service)
        transcript = await intake.transcribe()
    match intake.form.format:
        case "json":
            return JSONResponse({"text": transcript.text}, headers=headers)
        case "verbose_json":
            return JSONResponse(to_verbose(transcript, intake.form.task, None, True, False), headers=headers)
        case kind:
            return text_answer(transcript, kind, service.settings.subtitle_style, headers)


def text_answer(transcript: Transcript, kind: str, style: SubtitleStyle, headers: Mapping[str, str]) -> Response:
    """The formats that OpenAI sends as plain text, subtitles too."""
    match kind:
        case "srt":
            text = to_srt(transcript, style)
        case "vtt":
            text = to_vtt(transcript, style)
        case _:
            text = to_text(transcript)
    return PlainTextResponse(text, headers=dict(headers))


async def events(intake: Intake[TranscriptionForm]) -> AsyncGenerator[Event, None]:
    """The events of a stream: a delta for each segment, and the whole text."""
    form, number = intake.form, 0
    diarized = form.format == "diarized_json"
    async with aclosing(intake.stream()) as items:
        async for item in items:
            if isinstance(item, Transcript):
                yield event(to_done(item, form.logprobs))
                continue
            yield event(to_delta(number, item, form.logprobs, diarized))
            if diarized:
                yield event(to_diarized_segment(number, item))
            number += 1


def event(body: dict[str, Any]) -> Event:
    """An event of OpenAI's API, whose type is its name too."""
    return Event(body["type"], body)


@models_router.get(
    MODELS, summary="The models, as OpenAI's API lists them", responses=error_responses(*MODEL_ERRORS, path=OPENAI)
)
async def models(request: Request) -> ModelsBody:
    """The model that the service has loaded."""
    service: Service = request.app.state.service
    return ModelsBody(data=[model_body(service.model_name, service)])


@models_router.get(
    f"{MODELS}/{{model}}",
    summary="A model, as OpenAI's API describes it",
    responses=error_responses(*MODEL_ERRORS, ModelNotFound, path=OPENAI),
    openapi_extra={"parameters": [{"name": "model", "in": "path", "required": True, "schema": {"type": "string"}}]},
)
async def model(request: Request) -> ModelBody:
    """Any name is answered, as in requests; with ASR_STRICT that of the model."""
    service: Service = request.app.state.service
    name: str = request.path_params["model"]  # as an argument, FastAPI would document an error of its own shape
    if service.settings.strict:
        check_model(name, service)
    return model_body(name, service)


def model_body(name: str, service: Service) -> ModelBody:
    """The description of the loaded model under a name."""
    return ModelBody(id=name, created=service.model_created, root=service.model_name)
