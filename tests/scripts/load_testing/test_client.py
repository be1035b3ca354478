"""The raw-socket client, with servers that each have one behaviour."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from random import Random
from typing import Any, TypeVar

import pytest

from scripts.load_testing.answers import NO_ANSWER
from scripts.load_testing.client import Exchange, closed_loop, open_loop, parse_response, upload, upload_and_disconnect
from scripts.load_testing.load_clips import Clip, long_clip, short_clips

OK_BODY = b'{"text":"evet","timings":{"queue":0.25,"inference":0.5}}'
T = TypeVar("T")
Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Coroutine[Any, Any, None]]


@pytest.fixture(scope="module")
def clips() -> list[Clip]:
    return short_clips("2,3")[:2]


def response(status: str, body: bytes, *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


async def read_request(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readuntil(b"\r\n\r\n")
    length = next(line for line in head.split(b"\r\n") if line.lower().startswith(b"content-length"))
    return await reader.readexactly(int(length.split(b":")[1]))


async def close(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with suppress(ConnectionError):
        await writer.wait_closed()


async def transcribe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await read_request(reader)
    writer.write(response("200 OK", OK_BODY))
    await writer.drain()
    await close(writer)


async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Refuse without reading the body, as an overloaded service does."""
    await reader.readuntil(b"\r\n\r\n")
    writer.write(response("429 Too Many Requests", b'{"error":{"code":"overloaded"}}', "Retry-After: 1"))
    await writer.drain()
    await asyncio.sleep(0.1)
    await close(writer)


async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await read_request(reader)
    await close(writer)


def against(handler: Handler, ask: Callable[[str], Awaitable[T]]) -> T:
    async def run() -> T:
        handling: list[asyncio.Task[None]] = []

        async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            handling.append(asyncio.create_task(handler(reader, writer)))
            await handling[-1]

        server = await asyncio.start_server(handle, "127.0.0.1")
        async with server:
            port = server.sockets[0].getsockname()[1]
            answer = await ask(f"http://127.0.0.1:{port}")
            await asyncio.gather(*handling)
            return answer

    return asyncio.run(run())


def test_an_answer_is_judged_with_its_text(clips: list[Clip]) -> None:
    right = against(transcribe, lambda url: upload(url, clips[0], "evet"))
    assert right.answer.ok
    assert right.sent
    assert right.answer.queue_s == 0.25
    assert against(transcribe, lambda url: upload(url, clips[0], "hayır")).answer.failed


def test_a_refusal_is_received_while_the_client_is_sending() -> None:
    exchange = against(refuse, lambda url: upload(url, long_clip(600.0)))
    assert exchange.answer.refused
    assert exchange.answer.retry_after_s == 1.0
    assert not exchange.sent


def test_a_request_that_was_sent_but_not_answered_is_distinguished(clips: list[Clip]) -> None:
    exchange = against(hang_up, lambda url: upload(url, clips[0]))
    assert (exchange.answer.outcome, exchange.sent) == (NO_ANSWER, True)
    assert exchange.connected_s is not None
    nobody = asyncio.run(upload("http://127.0.0.1:9", clips[0]))
    assert (nobody.answer.outcome, nobody.sent, nobody.connected_s) == (NO_ANSWER, False, None)


def test_users_continue_until_they_are_stopped(clips: list[Clip]) -> None:
    asked: list[Exchange | None] = []

    def should_continue(last: Exchange | None) -> bool:
        asked.append(last)
        return len(asked) <= 5

    texts = {clip.name: "evet" for clip in clips}
    exchanges = against(transcribe, lambda url: closed_loop(url, clips, texts, 2, should_continue))
    assert len(exchanges) == 5
    assert all(exchange.answer.ok for exchange in exchanges)
    assert {exchange.answer.clip for exchange in exchanges} == {clip.name for clip in clips}


def test_arrivals_do_not_wait_for_answers(clips: list[Clip]) -> None:
    at_once = most = 0

    async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        await read_request(reader)
        await asyncio.sleep(0.3)
        at_once -= 1
        writer.write(response("200 OK", OK_BODY))
        await close(writer)

    exchanges = against(slow, lambda url: open_loop(url, clips, {}, 50.0, 0.5, {"X-Request-Timeout": "3"}, Random(1)))
    assert len(exchanges) > 10
    assert all(exchange.answer.ok for exchange in exchanges)
    assert most > 3


def test_a_disconnected_client_does_not_wait_for_its_answer(clips: list[Clip]) -> None:
    ended = []

    async def never(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.read(-1)
        except ConnectionResetError:
            ended.append("reset")
        else:
            ended.append("closed")
        await close(writer)

    async def kill_some(url: str) -> None:
        random = Random(0)
        await asyncio.gather(*(upload_and_disconnect(url, clips[0], random, 0.2) for _ in range(12)))
        while len(ended) < 12:  # bounded by the timeout of pytest
            await asyncio.sleep(0.01)

    against(never, kill_some)
    assert set(ended) == {"reset", "closed"}


@pytest.mark.parametrize(
    ("received", "status"),
    [
        (b"", 0),
        (b"HTTP/1.1 200 OK\r\nContent-Len", 0),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabcd", 0),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabcde", 200),
        (b"HTTP/1.1 429 Too Many Requests\r\nRetry-After: 2\r\n\r\n", 429),
    ],
)
def test_a_response_counts_when_it_is_whole(received: bytes, status: int) -> None:
    assert parse_response(received)[0] == status
