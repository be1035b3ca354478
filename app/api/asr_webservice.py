"""`POST /asr` and `POST /detect-language`, as whisper-asr-webservice has them; Bazarr speaks this API.

Options are in the query, and the file is in the form field `audio_file`; with `encode=false` it is bare samples.
"""

from dataclasses import replace
from typing import Any, BinaryIO, ClassVar, Literal, cast

from fastapi import Request, Response
from fastapi.responses import JSONResponse, PlainTextResponse
from pydantic import BaseModel, ConfigDict, Field

from app.api.errors import error_responses
from app.api.forms import UploadForm
from app.api.intake import ERRORS, Intake, describe_form, surface, take_in
from app.audio.raw import RawPcm
from app.errors import InvalidAudio, InvalidParameter
from app.formats import to_srt, to_vtt
from app.languages import LANGUAGE_TAG, english_name, language_code
from app.recognizer import AnyRecognizer, Options, Task
from app.service import Service
from app.transcript import Segment, Transcript

router = surface()

RAW_RATE_HZ = 16_000
"""Of bare samples; the API fixes it."""
DETECTION_S = 600.0
"""Longest part of bare samples in which the language is looked for: Bazarr sends whole films."""
MAX_PROMPT = 2000
HINTS = ("language", "prompt")
"""Options that a model of one language ignores, because clients always send them."""


class DetectionQuery(UploadForm):
    """The query of `/detect-language`. Unknown parameters and fields are ignored, as the original does."""

    model_config = ConfigDict(extra="ignore")
    file_field: ClassVar[str] = "audio_file"
    in_query: ClassVar[bool] = True
    longest_s: ClassVar[float | None] = DETECTION_S

    encode: bool = Field(True, description="`false`: the file is 16-bit little-endian samples, mono, at 16 kHz.")

    def opened(self, file: BinaryIO) -> BinaryIO:
        """The upload as an audio file."""
        return file if self.encode else cast(BinaryIO, RawPcm(file, RAW_RATE_HZ, self.longest_s))

    def options(self, defaults: Options) -> Options:
        """The language is not given."""
        return replace(defaults, language=None)


class AsrQuery(DetectionQuery):
    """The query of `/asr`."""

    longest_s: ClassVar[float | None] = None

    task: Task = Field("transcribe", description="`translate` writes English, if the model can.")
    language: str = Field("", pattern=LANGUAGE_TAG, description="ISO 639 code of the speech; empty: detected.")
    initial_prompt: str = Field("", max_length=MAX_PROMPT, description="Text that could come before the speech.")
    vad_filter: bool = Field(False, description="Without effect: parts without speech are always left out.")
    word_timestamps: bool = Field(False, description="`json` has the words of each segment, with their times.")
    output: Literal["txt", "vtt", "srt", "tsv", "json"] = Field("txt", description="Format of the answer.")

    def options(self, defaults: Options) -> Options:
        """The recognition options that the query asks for."""
        return replace(
            defaults,
            word_times=self.word_timestamps,
            segment_times=True,
            language=language_code(self.language) or defaults.language,
            task=self.task,
            prompt=self.initial_prompt.strip(),
        )


class DetectionBody(BaseModel):
    """The answer to `/detect-language`."""

    detected_language: str = Field(description="English name, such as `turkish`.")
    language_code: str = Field(description="ISO 639 code.")
    confidence: float = Field(ge=0, le=1, description="1 from a model of one language.")


@router.post(
    "/asr",
    summary="Transcribe an audio file, as whisper-asr-webservice does",
    responses={
        200: {"content": {"text/plain": {"schema": {"type": "string"}}, "application/json": {}}},
        **error_responses(*ERRORS),
    },
    openapi_extra=describe_form(AsrQuery),
)
async def asr(request: Request) -> Response:
    """`curl -F audio_file=@samples/sample.wav "http://localhost:8000/asr?output=srt"`."""
    service: Service = request.app.state.service
    async with take_in(request, AsrQuery) as intake:
        intake.options = honored(intake.recognizer, intake.options, service)
        transcript = await intake.transcribe()
    match intake.form.output:
        case "txt":
            return PlainTextResponse("".join(f"{_labelled(segment)}\n" for segment in transcript.segments))
        case "srt":
            return PlainTextResponse(to_srt(transcript, service.settings.subtitle_style))
        case "vtt":
            return PlainTextResponse(to_vtt(transcript, service.settings.subtitle_style))
        case "tsv":
            return PlainTextResponse(to_tsv(transcript))
        case "json":
            return JSONResponse(to_whisper_json(transcript, service.language, intake.form.word_timestamps))


