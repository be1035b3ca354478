"""The query of Deepgram's `/v1/listen`, for files and live streams (developers.deepgram.com, API reference)."""

import logging
from collections.abc import Iterable
from dataclasses import replace
from typing import Any, BinaryIO, ClassVar, Literal, TypeVar, cast

from pydantic import ConfigDict, Field, model_validator
from starlette.datastructures import QueryParams

from app.api.forms import UploadForm, parse_form, truncated
from app.api.openai_options import check_model
from app.audio.raw import RawPcm, SampleForm
from app.errors import UnsupportedValue
from app.keywords import added, parse_keywords
from app.languages import LANGUAGE_TAG, language_code
from app.live.incoming import AnyContainer, Encoding, LiveAudio, RawAudio
from app.recognizer import AnyRecognizer, ChannelMode, Options
from app.service import Service

logger = logging.getLogger("dikte")

RAW_ENCODINGS: dict[str, Encoding] = {"linear16": "s16le", "linear32": "s32le", "mulaw": "mulaw", "alaw": "alaw"}
SAMPLE_FORMS = {
    "linear16": SampleForm(),
    "linear32": SampleForm(bytes_per_sample=4),
    "mulaw": SampleForm(tag=7, bytes_per_sample=1),
    "alaw": SampleForm(tag=6, bytes_per_sample=1),
}
ListenEncoding = Literal[
    "", "linear16", "linear32", "mulaw", "alaw", "flac", "opus", "ogg-opus", "amr-nb", "amr-wb", "mp3", "aac"
]
"""Those that are not in `RAW_ENCODINGS` have headers of their own, which say what they are."""
NEUTRAL = frozenset({"", "false", "0"})
"""Values that ask for nothing."""
ANY_LANGUAGE = "multi"
HARMLESS = frozenset({"punctuate", "smart_format", "mip_opt_out", "tag", "extra", "version", "tier", "filler_words"})
"""Parameters that promise nothing that a client could miss, or only label the request."""


class ListenQuery(UploadForm):
    """The parameters with an effect; others are ignored, or refused with ASR_STRICT."""

    model_config = ConfigDict(extra="ignore")
    in_query: ClassVar[bool] = True

    model: str = Field("", description="Any name is answered, unless ASR_STRICT is set.")
    language: str = Field(
        "",
        pattern=f"^{ANY_LANGUAGE}$|{LANGUAGE_TAG}",
        description="Language tag of the speech, or `multi`: detected, if the model can.",
    )
    encoding: ListenEncoding = Field("", description="Of audio without a header; empty: the container says it.")
    sample_rate: int = Field(16_000, ge=1000, le=768_000, description="Of audio without a header, Hz.")
    channels: int = Field(1, ge=1, le=64, description="Of audio without a header.")
    multichannel: bool = Field(False, description="Each channel is transcribed by itself.")
    keyterm: list[str] = Field(
        default_factory=list,
        description="Names and terms that may be said, as they are written; repeated. `Kadıköy:2` has a boost of its "
        "own. They add to ASR_KEYWORDS.",
    )
    keywords: list[str] = Field(default_factory=list, description="The same as `keyterm`, by its older name.")

    @property
    def audio(self) -> LiveAudio:
        """What the audio is."""
        encoding = RAW_ENCODINGS.get(self.encoding)
        return AnyContainer() if encoding is None else RawAudio(encoding, self.sample_rate, self.channels)

    def recognition(self, options: Options, recognizer: AnyRecognizer) -> Options:
        """The options with the keywords, and with the language that is asked for, if the model knows several.

        Raises InvalidParameter for entries that are no keywords.
        """
        keywords = added(options.keywords, parse_keywords([*self.keywords, *self.keyterm]))
        code = language_of(self.language)
        language = code if code is not None and recognizer.detects_language else options.language
        return replace(options, keywords=keywords, language=language)


class LiveQuery(ListenQuery):
    """The parameters of a live stream."""

    interim_results: bool = Field(False, description="Whether texts come before they are final.")
    endpointing: int | Literal[False] = Field(10, ge=0, description="Pause that ends an utterance, ms; or `false`.")
    utterance_end_ms: int | None = Field(None, ge=0, le=60_000, description="Silence after which `UtteranceEnd` comes.")
    vad_events: bool = Field(False, description="Whether `SpeechStarted` comes.")

    @model_validator(mode="before")
    @classmethod
    def _false_is_no_number(cls, values: Any) -> Any:
        if isinstance(values, dict) and str(values.get("endpointing", "")).lower() == "false":
            values["endpointing"] = False
        if isinstance(values, dict) and str(values.get("endpointing", "")).lower() == "true":
            del values["endpointing"]
        if isinstance(values, dict) and str(values.get("utterance_end_ms", "")).lower() in ("false", ""):
            values.pop("utterance_end_ms", None)
        return values


class FileQuery(ListenQuery):
    """The parameters of a file, which is the body."""

    is_bare: ClassVar[bool] = True

    utterances: bool = Field(False, description="Whether the answer has `utterances`: parts between pauses.")
    utt_split: float = Field(0.8, gt=0, description="Without effect: utterances end at pauses of 0.8 s.")
    detect_language: bool = Field(False, description="Whether the answer names the language.")

    def opened(self, file: BinaryIO) -> BinaryIO:
        """The body as an audio file."""
        form = SAMPLE_FORMS.get(self.encoding)
        if form is None:
            return file
        return cast(BinaryIO, RawPcm(file, self.sample_rate, form=replace(form, channels=self.channels)))

    def options(self, defaults: Options) -> Options:
        """Word times, and what becomes of the channels."""
        channels: ChannelMode = "separate" if self.multichannel else "mix"
        return replace(defaults, word_times=True, segment_times=True, channels=channels)


def language_of(tag: str) -> str | None:
    """The ISO 639 code in a tag such as `tr` or `en-US`; None if it names no language."""
    if tag in ("", ANY_LANGUAGE):
        return None
    return language_code(tag)


Query = TypeVar("Query", bound=ListenQuery)


def read_query(kind: type[Query], params: QueryParams, service: Service) -> Query:
    """The query of a live stream. Raises InvalidParameter and the errors of `check_effects`."""
    query = parse_form(kind, {name: params.getlist(name) for name in kind.model_fields if name in params})
    check_effects(query, params, service)
    return query


def check_effects(query: ListenQuery, params: QueryParams, service: Service) -> None:
    """Log the parameters without effect.

    With ASR_STRICT, raises UnsupportedValue for them, and ModelNotFound for the name of another model.
    """
    ignored = sorted(without_effect(params, type(query).model_fields, query, service.language))
    if ignored and service.settings.strict:
        raise UnsupportedValue(f"{ignored[0]}: the service cannot honor it", field=ignored[0])
    if service.settings.strict:
        check_model(query.model, service)
    if ignored:
        logger.info("ignored parameters: %s", ", ".join(ignored))


def without_effect(params: QueryParams, known: Iterable[str], query: ListenQuery, language: str | None) -> set[str]:
    """Names of the parameters that ask for something that the answer will not have."""
    names = {truncated(name) for name, value in params.multi_items() if value.lower() not in NEUTRAL}
    ignored = names - set(known) - HARMLESS
    if language is not None and language_of(query.language) not in (None, language):
        ignored.add("language")
    return ignored
