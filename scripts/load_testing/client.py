"""A client on raw sockets: it receives a refusal while it is still sending, and can be killed at any moment."""

import asyncio
import socket
import struct
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from random import Random
from urllib.parse import urlsplit

from scripts.load_testing.answers import Answer
from scripts.load_testing.load_clips import CONTENT_TYPE, Clip, in_turn

RECEIVE_BYTES = 1 << 16
RESET_ON_CLOSE = struct.pack("ii", 1, 0)
"""SO_LINGER of 0 s: closing resets the connection (RST), as when a process with unsent data is killed."""
CLIPS_BETWEEN_USERS = 7
"""Offset between the first clips of two users, so that they do not send the same clip at the same time."""


@dataclass(frozen=True)
class Exchange:
    """The answer to one upload, and how far the client got.

    connected_s: when it was connected, in seconds since the epoch; None if it never was. sent: whether the whole
    request was sent.
    """

    answer: Answer
    connected_s: float | None
    sent: bool


async def upload(
    url: str,
    clip: Clip,
    expected: str | None = None,
    headers: Mapping[str, str] | None = None,
    on_sent: Callable[[], None] = lambda: None,
) -> Exchange:
    """Upload a clip on a new connection. Failures are recorded in the answer.

    expected: the correct text; None accepts any. on_sent: called when the whole body has been sent.
    """
    loop = asyncio.get_running_loop()
    begin, connected_s, sent, received = time.perf_counter(), None, False, b""

    async def send() -> None:
        nonlocal sent
        with suppress(OSError):  # the service may refuse the upload before its end; the answer says so
            await loop.sock_sendall(connection, _head(url, clip, headers or {}))
            await loop.sock_sendall(connection, clip.body)
            sent = True
            on_sent()

    with socket.socket() as connection:
        connection.setblocking(False)
        with suppress(OSError):
            await loop.sock_connect(connection, _address(url))
            connected_s = time.time()
            sending = asyncio.create_task(send())
            try:
                received = await _receive(connection)
            finally:
                sending.cancel()
                await asyncio.wait([sending])
    status, found, body = parse_response(received)
    latency_s = time.perf_counter() - begin
    answer = Answer.of(clip.name, clip, time.time(), latency_s, status, found, body, expected)
    return Exchange(answer, connected_s, sent)


async def upload_and_disconnect(url: str, clip: Clip, random: Random, longest_s: float) -> None:
    """Start an upload and disconnect at a random moment: during the upload in half of the cases, or else up to
    `longest_s` after it. Half of the connections are reset, the others are closed.
    """
    loop = asyncio.get_running_loop()
    with socket.socket() as connection:
        connection.setblocking(False)
        if random.random() < 0.5:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
        in_upload, wait_s = random.random() < 0.5, random.uniform(0.0, longest_s)
        body = clip.body[: random.randrange(len(clip.body))] if in_upload else clip.body
        with suppress(OSError, TimeoutError):
            await loop.sock_connect(connection, _address(url))
            async with asyncio.timeout(wait_s):
                await loop.sock_sendall(connection, _head(url, clip, {}))
                await loop.sock_sendall(connection, body)
                await _receive(connection)


async def closed_loop(
    url: str,
    clips: Sequence[Clip],
    texts: Mapping[str, str],
    users: int,
    should_continue: Callable[[Exchange | None], bool],
) -> list[Exchange]:
    """Users who each upload one clip after the other.

    should_continue: called before each upload with the user's last exchange, or None. If it returns False, the user
    stops.
    """
    exchanges: list[Exchange] = []

    async def use(turns: Iterator[Clip]) -> None:
        last = None
        while should_continue(last):
            clip = next(turns)
            last = await upload(url, clip, texts.get(clip.name))
            exchanges.append(last)
            if last.answer.retry_after_s:
                await asyncio.sleep(last.answer.retry_after_s)

    async with asyncio.TaskGroup() as group:
        for number in range(users):
            group.create_task(use(in_turn(list(clips), CLIPS_BETWEEN_USERS * number)))
    return exchanges


async def open_loop(
    url: str,
    clips: Sequence[Clip],
    texts: Mapping[str, str],
    rps: float,
    seconds: float,
    headers: Mapping[str, str],
    random: Random,
) -> list[Exchange]:
    """Clients that arrive independently of the answers to others: a Poisson process of `rps` for `seconds`.

    No client retries.
    """
    tasks: list[asyncio.Task[Exchange]] = []
    begin, due_s = time.perf_counter(), random.expovariate(rps)
    async with asyncio.TaskGroup() as group:
        while due_s < seconds:
            await asyncio.sleep(max(0.0, begin + due_s - time.perf_counter()))
            clip = random.choice(clips)
            tasks.append(group.create_task(upload(url, clip, texts.get(clip.name), headers)))
            due_s += random.expovariate(rps)
    return [task.result() for task in tasks]


def parse_response(received: bytes) -> tuple[int, dict[str, str], bytes]:
    """Status, headers (with lower-case names) and body of an HTTP response. Status 0 if it is incomplete."""
    head, end, body = received.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    if not end or len(body) < int(headers.get("content-length", 0)):
        return 0, {}, b""
    return int(first.split()[1]), headers, body


async def _receive(connection: socket.socket) -> bytes:
    """Receive until the response is complete or the connection ends."""
    loop = asyncio.get_running_loop()
    received = bytearray()
    with suppress(OSError):
        while chunk := await loop.sock_recv(connection, RECEIVE_BYTES):
            received += chunk
            if parse_response(bytes(received))[0]:
                break
    return bytes(received)


def _head(url: str, clip: Clip, headers: Mapping[str, str]) -> bytes:
    lines = {
        "Host": urlsplit(url).netloc,
        "Content-Type": CONTENT_TYPE,
        "Content-Length": str(len(clip.body)),
        "Connection": "close",
        **headers,
    }
    return "\r\n".join(
        ["POST /transcribe HTTP/1.1", *(f"{name}: {value}" for name, value in lines.items()), "", ""]
    ).encode()


def _address(url: str) -> tuple[str, int]:
    parts = urlsplit(url)
    return parts.hostname or "", parts.port or 80