@router.post(
    "/detect-language",
    summary="Detect the language of an audio file, as whisper-asr-webservice does",
    response_model=DetectionBody,
    responses=error_responses(*ERRORS),
    openapi_extra=describe_form(DetectionQuery),
)
async def detect_language(request: Request) -> DetectionBody:
    """A model of one language answers its own, if it is known.

    `curl -F audio_file=@samples/sample.wav http://localhost:8000/detect-language`
    """
    service: Service = request.app.state.service
    async with take_in(request, DetectionQuery) as intake:
        if not intake.recognizer.detects_language:
            if service.language is None:
                raise InvalidParameter(
                    "the model has one language, and no model card names it: write it as `language: tr` into the "
                    "header of README.md in the model's folder"
                )
            return DetectionBody(
                detected_language=english_name(service.language), language_code=service.language, confidence=1.0
            )
        return await detect(intake)


async def detect(intake: Intake[DetectionQuery]) -> DetectionBody:
    """The language of the first segment; the rest of the clip is not computed. Raises InvalidAudio without speech."""
    segment = await intake.first_segment(lambda segment: segment.decoding is not None)
    decoding = None if segment is None else segment.decoding
    if decoding is None or decoding.language is None:
        raise InvalidAudio("there is no speech whose language could be detected")
    return DetectionBody(
        detected_language=english_name(decoding.language),
        language_code=decoding.language,
        confidence=min(1.0, decoding.language_probability or 1.0),
    )


def honored(recognizer: AnyRecognizer, options: Options, service: Service) -> Options:
    """The options without hints that the model does not take.

    Raises InvalidParameter for the language of a model that is known to have another one.
    """
    defaults = service.settings.options
    for name in HINTS:
        try:
            recognizer.check_options(replace(defaults, **{name: getattr(options, name)}))
        except InvalidParameter:
            if name == "language" and (recognizer.detects_language or service.language not in (None, options.language)):
                raise
            options = replace(options, **{name: getattr(defaults, name)})
    return options


def to_tsv(transcript: Transcript) -> str:
    """Tab-separated lines: start and end in milliseconds, and the text of each segment."""
    lines = [
        f"{round(1000 * part.start_s)}\t{round(1000 * part.end_s)}\t{_labelled(part)}" for part in transcript.segments
    ]
    return "\n".join(["start\tend\ttext", *lines]) + "\n"


def to_whisper_json(transcript: Transcript, language: str | None, with_words: bool) -> dict[str, Any]:
    """The result of openai/whisper. language: that of the model, if it has one."""
    segments = []
    for number, part in enumerate(transcript.segments):
        segment: dict[str, Any] = {
            "id": number,
            "start": round(part.start_s, 3),
            "end": round(part.end_s, 3),
            "text": part.text,
        }
        if part.decoding is not None:
            segment |= {
                "tokens": list(part.decoding.tokens),
                "temperature": part.decoding.temperature,
                "avg_logprob": part.decoding.average_log_probability,
                "compression_ratio": part.decoding.compression_ratio,
                "no_speech_prob": part.decoding.no_speech_probability,
            }
        if part.speaker is not None:
            segment["speaker"] = part.speaker
        if with_words:
            segment["words"] = [
                {
                    "word": word.text,
                    "start": round(word.start_s, 3),
                    "end": round(word.end_s, 3),
                    "probability": round(word.confidence, 4),
                }
                for word in part.words
            ]
        segments.append(segment)
    return {"text": transcript.text, "segments": segments, "language": transcript.language or language}


def _labelled(segment: Segment) -> str:
    """The text of a segment on one line, with its speaker if that is known."""
    text = " ".join(segment.text.split())
    return text if segment.speaker is None else f"{segment.speaker}: {text}"
