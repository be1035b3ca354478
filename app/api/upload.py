"""Reading a multipart form as it arrives: one file, a few short fields, and a limit on everything.

The body is parsed chunk by chunk, so that one that is too large is refused in mid-stream (or, by its Content-Length,
before it is read). The file lies in memory up to `SPOOL_BYTES` and beyond it in an unnamed temporary file, which is
gone when it is closed or the process dies. A part's file name and MIME type are not looked at.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from tempfile import SpooledTemporaryFile
from typing import BinaryIO, cast

from fastapi import Request
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from app.errors import InvalidParameter, InvalidRequest, Overloaded, UploadTimeout, UploadTooLarge

logger = logging.getLogger("dikte")

FILE_FIELD = "file"
SPOOL_BYTES = 2 << 20
MAX_FIELDS = 32
MAX_FIELD_BYTES = 64 << 10
MAX_PART_HEADER_BYTES = 80 << 10
"""Some clients send absurd file names; they may, up to here."""
MAX_BOUNDARY_BYTES = 200


@dataclass
class Form:
    """A parsed form: the uploaded file, at its start, and the other fields by name."""

    file: BinaryIO
    fields: dict[str, str] = field(default_factory=dict)


@asynccontextmanager
async def read_form(request: Request, max_bytes: int, idle_s: float) -> AsyncIterator[Form]:
    """Read a multipart body of at most `max_bytes` with one file in the field `file`; the file is closed at the end.

    Raises UploadTimeout if nothing of the body comes for `idle_s` seconds, UploadTooLarge, InvalidRequest if the body
    is no such form or a field is too long, InvalidParameter if one (the file included) is missing or doubled,
    Overloaded if there is no room to store it, and starlette's ClientDisconnect when the client leaves.
    """
    _check_length(request, max_bytes)
    with _spool() as file:
        reader = _FormReader(_boundary(request), file)
        received = 0
        chunks = request.stream()
        while (chunk := await _next(chunks, idle_s)) is not None:
            received += len(chunk)
            if received > max_bytes:
                raise _too_large(max_bytes)
            reader.feed(chunk)
            if received > SPOOL_BYTES:
                await asyncio.to_thread(reader.flush)
            else:
                reader.flush()
        yield reader.finish()


@contextmanager
def _spool() -> Iterator[BinaryIO]:
    """A file in memory that moves to disk when it grows, unnamed from the start: nothing can be left behind."""
    file = SpooledTemporaryFile(max_size=SPOOL_BYTES)  # noqa: SIM115  # closed below
    try:
        yield cast(BinaryIO, file)
    finally:
        with suppress(OSError):  # on a full disk closing fails too, and closes
            file.close()


@contextmanager
def _stored() -> Iterator[None]:
    """Raises Overloaded where there is no room to write."""
    try:
        yield
    except OSError as error:
        logger.error("an upload cannot be stored: %s", error)
        raise Overloaded("there is no room to store so large an upload now; try again later") from error


async def _next(chunks: AsyncGenerator[bytes, None], idle_s: float) -> bytes | None:
    """The next chunk; None after the last."""
    try:
        async with asyncio.timeout(idle_s):
            return await anext(chunks, None)
    except TimeoutError:
        raise UploadTimeout(f"nothing of the body came for {idle_s:g} s") from None


class _FormReader:
    """Callbacks of the multipart parser; what belongs to the file is kept until `flush` writes it."""

    def __init__(self, boundary: bytes, file: BinaryIO) -> None:
        self._form = Form(file)
        self._pending: list[bytes] = []
        self._has_file = False
        self._names: list[str] = []
        self._value: bytearray | None = None  # of the field that is being read; None in the file
        self._header_name = b""
        self._header_value = b""
        self._disposition = b""
        self._ended = False
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._on_part_begin,
                "on_header_field": self._on_header_field,
                "on_header_value": self._on_header_value,
                "on_header_end": self._on_header_end,
                "on_headers_finished": self._on_headers_finished,
                "on_part_data": self._on_part_data,
                "on_part_end": self._on_part_end,
                "on_end": self._on_end,
            },
            max_header_size=MAX_PART_HEADER_BYTES,
        )

    def feed(self, chunk: bytes) -> None:
        try:
            self._parser.write(chunk)
        except FormParserError as error:
            raise InvalidRequest(f"the body is not a well-formed multipart form: {error}") from error

    def flush(self) -> None:
        with _stored():
            self._form.file.writelines(self._pending)
        self._pending.clear()

    def finish(self) -> Form:
        if not self._ended:
            raise InvalidRequest("the body is not a whole multipart form: it breaks off or has no parts")
        if not self._has_file:
            raise InvalidParameter(f"the form has no file in the field {FILE_FIELD!r}", field=FILE_FIELD)
        with _stored():  # writes what was not written yet
            self._form.file.seek(0)
        return self._form

    def _on_part_begin(self) -> None:
        self._disposition = b""

    def _on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._header_name += data[start:end]

    def _on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._header_value += data[start:end]

    def _on_header_end(self) -> None:
        if self._header_name.lower() == b"content-disposition":
            self._disposition = self._header_value
        self._header_name = self._header_value = b""

    def _on_headers_finished(self) -> None:
        options = parse_options_header(self._disposition)[1]
        if b"name" not in options:
            raise InvalidRequest("a part of the form has no name")
        name = options[b"name"].decode("utf-8", "replace")
        if name in self._names:
            raise InvalidParameter(f"the field {name[:100]!r} is there twice", field=name[:100])
        self._names.append(name)
        if len(self._names) > MAX_FIELDS:
            raise InvalidRequest(f"the form has more than {MAX_FIELDS} fields")
        if name == FILE_FIELD:
            self._has_file, self._value = True, None
        else:
            self._value = bytearray()

    def _on_part_data(self, data: bytes, start: int, end: int) -> None:
        if self._value is None:
            self._pending.append(data[start:end])
            return
        self._value += data[start:end]
        if len(self._value) > MAX_FIELD_BYTES:
            raise InvalidRequest(f"the field {self._names[-1][:100]!r} is longer than {MAX_FIELD_BYTES} bytes")

    def _on_part_end(self) -> None:
        if self._value is not None:
            self._form.fields[self._names[-1]] = self._value.decode("utf-8", "replace")

    def _on_end(self) -> None:
        self._ended = True


def _check_length(request: Request, max_bytes: int) -> None:
    length = request.headers.get("content-length", "")
    if length.isdecimal() and int(length[:20]) > max_bytes:
        raise _too_large(max_bytes)


def _boundary(request: Request) -> bytes:
    kind, options = parse_options_header(request.headers.get("content-type"))
    boundary = options.get(b"boundary", b"")
    if kind != b"multipart/form-data" or not 0 < len(boundary) <= MAX_BOUNDARY_BYTES:
        raise InvalidRequest("send the file as a multipart form: curl -F file=@sound.wav")
    return boundary


def _too_large(max_bytes: int) -> UploadTooLarge:
    return UploadTooLarge(f"the request is larger than {max_bytes} bytes", max_upload_bytes=max_bytes)
