"""Every `ASR_*` environment variable: typed, described, and validated when the service starts."""

import re
from functools import cached_property
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from app.audio import AudioLimits
from app.cores import available_cores
from app.environment import can_be_sent, entries, is_service_link
from app.errors import InvalidParameter
from app.keywords import MAX_BOOST, Keyword, parse_keywords
from app.languages import language_code
from app.live.options import LiveLimits, LiveOptions
from app.recognizer import WINDOW_S, ChannelMode, Options, Windowing
from app.runtimes.registry import AUTO, BACKENDS, REFERENCE
from app.subtitles import SubtitleStyle

MIB = 1 << 20
BUNDLED_MODEL = Path(__file__).resolve().parents[1] / "models" / "tr-small"
MAX_DEFAULT_THREADS = 8
"""More threads than this hardly speed up a single clip."""


class Settings(BaseSettings):
    """The settings of the service. Each is read from the environment variable `ASR_` + its name in capitals."""

    model_config = SettingsConfigDict(
        env_prefix="ASR_",
        env_ignore_empty=True,  # compose files and .env files pass unset variables as empty strings
        protected_namespaces=(),
        hide_input_in_errors=True,
        allow_inf_nan=False,
    )

    backend: str = Field(
        AUTO,
        description=f"Backend: `{AUTO}` (the fastest here of those that are proven and installed), or one of "
        + ", ".join(f"`{name}` ({backend.title}; {backend.requirements})" for name, backend in BACKENDS.items())
        + ".",
    )
    model_dir: str = Field(
        str(BUNDLED_MODEL),
        description=f"Artifact folder; for `{REFERENCE}` a checkpoint folder or hub id. Default: the bundled model.",
    )
    allow_unproven: bool = Field(
        False,
        description="Serve a model without proofs, with failed proofs, or with other files than the proven ones; "
        "logged as an error.",
    )
    workers: int = Field(
        default_factory=available_cores,
        ge=1,
        le=256,
        description="Windows computed at a time, each on one core. Default: the cores that this process may use.",
    )
    threads: int = Field(
        default_factory=lambda: min(available_cores(), MAX_DEFAULT_THREADS),
        ge=1,
        le=256,
        description="Threads that compute a window when no other work is waiting; 1 saves the memory of a second "
        "copy of the model. Default: the cores that this process may use, at most 8.",
    )
    window_s: float | None = Field(
        None,
        ge=2.0,
        le=60.0,
        description="Longest piece of audio the engine computes at once, seconds. Default: 20, and the window of a "
        "Whisper model, 30.",
    )
    overlap_s: float = Field(
        Windowing.overlap_s, ge=0.5, le=20.0, description="Overlap of neighbouring windows, seconds."
    )
    language: str | None = Field(
        None, description="Language of the speech, for models of several languages, such as `tr`. Default: detected."
    )
    languages: str = Field(
        "", description="Languages among which it is detected, comma separated; empty: all that the model knows."
    )
    language_threshold: float = Field(
        Options.language_threshold,
        ge=0,
        le=1,
        description="Probability from which on a detected language is accepted at once; below it, more of the clip is "
        "looked at.",
    )
    keywords: str = Field(
        "",
        description="Names and terms that may be said, separated by commas or line ends, such as "
        "`Kadıköy, Ayşe Tütüncü:2, WhatsApp=vatsap`; requests add theirs (docs/keywords.md).",
    )
    keywords_file: Path | None = Field(
        None, description="File with such keywords, one a line, for many; lines that begin with `#` are comments."
    )
    keywords_boost: float = Field(
        Options.keywords_boost,
        gt=0,
        le=MAX_BOOST,
        description="How easily keywords are found: a factor on the boost of each. CTC only.",
    )
    beam_size: int = Field(
        Options.beam_size, ge=1, le=10, description="Hypotheses of the beam search; 1 is greedy search. Whisper only."
    )
    retry_factor: float = Field(
        Options.retry_factor,
        ge=0,
        description="Most tokens that all temperatures of a window may write, as a multiple of what its speech usually "
        "has; 0: one temperature only. Whisper only.",
    )
    language_model: bool = Field(
        Options.language_model,
        description="Use the language model of a CTC model that has one (docs/language-model.md).",
    )
    language_model_beam: int = Field(
        Options.language_model_beam,
        ge=1,
        le=500,
        description="Hypotheses of the beam search with a language model. CTC only.",
    )
    strict: bool = Field(
        False,
        description="Refuse fields that the model cannot honor, and names of other models, on the paths of OpenAI's "
        "API, where they are ignored otherwise.",
    )
    subtitle_line_characters: int = Field(
        SubtitleStyle.line_characters, ge=10, le=200, description="Most characters of a line of SRT and WebVTT."
    )
    subtitle_characters_per_s: float = Field(
        SubtitleStyle.characters_per_s, ge=1, le=100, description="Reading speed of subtitles, characters per second."
    )
    subtitle_min_s: float = Field(
        SubtitleStyle.min_s, ge=0.1, le=10, description="Least seconds that a subtitle is shown."
    )
    channels: ChannelMode = Field(
        "auto",
        description="Channels of a file: `mix`; `separate`, each transcribed by itself, as a speaker; `auto`: separate "
        "if the two channels are the sides of a call.",
    )
    max_upload_bytes: int = Field(256 * MIB, ge=1, description="Largest request body, bytes.")
    max_duration_s: float = Field(2 * 3600.0, gt=0, description="Longest clip, seconds.")
    max_decoded_bytes: int = Field(
        2048 * MIB, ge=1, description="Largest decoded size of a clip, bytes (float32, all channels)."
    )
    max_channels: int = Field(8, ge=1, le=64, description="Most channels of a clip.")
    max_uploads: int = Field(64, ge=1, description="Most request bodies read at a time; further requests get 429.")
    upload_idle_s: float = Field(30.0, gt=0, description="Longest pause within a request body, seconds; then 408.")
    upload_min_bytes_per_s: float = Field(
        500.0,
        ge=0,
        description="Lowest upload rate, bytes per second, averaged over each ASR_UPLOAD_IDLE_S; slower bodies get "
        "408. 0: any rate.",
    )
    header_s: float = Field(
        10.0,
        gt=0,
        description="Seconds for a connection to send the whole header of a request; then it is closed.",
    )
    keep_alive_s: float = Field(
        75.0,
        gt=0,
        description="Seconds that a connection stays open between requests; a proxy should use a shorter time.",
    )
    max_queue_s: float = Field(
        2 * 3600.0,
        gt=0,
        description="Most audio in the queue, seconds, each separate channel by itself; beyond it requests get 429. "
        "Each second takes 64 KB of memory.",
    )
    deadline_s: float = Field(
        600.0,
        gt=0,
        description="Longest time from a request's arrival to its answer, seconds (504); a request that cannot be "
        "answered in time is refused at once (429). A client can shorten it with the header X-Request-Timeout.",
    )
    live_streams: int = Field(
        LiveLimits.max_streams,
        ge=0,
        description="Most live streams at a time; further ones get 429, as do those that the CPU has no power for.",
    )
    live_hop_s: float = Field(
        LiveLimits.hop_s,
        ge=0.1,
        le=5,
        description="Seconds from one partial text of a live stream to the next; under load it grows.",
    )
    live_endpointing_s: float = Field(
        LiveOptions.endpointing_s or 0.0,
        ge=0.1,
        le=10,
        description="Shortest pause that ends an utterance of a live stream, seconds; clients may ask for more.",
    )
    live_idle_s: float = Field(10.0, gt=0, description="Seconds without a message after which a live stream is closed.")
    live_session_idle_s: float = Field(
        300.0,
        gt=0,
        description="Seconds without an event after which a session of OpenAI's Realtime API is closed; its clients "
        "have no message to keep a silent one open.",
    )
    grace_s: float = Field(30.0, gt=0, description="Seconds to answer the admitted requests when the service stops.")
    canary_s: float = Field(
        15.0,
        gt=0,
        description="Seconds between checks of the engine; if it does not answer a check within this time, the "
        "service becomes not ready.",
    )
    host: str = Field("0.0.0.0", description="Address that `python -m app` listens on.")  # noqa: S104  # a server
    port: int = Field(8000, ge=0, le=65535, description="Port that `python -m app` listens on.")
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="Lowest level that is logged.")
    log_format: Literal["auto", "json", "text"] = Field(
        "auto", description="`json`: an object per line; `text`: for people; `auto`: text at a terminal, else JSON."
    )
    api_keys: SecretStr = Field(
        SecretStr(""), description="Keys that may transcribe, comma separated; empty: everybody may."
    )
    cors_origins: str = Field(
        "",
        description="Web pages that may call the service, comma separated, such as `https://example.org`; `*`: all; "
        "empty: none.",
    )

    @field_validator("backend", "channels", "log_level", "log_format", mode="before")
    @classmethod
    def _names_in_any_case(cls, name: object) -> object:
        return name.strip().lower() if isinstance(name, str) else name

    @field_validator("backend")
    @classmethod
    def _backend_is_known(cls, name: str) -> str:
        if name not in (AUTO, *BACKENDS):
            raise ValueError(f"must be one of {', '.join((AUTO, *BACKENDS))}")
        return name

    @field_validator("language")
    @classmethod
    def _language_is_a_code(cls, language: str | None) -> str | None:
        return language_code(language)

    @field_validator("languages")
    @classmethod
    def _languages_are_codes(cls, languages: str) -> str:
        for entry in entries(languages):
            language_code(entry)
        return languages

    @model_validator(mode="after")
    def _keywords_are_keywords(self) -> Self:
        try:
            _ = self.all_keywords
        except InvalidParameter as error:
            raise ValueError(f"ASR_KEYWORDS: {error.message}") from error
        except (OSError, UnicodeDecodeError) as error:
            raise ValueError(f"ASR_KEYWORDS_FILE cannot be read: {error}") from error
        return self

    @field_validator("port", mode="before")
    @classmethod
    def _port_is_ours(cls, port: object) -> object:
        return cls.model_fields["port"].default if is_service_link(port) else port

    @model_validator(mode="after")
    def _overlap_fits(self) -> Self:
        if self.overlap_s > (self.window_s or WINDOW_S) / 2:
            raise ValueError("ASR_OVERLAP_S must be at most half of ASR_WINDOW_S")
        return self

    @field_validator("api_keys")
    @classmethod
    def _keys_can_be_sent(cls, keys: SecretStr) -> SecretStr:
        if not all(map(can_be_sent, entries(keys.get_secret_value()))):
            raise ValueError("a key is blank, or has characters other than visible ASCII")
        return keys

    @field_validator("cors_origins")
    @classmethod
    def _origins_are_origins(cls, origins: str) -> str:
        for origin in entries(origins):
            if not re.fullmatch(r"\*|[a-z][a-z0-9+.-]*://[^/\s*]+", origin):
                raise ValueError(
                    f"{origin!r} is not an origin: write https://example.org, without a path or a trailing slash"
                )
        return origins

    @property
    def keys(self) -> tuple[str, ...]:
        """The API keys that may transcribe; if empty, everybody may."""
        return entries(self.api_keys.get_secret_value())

    @property
    def origins(self) -> tuple[str, ...]:
        """The origins of web pages that may call the service."""
        return entries(self.cors_origins)

    @cached_property
    def all_keywords(self) -> tuple[Keyword, ...]:
        """The keywords of the settings and of their file. Raises InvalidParameter, OSError and UnicodeDecodeError."""
        lines = [] if self.keywords_file is None else self.keywords_file.read_text(encoding="utf-8-sig").splitlines()
        return parse_keywords([*(line for line in lines if not line.lstrip().startswith("#")), self.keywords])

    @property
    def windowing(self) -> Windowing:
        """How long clips are cut."""
        return Windowing(self.window_s, self.overlap_s)

    @property
    def options(self) -> Options:
        """What requests ask of the recognition unless they say otherwise."""
        return Options(
            language=self.language,
            languages=tuple(code for text in entries(self.languages) if (code := language_code(text)) is not None),
            language_threshold=self.language_threshold,
            beam_size=self.beam_size,
            retry_factor=self.retry_factor,
            keywords=self.all_keywords,
            keywords_boost=self.keywords_boost,
            channels=self.channels,
            language_model=self.language_model,
            language_model_beam=self.language_model_beam,
        )

    @property
    def subtitle_style(self) -> SubtitleStyle:
        """How subtitles are laid out unless requests say otherwise."""
        return SubtitleStyle(self.subtitle_line_characters, self.subtitle_characters_per_s, self.subtitle_min_s)

    @property
    def live_limits(self) -> LiveLimits:
        """The limits of `app.live`."""
        return LiveLimits(max_streams=self.live_streams, hop_s=self.live_hop_s, max_channels=self.max_channels)

    @property
    def audio_limits(self) -> AudioLimits:
        """The limits that `app.audio` enforces."""
        return AudioLimits(self.max_duration_s, self.max_decoded_bytes, self.max_channels)


def problems(error: ValidationError) -> list[str]:
    """What is wrong with the settings, one line per variable."""
    lines = []
    for problem in error.errors():
        name = "_".join(str(part) for part in problem["loc"])
        lines.append(f"ASR_{name.upper()}: {problem['msg']}" if name else str(problem["msg"]))
    return lines
