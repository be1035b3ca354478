"""The configuration of a transcription session of OpenAI's Realtime API, in its present form and that of the beta.

`session.updated` tells what is in effect: what the model cannot honor is ignored, as on the other paths of OpenAI's
API, and logged; with ASR_STRICT it is refused, and the session stays as it was.
"""

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal
from uuid import uuid4

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from app.api.live_conversation import wrong_field
from app.api.openai_forms import MAX_LANGUAGES, MAX_PROMPT, LanguageName
from app.api.openai_options import check_model, names_own_language
from app.errors import InvalidParameter, UnsupportedValue
from app.keywords import added, parse_keywords
from app.live.incoming import Encoding, RawAudio
from app.live.options import LiveOptions
from app.live.utterances import VOICE
from app.recognizer import Options, refused_options
from app.service import Service
from app.settings import Settings

logger = logging.getLogger("dikte")

LOGPROBS = "item.input_audio_transcription.logprobs"
SILENCE_MS = 500
"""Pause that ends an utterance unless the client says otherwise; OpenAI's default."""
PCM_HZ, TELEPHONE_HZ = 24_000, 8000
MIN_PCM_HZ, MAX_PCM_HZ = 8000, 96_000
"""OpenAI takes PCM at 24 kHz only."""
ENCODINGS: dict[str, Encoding] = {"audio/pcm": "s16le", "audio/pcmu": "mulaw", "audio/pcma": "alaw"}
BETA_ENCODINGS = {"pcm16": "audio/pcm", "g711_ulaw": "audio/pcmu", "g711_alaw": "audio/pcma"}
BETA_NAMES = {
    "input_audio_format": "format",
    "input_audio_transcription": "transcription",
    "turn_detection": "turn_detection",
    "input_audio_noise_reduction": "noise_reduction",
}
"""Fields of the beta's session -> what they are called in `audio.input`."""
KEYWORDS = "session.audio.input.transcription.keywords"
FIELD_OF_OPTION = {"language": "language", "languages": "languages", "prompt": "prompt"}
"""Recognition option -> the field of `transcription` that asks for it."""
EFFECTIVE = frozenset(
    "type audio input format rate transcription model language languages prompt keywords turn_detection "
    "silence_duration_ms include".split()
)
"""Names of the fields, at any depth, that have an effect."""
HARMLESS = frozenset("threshold prefix_padding_ms eagerness create_response interrupt_response id object".split())
"""Fields that promise nothing that a client could miss; `session.updated` has the values in effect."""


class Part(BaseModel):
    """A part of the configuration. Other fields are kept, so that they can be named."""

    model_config = ConfigDict(extra="allow")


class FormatPart(Part):
    """The audio that the client sends."""

    type: Literal["audio/pcm", "audio/pcmu", "audio/pcma"] = "audio/pcm"
    rate: int | None = Field(None, ge=MIN_PCM_HZ, le=MAX_PCM_HZ)

    @property
    def audio(self) -> RawAudio:
        """What the bytes are: G.711 has one rate."""
        rate_hz = (self.rate or PCM_HZ) if self.type == "audio/pcm" else TELEPHONE_HZ
        return RawAudio(ENCODINGS[self.type], rate_hz)


class TranscriptionPart(Part):
    """What is asked of the model."""

    model: str | None = None
    language: LanguageName | None = None
    languages: list[LanguageName] | None = Field(None, max_length=MAX_LANGUAGES)
    prompt: str | None = None
    keywords: list[str] | None = None


class TurnDetectionPart(Part):
    """How the end of an utterance is found."""

    type: Literal["server_vad", "semantic_vad"] = "server_vad"
    silence_duration_ms: int | None = Field(None, ge=0, le=60_000)


class InputPart(Part):
    """`audio.input`."""

    format: FormatPart | None = None
    transcription: TranscriptionPart | None = None
    turn_detection: TurnDetectionPart | None = None


class AudioPart(Part):
    """`audio`."""

    input: InputPart = InputPart()


class SessionPart(Part):
    """A session, as `session.update` has it: only what is to change."""

    type: str = "transcription"
    audio: AudioPart = AudioPart()
    include: list[str] | None = None

    @field_validator("type")
    @classmethod
    def _only_transcription(cls, name: str) -> str:
        if name != "transcription":
            raise ValueError("this service has transcription sessions only: the type must be transcription")
        return name

    @model_validator(mode="before")
    @classmethod
    def _names_of_the_beta(cls, values: Any) -> Any:
        if not isinstance(values, dict) or not BETA_NAMES.keys() & values.keys():
            return values
        found = {BETA_NAMES[name]: value for name, value in values.items() if name in BETA_NAMES}
        if isinstance(encoding := found.get("format"), str):
            found["format"] = {"type": BETA_ENCODINGS.get(encoding, encoding)}
        return {name: value for name, value in values.items() if name not in BETA_NAMES} | {"audio": {"input": found}}


@dataclass(frozen=True)
class Session:
    """The configuration in effect.

    silence_s: pause that ends an utterance; None if the client commits it. recognition: options of the recognizer.
    """

    id: str
    audio: RawAudio
    silence_s: float | None
    logprobs: bool
    recognition: Options

    @property
    def live_options(self) -> LiveOptions:
        """What it asks of the stream."""
        return LiveOptions(endpointing_s=self.silence_s, recognition=self.recognition)


