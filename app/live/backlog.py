"""What a client has sent and nobody has taken yet: a bounded queue of bytes, with marks between them."""

import asyncio
from collections import deque
from dataclasses import dataclass

MAX_BYTES = 1 << 20
"""A sender waits while the backlog has more: 30 s of 16-bit samples at 16 kHz."""
PIECE_BYTES = 1 << 15
"""Longest piece that is taken at once, so that no computation on one holds up the event loop."""


@dataclass(frozen=True)
class Mark:
    """Something that is to happen between the audio before and after it. name: what."""

    name: str


class Backlog:
    """Belongs to one event loop; one task puts, one takes."""

    def __init__(self) -> None:
        self._items: deque[bytes | Mark] = deque()
        self._bytes = 0
        self._ended = False
        self._changed = asyncio.Event()
        self._space = asyncio.Event()
        self._space.set()

    async def put(self, data: bytes) -> None:
        """Add bytes, once there is space; a single message of any length fits. After the end they are discarded."""
        await self._space.wait()
        if data and not self._ended:
            self._items.append(data)
            self._bytes += len(data)
            self._update()

    def mark(self, mark: Mark) -> None:
        """Add a mark behind all bytes."""
        if not self._ended:
            self._items.append(mark)
            self._update()

    def end(self) -> None:
        """There will be nothing more."""
        self._ended = True
        self._update()

    async def get(self) -> bytes | Mark | None:
        """The next bytes, `PIECE_BYTES` at most, or mark, waiting for it; None at the end."""
        while not self._items:
            if self._ended:
                return None
            self._changed.clear()
            await self._changed.wait()
        item = self._items.popleft()
        if isinstance(item, Mark):
            return item
        piece, rest = item[:PIECE_BYTES], memoryview(item)[PIECE_BYTES:]
        if rest:
            self._items.appendleft(rest)  # type: ignore[arg-type]  # sliced and copied like bytes
        self._bytes -= len(piece)
        self._update()
        return bytes(piece)

    def _update(self) -> None:
        self._changed.set()
        if self._bytes <= MAX_BYTES or self._ended:
            self._space.set()
        else:
            self._space.clear()
