"""The forms of OpenAI's audio API, as its clients send them.

Lists come with and without brackets (`include[]`, `include`), repeated or separated by commas; a field may be sent
empty, and in any order. Fields that Dikte does not know are ignored, as OpenAI ignores what a model cannot do.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, ConfigDict, Field, WithJsonSchema, field_validator

from app.api.forms import UploadForm, form_schema
from app.languages import LANGUAGE_TAG, language_named
from app.recognizer import Options, Task

MAX_PROMPT = 2000
"""Characters of a prompt that are kept, from its end; models take some 220 tokens, and drop what is before them."""
MAX_ENTRIES, MAX_LANGUAGES = 4, 12
"""Most entries of a list; `app.api.upload` takes 32 fields that are kept."""
DETECTED = frozenset({"auto", "detect"})
"""What some clients send for a language that is to be detected."""
LOGPROBS = "logprobs"
AUTOMATIC_CHUNKING = frozenset({"auto", "server_vad"})
"""Values of `chunking_strategy` that say what Dikte does: it cuts at pauses. Numbers with them are ignored."""
TIMED_FORMATS = frozenset({"srt", "vtt", "verbose_json", "diarized_json"})
"""Formats that have the times of segments."""
STREAMED_FORMATS = frozenset({"json", "text", "diarized_json"})
FIELD_OF_OPTION = {
    "language": "language",
    "languages": "languages",
    "prompt": "prompt",
    "temperatures": "temperature",
    "word_times": "timestamp_granularities",
}
"""Recognition option -> the form field that asks for it."""


def code_of(name: str) -> str:
    """The ISO 639 code of a language that a client names; empty if it is to be detected. Raises ValueError."""
    return "" if name.strip().lower() in DETECTED else language_named(name) or ""


LanguageName = Annotated[str, AfterValidator(code_of), WithJsonSchema({"type": "string", "pattern": LANGUAGE_TAG})]
"""The schema has the codes only."""


class OpenAIForm(UploadForm):
    """What transcriptions and translations have in common."""

    model_config = ConfigDict(extra="ignore")
    task: ClassVar[Task] = "transcribe"
    discarded: ClassVar[dict[str, str]] = {}
    """Fields of OpenAI's API that no model of the service can honor: name -> description."""

    model: str = Field("", description="Any name; with ASR_STRICT that of the model.")
    prompt: str = Field("", description="Text that could come before the speech. Whisper only.")
    temperature: float = Field(0.0, ge=0, le=1, description="0: the most probable text. Above: a sample. Whisper only.")

    @classmethod
    def keeps(cls, name: str) -> bool:
        """Whether the form has a field of this name, with or without brackets."""
        return plain(name) in cls.model_fields

    @classmethod
    def named(cls, fields: Mapping[str, Sequence[str]]) -> Mapping[str, Sequence[str]]:
        """Names without brackets, values without empty ones. Of a repeated field that is no list, the last counts."""
        found: dict[str, list[str]] = {}
        for name, values in fields.items():
            found.setdefault(plain(name), []).extend(value for value in values if value.strip())
        lists = cls.lists()
        return {name: values if name in lists else values[-1:] for name, values in found.items() if values}

    @classmethod
    def lists(cls) -> set[str]:
        """Names of the fields that are lists."""
        return {name for name, field in cls.model_fields.items() if field.default_factory is list}

    @property
    def format(self) -> str:
        """The format of the answer."""
        raise NotImplementedError

    def options(self, defaults: Options) -> Options:
        """The recognition options that the form asks for."""
        return replace(
            defaults,
            task=self.task,
            prompt=self.prompt.strip()[-MAX_PROMPT:],
            temperatures=(self.temperature,) if self.temperature else defaults.temperatures,
            segment_times=self.format in TIMED_FORMATS,
        )

    def ignored(self) -> list[str]:
        """Names of the fields that have no effect, whatever the model."""
        return []


class TranslationForm(OpenAIForm):
    """The form of `POST /v1/audio/translations`."""

    task: ClassVar[Task] = "translate"
    response_format: Literal["json", "text", "srt", "verbose_json", "vtt"] = "json"

    @property
    def format(self) -> str:
        """The format of the answer."""
        return self.response_format


