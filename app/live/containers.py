"""Audio in a container, decoded while it arrives: FFmpeg reads it on a thread, through a pipe in memory."""

import asyncio
import io
import threading
from collections.abc import AsyncGenerator, Iterator
from contextlib import suppress

from app.audio.blocks import Block, Source
from app.audio.ffmpeg import open_pipe
from app.audio.formats import FORMATS, find_format
from app.audio.limits import AudioLimits, check_header, checked
from app.errors import AsrError, InvalidAudio
from app.live.backlog import Backlog, Mark

HEAD_BYTES = 16
"""Enough to tell the formats that have a magic number."""
READY_BLOCKS = 64
"""Most decoded blocks that wait; a packet of Opus is 20 ms."""


class ContainerReader:
    """Decodes one stream; `close()` ends its thread."""

    def __init__(self, limits: AudioLimits) -> None:
        self._limits = limits
        self._pipe = Pipe()
        self._loop = asyncio.get_running_loop()
        self._ready: asyncio.Queue[Block | Mark | BaseException | None] = asyncio.Queue(READY_BLOCKS)
        self._thread = threading.Thread(target=self._decode, name="live-decoder", daemon=True)
        self._closed = False

    async def blocks(self, backlog: Backlog) -> AsyncGenerator[Block | Mark, None]:
        """The audio of a container that arrives in a backlog, and the marks in it.

        Raises UnsupportedMedia if the format is unknown, InvalidAudio if the header is broken or the samples are not
        finite.
        """
        pumping = asyncio.create_task(self._pump(backlog))
        self._thread.start()
        try:
            while (item := await self._ready.get()) is not None:
                if isinstance(item, BaseException):
                    raise item
                yield item
        finally:
            pumping.cancel()
            self.close()

    def close(self) -> None:
        """Let the thread end."""
        self._closed = True
        self._pipe.close()
        while not self._ready.empty():  # the thread may wait for space
            self._ready.get_nowait()

    async def _pump(self, backlog: Backlog) -> None:
        while (piece := await backlog.get()) is not None:
            if isinstance(piece, Mark):
                await self._pipe.drained()
                await self._ready.put(piece)
            else:
                self._pipe.write(piece)
                await self._pipe.drained()
        self._pipe.end()

    def _decode(self) -> None:
        try:
            for block in self._checked_blocks():
                if not self._hand_over(block):
                    return
            self._hand_over(None)
        except Exception as error:  # passed on to the stream, whatever it is
            failure = error if isinstance(error, AsrError) else InvalidAudio("the audio is broken")
            failure.__cause__ = error if failure is not error else None
            self._hand_over(failure)

    def _checked_blocks(self) -> Iterator[Block]:
        head = self._pipe.peek(HEAD_BYTES)
        if not head:
            return
        kind = FORMATS[find_format(io.BytesIO(head)).name]
        source: Source | None = None
        if kind.ffmpeg is not None:
            source = open_pipe(self._pipe, kind.ffmpeg, kind.timed)
        if source is None:
            if self._closed:
                return
            raise InvalidAudio("the stream is broken, or in a format that cannot be read while it arrives")
        check_header(source, self._limits)
        yield from checked(source.blocks, self._limits, lambda seconds: None)

    def _hand_over(self, item: Block | BaseException | None) -> bool:
        """Pass something to the event loop, waiting for space. Returns whether anybody still wants more."""
        if self._closed:
            return False
        with suppress(RuntimeError):  # the loop is closed
            asyncio.run_coroutine_threadsafe(self._ready.put(item), self._loop).result()
        return not self._closed


class Pipe:
    """Bytes from the event loop to a thread that reads.

    Not more than one piece waits if the writer awaits `drained`.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._data = bytearray()
        self._ended = False
        self._wanting = False
        self._condition = threading.Condition()
        self._wanted = asyncio.Event()

    # On the thread

    def read(self, size: int = -1, /) -> bytes:
        """Up to `size` bytes, waiting for at least one; none at the end."""
        with self._condition:
            self._wait_for(1)
            data = bytes(self._data[:size] if size >= 0 else self._data)
            del self._data[: len(data)]
            return data

    def peek(self, size: int) -> bytes:
        """The next `size` bytes, waiting for them; fewer only at the end. They stay in the pipe."""
        with self._condition:
            self._wait_for(size)
            return bytes(self._data[:size])

    def _wait_for(self, size: int) -> None:
        while len(self._data) < size and not self._ended:
            self._wanting = True
            with suppress(RuntimeError):  # the loop is closed
                self._loop.call_soon_threadsafe(self._wanted.set)
            self._condition.wait()
        self._wanting = False

    # In the event loop

    def write(self, data: bytes) -> None:
        """Add bytes."""
        with self._condition:
            self._data += data
            self._wanting = False
            self._wanted.clear()
            self._condition.notify()

    async def drained(self) -> None:
        """Returns once the thread has decoded everything and wants more."""
        while True:
            with self._condition:
                if self._wanting or self._ended:
                    return
                self._wanted.clear()
            await self._wanted.wait()

    def end(self) -> None:
        """There will be nothing more."""
        with self._condition:
            self._ended = True
            self._condition.notify()
        self._wanted.set()

    def close(self) -> None:
        """Nobody wants the rest."""
        with self._condition:
            self._data.clear()
        self.end()