def first_session(service: Service) -> Session:
    """The configuration before the client has said anything."""
    settings = service.settings
    audio = RawAudio("s16le", PCM_HZ)
    return Session(f"sess_{uuid4().hex}", audio, silence_of(TurnDetectionPart(), settings), False, settings.options)


def updated(session: Session, changes: object, service: Service) -> Session:
    """The configuration with what a client changes.

    Raises InvalidParameter; with ASR_STRICT, UnsupportedValue for what has no effect, and ModelNotFound for the name
    of another model.
    """
    try:
        part = SessionPart.model_validate(changes)
    except ValidationError as error:
        raise wrong_field("session", error) from None
    given = part.audio.input
    defaults = service.settings.options
    asked, names = recognition_of(session.recognition, given.transcription, defaults)
    refused = refused_options(service.transcriber.lanes.express, asked, defaults)
    if "keywords" in refused:  # one of them is wrong; every model takes some
        raise InvalidParameter(refused["keywords"], field=KEYWORDS)
    ignored = dict.fromkeys(without_effect(part.model_dump(exclude_unset=True)), "it has no effect")
    ignored |= {
        FIELD_OF_OPTION[option]: reason
        for option, reason in refused.items()
        if option in names and not names_own_language(option, asked, service.language)
    }
    if service.settings.strict:
        check_model((given.transcription and given.transcription.model) or "", service)
        if ignored:
            name, reason = next(iter(ignored.items()))
            raise UnsupportedValue(f"{name[:100]}: {reason}", field=name[:100])
    if ignored:
        logger.info("ignored parameters: %s", ", ".join(name[:100] for name in ignored))
    silence_s = session.silence_s
    if "turn_detection" in given.model_fields_set:
        silence_s = None if given.turn_detection is None else silence_of(given.turn_detection, service.settings)
    return replace(
        session,
        audio=session.audio if given.format is None else given.format.audio,
        silence_s=silence_s,
        logprobs=session.logprobs if part.include is None else LOGPROBS in part.include,
        recognition=replace(asked, **{name: getattr(defaults, name) for name in refused}),
    )


def recognition_of(options: Options, part: TranscriptionPart | None, defaults: Options) -> tuple[Options, set[str]]:
    """The recognition options with what the client changes, and the names of those.

    Keywords replace those of earlier updates, and add to those of the service. Raises InvalidParameter for entries that
    are no keywords.
    """
    if part is None:
        return options, set()
    changes: dict[str, Any] = {}
    if part.language is not None:
        changes["language"] = part.language or None
    if part.languages is not None:
        changes["languages"] = tuple(filter(None, part.languages))
    if part.prompt is not None:
        changes["prompt"] = part.prompt.strip()[-MAX_PROMPT:]
    if part.keywords is not None:
        try:
            changes["keywords"] = added(defaults.keywords, parse_keywords(part.keywords))
        except InvalidParameter as error:
            raise InvalidParameter(error.message, **{**error.details, "field": KEYWORDS}) from None
    return replace(options, **changes), set(changes)


def silence_of(part: TurnDetectionPart, settings: Settings) -> float:
    """The pause that ends an utterance, seconds."""
    milliseconds = SILENCE_MS if part.silence_duration_ms is None else part.silence_duration_ms
    return max(settings.live_endpointing_s, milliseconds / 1000)


def without_effect(part: Mapping[str, Any]) -> Iterator[str]:
    """Names of the fields that ask for something that the session will not have."""
    for name, value in part.items():
        if name not in EFFECTIVE and name not in HARMLESS and value not in (None, "", [], {}):
            yield name
        elif isinstance(value, Mapping):
            yield from without_effect(value)
    if part.get("type") == "semantic_vad":
        yield "turn_detection"
    if any(name != LOGPROBS for name in part.get("include") or ()):
        yield "include"


def to_body(session: Session, service: Service, beta: bool) -> dict[str, Any]:
    """The configuration in effect, as events tell it."""
    kind = next(name for name, encoding in ENCODINGS.items() if encoding == session.audio.encoding)
    detection = None
    if session.silence_s is not None:
        detection = {
            "type": "server_vad",
            "threshold": VOICE.threshold,
            "prefix_padding_ms": VOICE.padding_before_ms,
            "silence_duration_ms": round(session.silence_s * 1000),
        }
    options = session.recognition
    transcription: dict[str, Any] = {"model": service.model_name, "prompt": options.prompt}
    if language := options.language or service.language:
        transcription["language"] = language
    if options.languages:
        transcription["languages"] = list(options.languages)
    if options.keywords:
        transcription["keywords"] = [keyword.text for keyword in options.keywords]
    body = {
        "id": session.id,
        "object": "realtime.transcription_session",
        "include": [LOGPROBS] if session.logprobs else None,
    }
    if beta:
        old = next(name for name, now in BETA_ENCODINGS.items() if now == kind)
        return body | {
            "input_audio_format": old,
            "input_audio_transcription": transcription,
            "turn_detection": detection,
            "input_audio_noise_reduction": None,
        }
    form = {"type": kind} | ({"rate": session.audio.rate_hz} if kind == "audio/pcm" else {})
    given = {
        "format": form,
        "transcription": transcription,
        "turn_detection": detection,
        "noise_reduction": None,
    }
    return body | {"type": "transcription", "audio": {"input": given}}
