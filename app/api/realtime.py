"""OpenAI's Realtime API: transcription sessions on a WebSocket at `/v1/realtime`, in their present form and the beta's.

Clients send audio in `input_audio_buffer.append`; utterances end at pauses or, without `turn_detection`, when the
client commits them. Deltas have committed words only, because no event takes text back. Errors do not end the session
(platform.openai.com, "Realtime transcription", and the types of openai-python).
"""

import asyncio
import base64
import binascii
import json
from typing import Any

from fastapi import APIRouter, WebSocket

from app.api.errors import note
from app.api.live_conversation import INVALID, NORMAL, STOPPING, Ending, LiveConversation, code_of
from app.api.openai_options import check_model
from app.api.origins import check_origin
from app.api.paths import REALTIME
from app.api.realtime_events import (
    Item,
    to_completed,
    to_delta,
    to_error,
    to_event,
    to_failed,
    to_item,
)
from app.api.realtime_session import Session, first_session, to_body, updated
from app.errors import AsrError, InvalidParameter, RequestTimeout
from app.live.events import Event, Failed, Final, Partial, Reached, Reason, SpeechStarted, SpeechStopped, UtteranceEnd
from app.live.incoming import BYTES
from app.live.stream import LiveStream
from app.service import Service

router = APIRouter()

INTENT = "transcription"
PROTOCOL, BETA_PROTOCOL = "realtime", "openai-beta.realtime-v1"
"""Subprotocols of browsers."""
BETA_HEADER, BETA = "openai-beta", "realtime=v1"
LEAST_MS = 100
"""Least audio that can be committed, as OpenAI has it."""
LONG_MESSAGE = 1 << 18
"""Characters of a message above which it is parsed on a thread."""
UPDATES = ("session.update", "transcription_session.update")
EVENTS = (*UPDATES, "input_audio_buffer.append", "input_audio_buffer.commit", "input_audio_buffer.clear")


class EmptyBuffer(InvalidParameter):
    """There is too little audio to be committed."""

    code = "input_audio_buffer_commit_empty"


@router.websocket(REALTIME)
async def realtime(socket: WebSocket) -> None:
    """Transcribe a live session."""
    service: Service = socket.app.state.service
    check_origin(socket, service.settings.origins)
    query = socket.query_params
    if query.get("intent", INTENT) != INTENT:
        raise InvalidParameter(f"the intent must be {INTENT}", field="intent")
    if service.settings.strict:
        check_model(query.get("model", ""), service)
    session = first_session(service)
    async with service.live.open(service.transcriber, session.audio, session.live_options) as stream:
        protocols = socket.scope["subprotocols"]
        await socket.accept(PROTOCOL if PROTOCOL in protocols else None)
        beta = BETA_PROTOCOL in protocols or BETA in socket.headers.get(BETA_HEADER, "")
        await Conversation(socket, stream, service, session, beta).run()


