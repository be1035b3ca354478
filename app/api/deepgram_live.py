"""Deepgram's `/v1/listen` as a WebSocket: audio in binary messages, texts as they come.

Clients send `KeepAlive`, `Finalize` (answered with `from_finalize`) and `CloseStream` (the last texts, `Metadata`, and
the end) as JSON; an empty binary message ends the stream too. Messages and close codes are Deepgram's
(developers.deepgram.com, "Live streaming audio" and "WebSocket errors").
"""

import json
from datetime import UTC, datetime
from hashlib import sha256

from fastapi import APIRouter, WebSocket

from app.api.deepgram_bodies import results_metadata, stream_metadata, to_message
from app.api.deepgram_query import LiveQuery, read_query
from app.api.live_conversation import INTERNAL, INVALID, NORMAL, STOPPING, Ending, LiveConversation, code_of
from app.api.origins import check_origin
from app.api.paths import LISTEN
from app.errors import AsrError, InvalidAudio, UnsupportedMedia
from app.live.events import Failed, Reached, SpeechStarted, SpeechStopped
from app.live.options import LiveOptions
from app.live.stream import LiveStream
from app.logs import request_id
from app.service import Service

router = APIRouter()

NO_AUDIO = "DATA-0000"
"""The audio cannot be decoded."""
NOTHING_SENT, NOTHING_RECEIVED = "NET-0000", "NET-0001"
"""The service did not answer; the client sent nothing."""
LONG_PAUSE_S = 1.0
"""With `endpointing=false`, texts are final after such a pause, but none is `speech_final`."""
TOKEN = "token"  # noqa: S105  # the name of a subprotocol


@router.websocket(LISTEN)
async def listen(socket: WebSocket) -> None:
    """Transcribe a live stream."""
    service: Service = socket.app.state.service
    check_origin(socket, service.settings.origins)
    query = read_query(LiveQuery, socket.query_params, service)
    transcriber = service.transcriber
    options = live_options(query, service)
    async with service.live.open(transcriber, query.audio, options) as stream:
        protocols = [name.lower() for name in socket.scope["subprotocols"]]
        headers = [(b"dg-request-id", (request_id.get() or "").encode())]
        await socket.accept(next((name for name in protocols if name in (TOKEN, "bearer")), None), headers)
        await Conversation(socket, stream, service, query).run()


def live_options(query: LiveQuery, service: Service) -> LiveOptions:
    """What the query asks of the stream."""
    settings = service.settings
    pause_s = LONG_PAUSE_S if query.endpointing is False else query.endpointing / 1000
    return LiveOptions(
        endpointing_s=max(settings.live_endpointing_s, pause_s),
        partials=query.interim_results,
        utterance_end_s=query.utterance_end_ms / 1000 if query.utterance_end_ms else None,
        separate=query.multichannel,
        recognition=query.recognition(settings.options, service.transcriber.lanes.express),
    )


class Conversation(LiveConversation):
    """One client and its stream."""

    def __init__(self, socket: WebSocket, stream: LiveStream, service: Service, query: LiveQuery) -> None:
        super().__init__(socket, stream, service.settings.live_idle_s)
        self._service = service
        self._query = query
        self._digest = sha256()
        self._created = datetime.now(UTC)
        self._id = request_id.get() or ""

    async def send_events(self) -> Ending:
        """Send the stream's events, and `Metadata` at its end. Raises EngineFailure: no message could tell of it."""
        metadata = results_metadata(self._service, self._id)
        pauses_count = self._query.endpointing is not False
        async for event in self.stream:
            if isinstance(event, Failed):
                raise event.error
            if isinstance(event, SpeechStopped | Reached):
                continue
            if isinstance(event, SpeechStarted) and not self._query.vad_events:
                continue
            await self.send(to_message(event, max(1, self.stream.channels), metadata, pauses_count))
        last = stream_metadata(
            self._service, self._id, self._digest.hexdigest(), self._created, self.stream.duration_s,
            max(1, self.stream.channels),
        )  # fmt: skip
        await self.send({"type": "Metadata"} | last)
        return STOPPING if self.stream.stopping else Ending(NORMAL)

    async def take_bytes(self, data: bytes) -> None:
        """Take audio; an empty message ends it."""
        if not data:
            self.end_audio()
            return
        self._digest.update(data)
        await self.stream.feed(data)

    async def take_text(self, text: str) -> None:
        """Do what a text message asks. Raises InvalidAudio for one that is not JSON."""
        try:
            message = json.loads(text)
        except (ValueError, RecursionError):
            raise InvalidAudio("a text message is not JSON: audio comes in binary messages") from None
        match message.get("type") if isinstance(message, dict) else None:
            case "KeepAlive":
                pass
            case "Finalize":
                self.stream.finalize()
            case "CloseStream":
                self.end_audio()
            case _:
                await self.send({"type": "Error", "description": "there is no such message", "message": text[:100]})

    async def say_failure(self, error: AsrError) -> Ending:
        """Deepgram says it with the reason of the close."""
        if isinstance(error, InvalidAudio | UnsupportedMedia):
            return Ending(INVALID, NO_AUDIO)
        return Ending(code_of(error), NOTHING_SENT)

    async def say_idle(self) -> Ending:
        """As in `say_failure`."""
        return Ending(INTERNAL, NOTHING_RECEIVED)
