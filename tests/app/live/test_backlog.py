import asyncio

import pytest

from app.live.backlog import MAX_BYTES, PIECE_BYTES, Backlog, Mark


def test_bytes_and_marks_come_in_order_in_short_pieces() -> None:
    async def run() -> list[int | str]:
        backlog = Backlog()
        await backlog.put(bytes(PIECE_BYTES + 5))
        backlog.mark(Mark("now"))
        await backlog.put(b"abc")
        backlog.end()
        await backlog.put(b"discarded")
        found: list[int | str] = []
        while (item := await backlog.get()) is not None:
            found.append(item.name if isinstance(item, Mark) else len(item))
        return found

    assert asyncio.run(run()) == [PIECE_BYTES, 5, "now", 3]


def test_a_sender_waits_for_space() -> None:
    async def run() -> None:
        backlog = Backlog()
        await backlog.put(bytes(MAX_BYTES + 1))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await backlog.put(b"more")
        await backlog.get()
        await backlog.put(b"more")

    asyncio.run(run())


def test_the_end_releases_a_sender() -> None:
    async def run() -> None:
        backlog = Backlog()
        await backlog.put(bytes(MAX_BYTES + 1))
        sending = asyncio.create_task(backlog.put(b"more"))
        await asyncio.sleep(0)
        backlog.end()
        await sending

    asyncio.run(run())