class Conversation(LiveConversation):
    """One client and its session."""

    def __init__(self, socket: WebSocket, stream: LiveStream, service: Service, session: Session, beta: bool) -> None:
        super().__init__(socket, stream, service.settings.live_session_idle_s)
        self._service = service
        self._session = session
        self._beta = beta
        self._item: Item | None = None  # of the running utterance
        self._last_id: str | None = None  # of the item that was committed last
        self._fed_s = 0.0
        self._taken_s = 0.0  # up to here, audio was committed or cleared
        self._cleared_s = 0.0

    async def take_bytes(self, data: bytes) -> None:
        """All events are JSON."""
        await self.send(to_error(InvalidParameter("events are JSON in text messages; audio is in base64 in them")))

    async def take_text(self, text: str) -> None:
        """Obey an event; one that is wrong is answered with an error."""
        cause = None
        try:
            event = await parsed(text)
            cause = event.get("event_id") if isinstance(event.get("event_id"), str) else None
            await self._obey(event)
        except AsrError as error:
            await self.send(to_error(error, cause))

    async def _obey(self, event: dict[str, Any]) -> None:
        match event.get("type"):
            case "session.update" | "transcription_session.update" as kind:
                self._update(event.get("session"))
                self._beta = self._beta or kind != UPDATES[0]
                await self.send(self._session_event("updated"))
            case "input_audio_buffer.append":
                data = decoded(event.get("audio"))
                audio = self._session.audio
                self._fed_s += len(data) / (BYTES[audio.encoding] * audio.rate_hz)
                await self.stream.feed(data)
            case "input_audio_buffer.commit":
                self._commit()
            case "input_audio_buffer.clear":
                self._taken_s = self._cleared_s = self._fed_s
                self.stream.clear()
                await self.send(to_event("input_audio_buffer.cleared"))
            case kind:
                raise InvalidParameter(f"there is no event {str(kind)[:100]!r}", field="type", allowed=list(EVENTS))

    def _update(self, changes: object) -> None:
        """Raises the errors of `updated`; then nothing has changed."""
        before, self._session = self._session, updated(self._session, changes, self._service)
        if self._session.audio != before.audio:
            self.stream.set_audio(self._session.audio)
        self.stream.set_endpointing(self._session.silence_s)
        self.stream.set_recognition(self._session.recognition)

    def _commit(self) -> None:
        buffered_ms = (self._fed_s - self._taken_s) * 1000
        if buffered_ms < LEAST_MS:
            raise EmptyBuffer(
                f"Error committing input audio buffer: buffer too small. Expected at least {LEAST_MS}ms of audio, "
                f"but buffer only has {max(0.0, buffered_ms):.2f}ms of audio."
            )
        self._taken_s = self._fed_s
        self.stream.finalize()

    async def send_events(self) -> Ending:
        """Send the first event, and what the stream tells."""
        await self.send(self._session_event("created"))
        async for event in self.stream:
            await self._tell(event)
        return STOPPING if self.stream.stopping else Ending(NORMAL)

    async def _tell(self, event: Event) -> None:
        match event:
            case SpeechStarted():
                self._item = Item()
                if self._session.silence_s is not None:
                    start_ms = round(event.time_s * 1000)
                    kind = "input_audio_buffer.speech_started"
                    await self.send(to_event(kind, audio_start_ms=start_ms, item_id=self._item.id))
            case Partial():
                if self._item is not None and event.start_s >= self._cleared_s:
                    await self._send_delta(self._item, self._item.grow(event.committed))
            case SpeechStopped():
                await self._close_item(event.end_s, event.reason)
            case Final():
                item = await self._close_item(event.end_s, event.reason)
                await self._send_delta(item, item.add(event))
                await self._finish(item, event.reason)
            case Failed():
                note(self.socket, event.error)
                item = await self._close_item(event.end_s, event.reason)
                item.error = event.error
                await self._finish(item, event.reason)
            case UtteranceEnd() | Reached():
                pass

    async def _close_item(self, end_s: float, reason: Reason) -> Item:
        """The running item, after the client was told that its audio is complete, if it is."""
        self._item = item = self._item or Item()
        self._taken_s = max(self._taken_s, end_s)
        if reason == "max_length" or item.id == self._last_id:
            return item
        if reason == "endpoint":
            end_ms = round(end_s * 1000)
            await self.send(to_event("input_audio_buffer.speech_stopped", audio_end_ms=end_ms, item_id=item.id))
        place = {"previous_item_id": self._last_id}
        self._last_id = item.id
        await self.send(to_event("input_audio_buffer.committed", item_id=item.id, **place))
        for kind in ("created",) if self._beta else ("added", "done"):
            await self.send(to_event(f"conversation.item.{kind}", item=to_item(item), **place))
        return item

    async def _finish(self, item: Item, reason: Reason) -> None:
        """Send the text of an item, or why it has none; unless it goes on, because it got too long for the model."""
        if reason == "max_length":
            return
        self._item = None
        if item.error is not None:
            await self.send(to_failed(item, item.error))
        else:
            await self.send(to_completed(item, self._session.logprobs))

    async def _send_delta(self, item: Item, delta: str) -> None:
        if delta:
            await self.send(to_delta(item, delta))

    async def say_failure(self, error: AsrError) -> Ending:
        """The running utterance has failed, and the session ends."""
        if self._item is not None:
            await self.send(to_failed(self._item, error))
        await self.send(to_error(error))
        return Ending(code_of(error), error.code)

    async def say_idle(self) -> Ending:
        """As in `say_failure`."""
        error = RequestTimeout(f"the session got no event for {self._service.settings.live_session_idle_s:g} s")
        await self.send(to_error(error))
        return Ending(INVALID, error.code)

    def _session_event(self, what: str) -> dict[str, Any]:
        prefix = "transcription_session" if self._beta else "session"
        return to_event(f"{prefix}.{what}", session=to_body(self._session, self._service, self._beta))


async def parsed(text: str) -> dict[str, Any]:
    """The event in a message. Raises InvalidParameter if there is none."""
    try:
        event = await asyncio.to_thread(json.loads, text) if len(text) > LONG_MESSAGE else json.loads(text)
    except (ValueError, RecursionError):
        raise InvalidParameter("the message is not JSON") from None
    if not isinstance(event, dict):
        raise InvalidParameter("an event is a JSON object")
    return event


def decoded(audio: object) -> bytes:
    """The bytes in base64. Raises InvalidParameter."""
    if not isinstance(audio, str):
        raise InvalidParameter("audio must be a string in base64", field="audio")
    try:
        return base64.b64decode(audio, validate=True)
    except (binascii.Error, ValueError):
        raise InvalidParameter("audio is not valid base64", field="audio") from None
