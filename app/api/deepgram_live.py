"""Deepgram's `/v1/listen` as a WebSocket: audio in binary messages, texts as they come.

Clients send `KeepAlive`, `Finalize` (answered with `from_finalize`) and `CloseStream` (the last texts, `Metadata`, and
the end) as JSON; an empty binary message ends the stream too. Messages and close codes are Deepgram's
(developers.deepgram.com, "Live streaming audio" and "WebSocket errors").
"""

import asyncio
import json
import logging
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

from fastapi import APIRouter, WebSocket, WebSocketDisconnect

from app.api.deepgram_bodies import results_metadata, stream_metadata, to_message
from app.api.deepgram_query import LiveQuery, read_query
from app.api.errors import note
from app.api.origins import check_origin
from app.api.paths import LISTEN
from app.errors import AsrError, InvalidAudio, NotReady, UnsupportedMedia
from app.live.events import SpeechStarted
from app.live.options import LiveOptions
from app.live.stream import LiveStream
from app.logs import request_id
from app.metrics import CLIENT_GONE
from app.service import Service

logger = logging.getLogger("dikte")
router = APIRouter()

NORMAL, INVALID, INTERNAL, RESTART = 1000, 1008, 1011, 1012
"""Close codes (RFC 6455, 7.4.1, and the IANA registry)."""
NO_AUDIO = "DATA-0000"
"""The audio cannot be decoded."""
NOTHING_SENT, NOTHING_RECEIVED = "NET-0000", "NET-0001"
"""The service did not answer; the client sent nothing."""
SEND_S = 10.0
"""A client that does not read a message within so many seconds is gone."""
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


class Conversation:
    """One client and its stream."""

    def __init__(self, socket: WebSocket, stream: LiveStream, service: Service, query: LiveQuery) -> None:
        self._socket = socket
        self._stream = stream
        self._service = service
        self._query = query
        self._digest = sha256()
        self._created = datetime.now(UTC)
        self._id = request_id.get() or ""
        self._ended = False

    async def run(self) -> None:
        """Until either side ends it."""
        sending, receiving = asyncio.create_task(self._send_events()), asyncio.create_task(self._receive())
        try:
            await asyncio.wait((sending, receiving), return_when=asyncio.FIRST_COMPLETED)
            task = sending if sending.done() else receiving
            await self._close(*task.result())
        except (WebSocketDisconnect, TimeoutError):
            self._socket.state.outcome = CLIENT_GONE
        except AsrError as error:
            note(self._socket, error)
            broken = isinstance(error, InvalidAudio | UnsupportedMedia)
            code = RESTART if isinstance(error, NotReady) else INVALID if broken else INTERNAL
            await self._close(code, NO_AUDIO if broken else NOTHING_SENT)
        finally:
            for task in (sending, receiving):
                task.cancel()
            await asyncio.wait((sending, receiving))

    async def _send_events(self) -> tuple[int, str]:
        """Send the stream's events until it ends. Returns the code to close with and the reason."""
        metadata = results_metadata(self._service, self._id)
        pauses_count = self._query.endpointing is not False
        async for event in self._stream:
            if isinstance(event, SpeechStarted) and not self._query.vad_events:
                continue
            await self._send(to_message(event, max(1, self._stream.channels), metadata, pauses_count))
        last = stream_metadata(
            self._service, self._id, self._digest.hexdigest(), self._created, self._stream.duration_s,
            max(1, self._stream.channels),
        )  # fmt: skip
        await self._send({"type": "Metadata"} | last)
        return (RESTART, "the service is stopping") if self._stream.stopping else (NORMAL, "")

    async def _receive(self) -> tuple[int, str]:
        """Take messages until the client leaves, raising WebSocketDisconnect, or sends nothing for too long."""
        while True:
            try:
                async with asyncio.timeout(None if self._ended else self._service.settings.live_idle_s):
                    message = await self._socket.receive()
            except TimeoutError:
                self._socket.state.outcome = "idle"
                return INTERNAL, NOTHING_RECEIVED
            if message["type"] == "websocket.disconnect":
                raise WebSocketDisconnect(message.get("code", NORMAL))
            if message.get("text") is not None:
                await self._obey(message["text"])
            elif data := message.get("bytes"):
                self._digest.update(data)
                await self._stream.feed(data)
            else:
                self._end()

    async def _obey(self, text: str) -> None:
        """Do what a text message asks. Raises InvalidAudio for one that is not JSON."""
        try:
            message = json.loads(text)
        except (ValueError, RecursionError):
            raise InvalidAudio("a text message is not JSON: audio comes in binary messages") from None
        match message.get("type") if isinstance(message, dict) else None:
            case "KeepAlive":
                pass
            case "Finalize":
                self._stream.finalize()
            case "CloseStream":
                self._end()
            case _:
                await self._send({"type": "Error", "description": "there is no such message", "message": text[:100]})

    def _end(self) -> None:
        self._ended = True
        self._stream.finish()

    async def _send(self, message: dict[str, Any]) -> None:
        """Raises TimeoutError if the client does not read."""
        async with asyncio.timeout(SEND_S):
            await self._socket.send_text(json.dumps(message, ensure_ascii=False))

    async def _close(self, code: int, reason: str) -> None:
        try:
            async with asyncio.timeout(SEND_S):
                await self._socket.close(code, reason)
        except (WebSocketDisconnect, TimeoutError, RuntimeError):  # it has left meanwhile
            self._socket.state.outcome = CLIENT_GONE
