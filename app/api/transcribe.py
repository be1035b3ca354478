"""`POST /transcribe`: an audio file in, its text out. Dikte's own API."""

from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, aclosing
from dataclasses import replace
from typing import Any, Literal, Self

from fastapi import Request, Response
from fastapi.responses import JSONResponse, PlainTextResponse
from pydantic import BaseModel, Field, model_validator

from app.api.errors import error_responses
from app.api.event_stream import EVENT_SCHEMA, MEDIA_TYPE, Event, EventStream
from app.api.forms import UploadForm
from app.api.intake import ERRORS, Intake, describe_form, surface, take_in
from app.formats import to_json, to_segment, to_srt, to_text, to_vtt
from app.keywords import MAX_BOOST, added, parse_keywords
from app.languages import LANGUAGE_TAG, language_code
from app.recognizer import Options, Task
from app.service import Service
from app.subtitles import SubtitleStyle
from app.transcript import Transcript

router = surface()

TEXT_KINDS = ("text/plain", "application/x-subrip", "text/vtt")


MAX_PROMPT = 2000
"""Most characters of a prompt; models take some 220 tokens, and drop what is before them."""
MAX_BEAM = 10


class SpanBody(BaseModel):
    """`start` and `end` in seconds from the start of the clip."""

    start: float
    end: float
    confidence: float = Field(ge=0, le=1)
    channel: int | None = Field(default=None, description="From 0. Only from separate channels.")
    speaker: str | None = Field(default=None, description="`A` for channel 0, and so on. Only from separate channels.")


class WordBody(SpanBody):
    """One word."""

    word: str


class SegmentBody(SpanBody):
    """Words that one speaker says without a pause; segments of different speakers may overlap."""

    text: str


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
    language: str | None = Field(default=None, description="ISO 639 code. Only from models of several languages.")
    language_probability: float | None = Field(default=None, description="Only if the language was detected.")
    timings: TimingsBody
    words: list[WordBody] | None = Field(default=None, description="Only with `timestamps=word`.")
    segments: list[SegmentBody] | None = Field(default=None, description="Only from separate channels.")


