"""How every API takes in a request: implemented once, so that no API can forget a step.

    key -> model ready -> space in the queue -> upload -> form -> transcription, while the client is connected

All of it happens before a deadline. An API is a router of `TranscriptionRoute`s; `app.main` has the list of them.
"""

import asyncio
import re
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Iterable
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import replace
from hashlib import sha256
from typing import Any, BinaryIO, Generic, TypeVar

from fastapi import APIRouter, Request
from fastapi.routing import APIRoute
from starlette.requests import ClientDisconnect

from app.admission import Reservation
from app.api.forms import Form, UploadForm, form_schema, parse_form, query_parameters
from app.api.upload import UploadLimits, read_file, read_form
from app.errors import (
    AsrError,
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
from app.recognizer import AnyRecognizer, Options, refused_options
from app.service import Service
from app.transcriber import Transcriber
from app.transcript import Segment, Transcript

Result = TypeVar("Result")

DIGEST_BYTES = 1 << 20
"""Read at once for the digest of a file."""
TIMEOUT_HEADER = "X-Request-Timeout"
"""Seconds that the client waits for its answer."""
NUMBER = r"[0-9]*\.?[0-9]+([eE][+-]?[0-9]+)?|inf"
"""Stricter than Python's `float`, which accepts `1_0`."""
ERRORS: tuple[type[AsrError], ...] = (
    *(InvalidRequest, InvalidParameter, InvalidAudio, UnsupportedMedia, UnsupportedEncoding, UploadTooLarge),
    *(AudioTooLong, RequestTimeout, UploadTimeout, HeaderTooLarge, Overloaded, NotReady, EngineFailure),
    DeadlineExceeded,
)
"""The errors of a transcription request, on any API."""
TIMEOUT_PARAMETER: dict[str, Any] = {
    "name": TIMEOUT_HEADER,
    "in": "header",
    "required": False,
    "description": "Seconds that the client waits for its answer; ASR_DEADLINE_S at most.",
    "schema": {"type": "number", "exclusiveMinimum": 0},
}


class SurfaceRoute(APIRoute):
    """A route of a client API: it requires a key if keys are set."""


class TranscriptionRoute(SurfaceRoute):
    """A route that transcribes: the outcomes of its requests are counted."""


def surface(route: type[SurfaceRoute] = TranscriptionRoute) -> APIRouter:
    """A router for one client API."""
    return APIRouter(tags=["transcription"], route_class=route)


def describe_form(form: type[UploadForm]) -> dict[str, Any]:
    """The `openapi_extra` of a route that takes this form."""
    kind, schema = "multipart/form-data", form_schema(form)
    if form.is_bare:
        kind, schema = "application/octet-stream", {"type": "string", "format": "binary"}
    body = {"required": True, "content": {kind: {"schema": schema}}}
    return {"parameters": [TIMEOUT_PARAMETER, *query_parameters(form)], "requestBody": body}


class Intake(Generic[Form]):
    """An admitted request, with its form and its file.

    options: what the form asks of the recognition; a handler may replace them before it transcribes. skipped: names of
    the fields that the form does not keep.
    """

    def __init__(
        self,
        request: Request,
        transcriber: Transcriber,
        reservation: Reservation,
        file: BinaryIO,
        form: Form,
        options: Options,
        skipped: tuple[str, ...],
    ) -> None:
        self._request = request
        self._transcriber = transcriber
        self._reservation = reservation
        self._file = file
        self.options = options
        self.form = form
        self.skipped = skipped

    def refused_options(self, defaults: Options) -> dict[str, str]:
        """Names of the options that the model cannot honor -> the reason. defaults: options that it can."""
        return refused_options(self.recognizer, self.options, defaults)

    def drop_options(self, names: Iterable[str], defaults: Options) -> None:
        """Replace options by those of `defaults`."""
        self.options = replace(self.options, **{name: getattr(defaults, name) for name in names})

    @property
    def recognizer(self) -> AnyRecognizer:
        """The model that will transcribe."""
        return self._transcriber.lanes.express

    async def digest(self) -> str:
        """The SHA-256 of the file as the form opens it, in hexadecimal."""

        def compute() -> str:
            self._file.seek(0)
            digest = sha256()
            while part := self._file.read(DIGEST_BYTES):
                digest.update(part)
            self._file.seek(0)
            return digest.hexdigest()

        return await asyncio.to_thread(compute)

    async def transcribe(self) -> Transcript:
        """The transcript of the file.

        Raises ClientDisconnect when the client disconnects, and the errors of `Transcriber`.
        """
        transcript = await while_connected(
            self._request, self._transcriber.transcribe(self._file, self._reservation, self.options)
        )
        self._note(transcript)
        return transcript

    async def stream(self) -> AsyncGenerator[Segment | Transcript, None]:
        """Yield the segments of the file, each as soon as it is final, and then the transcript.

        Raises the errors of `Transcriber`. The caller watches the connection.
        """
        stream = self._transcriber.stream(self._file, self._reservation, self.options)
        found = []
        async with aclosing(stream.segments()) as segments:
            async for segment in segments:
                found.append(segment)
                yield segment
        transcript = Transcript(tuple(found), stream.duration_s, stream.timings)
        self._note(transcript)
        yield transcript

    def _note(self, transcript: Transcript) -> None:
        """Keep what the log and the metrics report."""
        self._request.state.timings = transcript.timings
        self._request.state.duration_s = transcript.duration_s

    async def first_segment(self, is_wanted: Callable[[Segment], bool]) -> Segment | None:
        """The first segment of the file that is wanted, if there is one; what comes after it is not computed.

        Raises the errors of `transcribe`.
        """
        return await while_connected(self._request, self._first_segment(is_wanted))

    async def _first_segment(self, is_wanted: Callable[[Segment], bool]) -> Segment | None:
        stream = self._transcriber.stream(self._file, self._reservation, self.options)
        async with aclosing(stream.segments()) as segments:
            async for segment in segments:
                if is_wanted(segment):
                    return segment
        return None


@asynccontextmanager
async def take_in(request: Request, form: type[Form]) -> AsyncIterator[Intake[Form]]:
    """Admit a request and read its form.

    Its place in the queue and its deadline last until the end of the `with` block.

    Raises the errors in `ERRORS`, and starlette's ClientDisconnect when the client disconnects.
    """
    service: Service = request.app.state.service
    settings, transcriber, admission = service.settings, service.transcriber, service.admission
    timeout_s = parse_timeout(request.headers.get(TIMEOUT_HEADER), settings.deadline_s)
    async with within(timeout_s) as deadline, AsyncExitStack() as stack:
        reservation = stack.enter_context(admission.reserve(deadline))
        with admission.uploading():
            limits = UploadLimits(settings.max_upload_bytes, settings.upload_idle_s, settings.upload_min_bytes_per_s)
            if form.is_bare:
                reading = read_file(request, limits)
            else:
                reading = read_form(request, limits, form.file_field, form.keeps)
            upload = await stack.enter_async_context(reading)
        parsed = parse_form(form, query_fields(request, form) if form.in_query else upload.fields)
        options, file = parsed.options(settings.options), parsed.opened(upload.file)
        await asyncio.sleep(0)  # where a deadline that has passed by now ends the request
        yield Intake(request, transcriber, reservation, file, parsed, options, tuple(upload.skipped))


def query_fields(request: Request, form: type[UploadForm]) -> dict[str, list[str]]:
    """The query parameters that the form has: name -> values. Others are ignored."""
    query = request.query_params
    return {name: query.getlist(name) for name in form.model_fields if name in query}


def parse_timeout(header: str | None, longest_s: float) -> float:
    """Seconds that a request may take: the value of its header, at most `longest_s`. Raises InvalidParameter."""
    if header is None:
        return longest_s
    wanted_s = float(header) if re.fullmatch(NUMBER, header) else 0.0
    if wanted_s <= 0:
        raise InvalidParameter(f"{TIMEOUT_HEADER} must be a positive number of seconds", field=TIMEOUT_HEADER)
    return min(wanted_s, longest_s)


@asynccontextmanager
async def within(seconds: float) -> AsyncIterator[float]:
    """Cancel the `with` block after `seconds`. Yields the deadline, on the clock of `time.monotonic`.

    Raises DeadlineExceeded if the time is over.
    """
    try:
        async with asyncio.timeout(seconds):
            yield time.monotonic() + seconds
    except TimeoutError as error:
        raise DeadlineExceeded(f"not answered within {seconds:g} s", deadline_s=seconds) from error


async def while_connected(request: Request, work: Coroutine[Any, Any, Result]) -> Result:
    """The result of `work`. If the client disconnects first, cancels the work and raises ClientDisconnect."""
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
    """Returns when the client has disconnected. The body must have been read."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