class TranscriptionForm(OpenAIForm):
    """The form of `POST /v1/audio/transcriptions`."""

    discarded: ClassVar[dict[str, str]] = {
        "keywords": "Ignored.",
        "known_speaker_names": "Ignored.",
        "known_speaker_references": "Ignored.",
    }

    response_format: Literal["json", "text", "srt", "verbose_json", "vtt", "diarized_json"] = "json"
    language: LanguageName = Field(
        "", description="ISO 639 code or English name of the speech. Empty: ASR_LANGUAGE, or detected. Whisper only."
    )
    languages: list[LanguageName] = Field(
        default_factory=list,
        max_length=MAX_LANGUAGES,
        description="Languages among which it is detected. Whisper only.",
    )
    timestamp_granularities: list[Literal["word", "segment"]] = Field(
        default_factory=list,
        max_length=MAX_ENTRIES,
        description="Of `verbose_json`: `segments`, `words`, or both. Default: `segment`.",
    )
    include: list[str] = Field(
        default_factory=list,
        max_length=MAX_ENTRIES,
        description="`logprobs` adds the log-probability of each token, or word, to `json`.",
    )
    chunking_strategy: list[str] = Field(
        default_factory=list, max_length=MAX_ENTRIES, description="Files are always cut at pauses."
    )
    stream: bool = Field(False, description="Send the text in server-sent events, as it is recognized.")
    channels: Literal["", "auto", "mix", "separate"] = Field(
        "", description="As for `/transcribe`: whether each channel is a speaker. OpenAI has no such field."
    )

    @field_validator("timestamp_granularities", "include", "languages", mode="before")
    @classmethod
    def _separated(cls, values: object) -> object:
        """The entries of `word,segment` and of `["word", "segment"]`."""
        return (
            [entry for value in values for entry in re.findall(r"[\w-]+", value)]
            if isinstance(values, list)
            else values
        )

    @property
    def format(self) -> str:
        """The format of the answer."""
        return self.response_format

    @property
    def words(self) -> bool:
        """Whether the answer lists the words."""
        return self.format == "verbose_json" and "word" in self.timestamp_granularities

    @property
    def segments(self) -> bool:
        """Whether a verbose answer lists the segments."""
        return not self.timestamp_granularities or "segment" in self.timestamp_granularities

    @property
    def streams(self) -> bool:
        """Whether the answer is a stream of events."""
        return self.stream and self.format in STREAMED_FORMATS

    @property
    def logprobs(self) -> bool:
        """Whether the answer has log-probabilities."""
        return LOGPROBS in self.include and self.format == "json"

    def options(self, defaults: Options) -> Options:
        """The recognition options that the form asks for."""
        return replace(
            super().options(defaults),
            word_times=self.words,
            language=self.language or defaults.language,
            languages=tuple(filter(None, self.languages)) or defaults.languages,
            channels=self.channels or defaults.channels,
        )

    def ignored(self) -> list[str]:
        """Names of the fields that have no effect, whatever the model."""
        effective = {
            "stream": not self.stream or self.streams,
            "timestamp_granularities": not self.timestamp_granularities or self.format == "verbose_json",
            "include": not self.include or (self.logprobs and set(self.include) == {LOGPROBS}),
            "chunking_strategy": set(self.chunking_strategy) <= AUTOMATIC_CHUNKING,
        }
        return [name for name, has_effect in effective.items() if not has_effect]


def plain(name: str) -> str:
    """The name of a field without brackets: `include` of `include[]`, `chunking_strategy[type]` likewise."""
    return name.partition("[")[0]


def openai_schema(form: type[OpenAIForm]) -> dict[str, Any]:
    """The OpenAPI schema of a form, with its lists as OpenAI's clients name them and with the discarded fields."""
    schema = form_schema(form)
    lists = form.lists()
    properties = {f"{name}[]" if name in lists else name: value for name, value in schema["properties"].items()}
    for name, description in form.discarded.items():
        properties[f"{name}[]"] = {"type": "array", "items": {"type": "string"}, "description": description}
    return schema | {"properties": properties}
