"""vosk-server's WebSocket, which modules for Asterisk and FreeSWITCH speak, at `/vosk`.

Audio is 16-bit mono PCM. Each binary message has exactly one answer, once its audio was taken: the text of utterances
that ended in it, or the running one so far. `{"config": ...}` has none; `{"eof" : 1}` and `{"reset" : 1}` end the
running utterance, and the former the connection (vosk-server, websocket/asr_server.py).
"""

import json
import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from fastapi import APIRouter, WebSocket
from pydantic import BaseModel, Field, ValidationError

from app.api.live_conversation import (
    INTERNAL,
    INVALID,
    NORMAL,
    STOPPING,
    Ending,
    LiveConversation,
    code_of,
    wrong_field,
)
from app.api.origins import check_origin
from app.api.paths import VOSK
from app.audio.limits import MAX_RATE_HZ, MIN_RATE_HZ
from app.errors import AsrError, InvalidAudio, InvalidParameter
from app.keywords import Keyword, added, parse_keywords
from app.live.events import Failed, Final, Partial, Reached
from app.live.incoming import RawAudio
from app.live.options import LiveOptions
from app.live.stream import LiveStream
from app.recognizer import Options, refused_options
from app.service import Service
from app.transcript import Word, joined, mean_confidence

logger = logging.getLogger("dikte")
router = APIRouter()

RATE_HZ = 8000
"""Until the client says otherwise; vosk-server's default."""
ENDPOINTING_S = 0.5
"""Pause that ends an utterance, as in Vosk's models; `ASR_LIVE_ENDPOINTING_S` at least."""
UNKNOWN_WORD = "[unk]"
"""An entry of `phrase_list` that stands for all other words."""


class Config(BaseModel):
    """What `config` may have. Other fields have no effect."""

    sample_rate: float | None = Field(None, ge=MIN_RATE_HZ, le=MAX_RATE_HZ)
    words: bool = True
    max_alternatives: int = Field(0, ge=0)
    phrase_list: list[str] = []


@router.websocket(VOSK)
async def listen(socket: WebSocket) -> None:
    """Transcribe a live stream."""
    service: Service = socket.app.state.service
    settings = service.settings
    check_origin(socket, settings.origins)
    options = LiveOptions(endpointing_s=max(settings.live_endpointing_s, ENDPOINTING_S), recognition=settings.options)
    async with service.live.open(service.transcriber, RawAudio("s16le", RATE_HZ), options) as stream:
        await socket.accept()
        await Conversation(socket, stream, service).run()


class Conversation(LiveConversation):
    """One client and its stream."""

    def __init__(self, socket: WebSocket, stream: LiveStream, service: Service) -> None:
        super().__init__(socket, stream, service.settings.live_idle_s)
        self._service = service
        self._config = Config()
        self._partial = ""
        self._finished: list[Word] = []  # of utterances that ended since the last answer
        self._ended_some = False
        self._closing = False

    async def send_events(self) -> Ending:
        """Answer messages. Raises EngineFailure: no answer could tell of it."""
        async for event in self.stream:
            match event:
                case Failed():
                    raise event.error
                case Partial():
                    self._partial = event.text
                case Final():
                    self._partial = ""
                    self._finished += event.words
                    self._ended_some = self._ended_some or bool(event.words)
                    if event.reason == "finalize":
                        await self._send_result()
                case Reached() if self._ended_some:
                    await self._send_result()
                case Reached():
                    await self.send({"partial": self._partial})
        if self._closing or self._ended_some:
            await self._send_result()
        return STOPPING if self.stream.stopping else Ending(NORMAL)

    async def _send_result(self) -> None:
        words, self._finished, self._ended_some = self._finished, [], False
        await self.send(to_result(words, self._config))

    async def take_bytes(self, data: bytes) -> None:
        """Take audio."""
        await self.stream.feed(data)
        self.stream.mark()

    async def take_text(self, text: str) -> None:
        """Do what a text message asks. Raises InvalidAudio for anything else, InvalidParameter for a wrong value."""
        try:
            message = json.loads(text)
        except (ValueError, RecursionError):
            message = None
        match message:
            case {"config": given}:
                self._configure(given)
            case {"eof": _}:
                self._closing = True
                self.end_audio()
            case {"reset": _}:
                self.stream.finalize()
            case _:
                raise InvalidAudio("a text message is config, eof or reset; audio comes in binary messages")

    def _configure(self, given: object) -> None:
        try:
            config = Config.model_validate(given)
        except ValidationError as error:
            raise wrong_field("config", error) from None
        self._config = self._config.model_copy(update=config.model_dump(exclude_unset=True))
        if config.sample_rate is not None:
            self.stream.set_audio(RawAudio("s16le", round(config.sample_rate)))
        if config.phrase_list:
            self.stream.set_recognition(self._with_phrases(config.phrase_list))

    def _with_phrases(self, phrases: Sequence[str]) -> Options:
        """The options with the phrases as keywords; those that the model cannot write are logged."""
        defaults, recognizer = self._service.settings.options, self._service.transcriber.lanes.express
        taken: tuple[Keyword, ...] = ()
        for keyword in parse_keywords(phrase for phrase in phrases if phrase != UNKNOWN_WORD):
            if refused_options(recognizer, replace(defaults, keywords=(keyword,)), defaults):
                logger.info("ignored phrase: %s", keyword.text)
            else:
                taken += (keyword,)
        return replace(defaults, keywords=added(defaults.keywords, taken))

    async def say_failure(self, error: AsrError) -> Ending:
        """The protocol has no message for it: the reason of the close says it."""
        if isinstance(error, InvalidAudio | InvalidParameter):
            return Ending(INVALID, error.code)
        return Ending(code_of(error), error.code)

    async def say_idle(self) -> Ending:
        """As in `say_failure`."""
        return Ending(INTERNAL, "nothing was sent for too long")


def to_result(words: Sequence[Word], config: Config) -> dict[str, Any]:
    """The final words, as Vosk's recognizers have them; with `max_alternatives` as the only alternative."""
    result: dict[str, Any] = {}
    if config.words and words:
        result["result"] = [
            {
                "conf": round(word.confidence, 6),
                "end": round(word.end_s, 3),
                "start": round(word.start_s, 3),
                "word": word.text,
            }
            for word in words
        ]
    result["text"] = joined(words)
    if not config.max_alternatives:
        return result
    return {"alternatives": [{"confidence": round(mean_confidence(tuple(words)) or 0.0, 6), **result}]}
