"""Deepgram's `POST /v1/listen`: the body is the file, options are in the query."""

from datetime import UTC, datetime
from typing import Any

from fastapi import Request
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel

from app.api.deepgram_bodies import stream_metadata, to_results
from app.api.deepgram_query import FileQuery, check_effects
from app.api.errors import error_responses
from app.api.intake import ERRORS, describe_form, surface, take_in
from app.api.paths import LISTEN
from app.errors import ModelNotFound, Unauthorized, UnsupportedValue
from app.logs import request_id
from app.service import Service

router = surface()


class ListenBody(BaseModel):
    """The answer of Deepgram's API for a file."""

    metadata: dict[str, Any]
    results: dict[str, Any]


@router.post(
    LISTEN,
    summary="Transcribe an audio file, as Deepgram's API does; as a WebSocket, a live stream",
    response_model=ListenBody,
    responses=error_responses(*ERRORS, UnsupportedValue, ModelNotFound, Unauthorized, path=LISTEN),
    openapi_extra=describe_form(FileQuery),
)
async def listen(request: Request) -> Response:
    """`curl --data-binary @samples/sample.wav "http://localhost:8000/v1/listen?model=tr-small"`."""
    service: Service = request.app.state.service
    created = datetime.now(UTC)
    async with take_in(request, FileQuery) as intake:
        query = intake.form
        check_effects(query, request.query_params, service)
        intake.options = query.recognition(intake.options, intake.recognizer)
        digest = await intake.digest()
        transcript = await intake.transcribe()
    channels = max([1, *(1 + (segment.channel or 0) for segment in transcript.segments)])
    language = (transcript.language or service.language) if query.detect_language else None
    body = {
        "metadata": stream_metadata(service, request_id.get() or "", digest, created, transcript.duration_s, channels),
        "results": to_results(transcript, channels, query.utterances, language),
    }
    return JSONResponse(body)
