"""What the WebSockets of all live protocols have in common: two tasks, close codes, time limits, errors."""

import asyncio
import json
from abc import ABC, abstractmethod
from typing import Any, NamedTuple

from fastapi import WebSocket, WebSocketDisconnect
from pydantic import ValidationError

from app.api.errors import note
from app.errors import AsrError, InvalidParameter, NotReady
from app.live.stream import LiveStream
from app.metrics import CLIENT_GONE

NORMAL, INVALID, INTERNAL, RESTART = 1000, 1008, 1011, 1012
"""Close codes (RFC 6455, 7.4.1, and the IANA registry)."""
SEND_S = 10.0
"""A client that does not read a message within so many seconds is gone."""
IDLE = "idle"
"""Outcome of a client that sent nothing for too long."""


class Ending(NamedTuple):
    """How a WebSocket is closed: the code and a reason for people."""

    code: int
    reason: str = ""


STOPPING = Ending(RESTART, "the service is stopping")


def wrong_field(root: str, error: ValidationError) -> InvalidParameter:
    """The first problem that pydantic found in a message. root: name of the object that has the fields."""
    problem = error.errors()[0]
    name = ".".join((root, *map(str, problem["loc"])))
    return InvalidParameter(str(problem["msg"]).removeprefix("Value error, "), field=name)


class LiveConversation(ABC):
    """One client and its stream; a protocol implements the abstract methods.

    idle_s: the client is closed when it sends nothing for so many seconds.
    """

    def __init__(self, socket: WebSocket, stream: LiveStream, idle_s: float) -> None:
        self.socket = socket
        self.stream = stream
        self._idle_s = idle_s
        self._ended = False

    @abstractmethod
    async def send_events(self) -> Ending:
        """Send the stream's events until it ends. Raises the errors of the stream."""

    @abstractmethod
    async def take_text(self, text: str) -> None:
        """Do what a text message asks."""

    @abstractmethod
    async def take_bytes(self, data: bytes) -> None:
        """Take a binary message."""

    @abstractmethod
    async def say_failure(self, error: AsrError) -> Ending:
        """Tell the client what went wrong, before it is closed."""

    @abstractmethod
    async def say_idle(self) -> Ending:
        """Tell the client that it was silent for too long, before it is closed."""

    async def run(self) -> None:
        """Until either side ends it."""
        sending, receiving = asyncio.create_task(self.send_events()), asyncio.create_task(self._receive())
        try:
            await asyncio.wait((sending, receiving), return_when=asyncio.FIRST_COMPLETED)
            task = sending if sending.done() else receiving
            await self._close(task.result())
        except (WebSocketDisconnect, TimeoutError):
            self.socket.state.outcome = CLIENT_GONE
        except AsrError as error:
            note(self.socket, error)
            await self._give_up(error)
        finally:
            for task in (sending, receiving):
                task.cancel()
            await asyncio.wait((sending, receiving))

    async def send(self, message: dict[str, Any]) -> None:
        """Send a JSON message. Raises TimeoutError if the client does not read."""
        async with asyncio.timeout(SEND_S):
            await self.socket.send_text(json.dumps(message, ensure_ascii=False))

    def end_audio(self) -> None:
        """There is no more audio; the client may now be silent."""
        self._ended = True
        self.stream.finish()

    async def _receive(self) -> Ending:
        """Take messages until the client leaves, raising WebSocketDisconnect, or sends nothing for too long."""
        while True:
            try:
                async with asyncio.timeout(None if self._ended else self._idle_s):
                    message = await self.socket.receive()
            except TimeoutError:
                self.socket.state.outcome = IDLE
                return await self.say_idle()
            if message["type"] == "websocket.disconnect":
                raise WebSocketDisconnect(message.get("code", NORMAL))
            if message.get("text") is not None:
                await self.take_text(message["text"])
            else:
                await self.take_bytes(message.get("bytes") or b"")

    async def _give_up(self, error: AsrError) -> None:
        try:
            ending = await self.say_failure(error)
        except (WebSocketDisconnect, TimeoutError, RuntimeError):  # it has left meanwhile
            return
        await self._close(ending)

    async def _close(self, ending: Ending) -> None:
        try:
            async with asyncio.timeout(SEND_S):
                await self.socket.close(ending.code, ending.reason)
        except (WebSocketDisconnect, TimeoutError, RuntimeError):  # it has left meanwhile
            self.socket.state.outcome = CLIENT_GONE


def code_of(error: AsrError) -> int:
    """The close code of an error that is not the client's fault."""
    return RESTART if isinstance(error, NotReady) else INTERNAL