class TranscribeForm(UploadForm):
    """The form fields beside the file."""

    timestamps: Literal["none", "word"] = Field(
        "none", description="`word` adds `words` with start, end and confidence."
    )
    response_format: Literal["json", "text", "srt", "vtt"] = Field("json", description="`srt` and `vtt` are subtitles.")
    stream: bool = Field(
        False,
        description="With `json`: server-sent events, a `segment` as soon as it is final, and at the end the `result`.",
    )
    subtitle_line_characters: int | None = Field(
        None, ge=10, le=200, description="Most characters of a line of subtitles; default: that of the settings."
    )
    subtitle_characters_per_s: float | None = Field(
        None, ge=1, le=100, description="Reading speed of subtitles; default: that of the settings."
    )
    subtitle_min_s: float | None = Field(
        None, ge=0.1, le=10, description="Least seconds of a subtitle; default: that of the settings."
    )
    channels: Literal["", "auto", "mix", "separate"] = Field(
        "",
        description="`separate`: each channel is transcribed by itself, as a speaker. `mix`: all together. `auto`: "
        "separate if the two channels are the sides of a call. Empty: ASR_CHANNELS.",
    )
    language: str = Field(
        "",
        pattern=LANGUAGE_TAG,
        description="ISO 639 code of the speech, such as `tr`; empty: ASR_LANGUAGE, or detected. Whisper only.",
    )
    task: Task = Field("transcribe", description="`translate` writes English, if the model can. Whisper only.")
    prompt: str = Field(
        "",
        max_length=MAX_PROMPT,
        description="Text that could come before the speech, with names and terms as they are spelled. Whisper only.",
    )
    keywords: list[str] = Field(
        default_factory=list,
        description="Names and terms that may be said, as they are written; repeated, or separated by commas or line "
        "ends. `Kadıköy:2` has a boost of its own, `WhatsApp=vatsap` says how a term is said. They add to "
        "ASR_KEYWORDS.",
    )
    keywords_boost: float | None = Field(
        None, gt=0, le=MAX_BOOST, description="How easily keywords are found; default: ASR_KEYWORDS_BOOST. CTC only."
    )
    temperature: float = Field(
        0.0,
        ge=0,
        le=1,
        description="0: the most probable text, and samples at rising temperatures if it fails the checks. Above: one "
        "sample at this temperature. Whisper only.",
    )
    beam_size: int = Field(
        0, ge=0, le=MAX_BEAM, description="Hypotheses of the beam search; 0: ASR_BEAM_SIZE. Whisper only."
    )
    compression_ratio_threshold: float = Field(
        Options.compression_ratio_threshold, gt=0, description="Text that compresses better is repetitive, and fails."
    )
    logprob_threshold: float = Field(
        Options.log_probability_threshold, le=0, description="Text of lower mean log-probability fails."
    )
    no_speech_threshold: float = Field(
        Options.no_speech_threshold,
        ge=0,
        le=1,
        description="Text that fails is dropped if the probability of silence is higher.",
    )

    @property
    def with_words(self) -> bool:
        """Whether the answer lists the words."""
        return self.timestamps == "word"

    @model_validator(mode="after")
    def _streams_json(self) -> Self:
        if self.stream and self.response_format != "json":
            raise ValueError("stream is for the response_format json")
        return self

    def style(self, defaults: SubtitleStyle) -> SubtitleStyle:
        """The style of subtitles that the form asks for."""
        return SubtitleStyle(
            self.subtitle_line_characters or defaults.line_characters,
            self.subtitle_characters_per_s or defaults.characters_per_s,
            self.subtitle_min_s or defaults.min_s,
        )

    def options(self, defaults: Options) -> Options:
        """The recognition options that the form asks for."""
        return replace(
            defaults,
            word_times=self.timestamps == "word",
            segment_times=self.response_format in ("srt", "vtt"),
            channels=self.channels or defaults.channels,
            language=language_code(self.language) or defaults.language,
            task=self.task,
            prompt=self.prompt.strip(),
            keywords=added(defaults.keywords, parse_keywords(self.keywords)),
            keywords_boost=self.keywords_boost or defaults.keywords_boost,
            temperatures=(self.temperature,) if self.temperature else defaults.temperatures,
            beam_size=self.beam_size or defaults.beam_size,
            compression_ratio_threshold=self.compression_ratio_threshold,
            log_probability_threshold=self.logprob_threshold,
            no_speech_threshold=self.no_speech_threshold,
        )


@router.post(
    "/transcribe",
    summary="Transcribe an audio file",
    response_model=TranscriptBody,
    responses={
        200: {
            "content": {kind: {"schema": {"type": "string"}} for kind in TEXT_KINDS}
            | {MEDIA_TYPE: {"schema": EVENT_SCHEMA}}
        },
        **error_responses(*ERRORS),
    },
    openapi_extra=describe_form(TranscribeForm),
)
async def transcribe(request: Request) -> Response:
    """Upload one file in the form field `file`. The text has the model's words, without punctuation.

    `curl -F file=@samples/sample.wav http://localhost:8000/transcribe`
    """
    service: Service = request.app.state.service
    async with AsyncExitStack() as stack:
        intake = await stack.enter_async_context(take_in(request, TranscribeForm))
        form = intake.form
        if not service.settings.strict and "temperatures" in intake.refused_options(service.settings.options):
            intake.drop_options(["temperatures"], service.settings.options)
        if form.stream:
            return EventStream(request, events(intake, service), stack.pop_all(), {})
        transcript = await intake.transcribe()
    style = form.style(service.settings.subtitle_style)
    match form.response_format:
        case "text":
            return PlainTextResponse(to_text(transcript))
        case "srt":
            return PlainTextResponse(to_srt(transcript, style), media_type="application/x-subrip")
        case "vtt":
            return PlainTextResponse(to_vtt(transcript, style), media_type="text/vtt")
        case "json":
            return JSONResponse(result(transcript, form, service))


async def events(intake: Intake[TranscribeForm], service: Service) -> AsyncGenerator[Event, None]:
    """The events of a stream: each segment, and the result."""
    async with aclosing(intake.stream()) as items:
        async for item in items:
            if isinstance(item, Transcript):
                yield Event("result", result(item, intake.form, service))
            else:
                yield Event("segment", to_segment(item, intake.form.with_words))


def result(transcript: Transcript, form: TranscribeForm, service: Service) -> dict[str, Any]:
    """The answer in the format `json`."""
    return to_json(transcript, service.model_name, service.backend, form.with_words)
