"""Reads a multipart form as it arrives: one file, a few short fields, and a limit on everything.

The body is parsed chunk by chunk, so a body that is too large is refused before it is read completely, or at once by
its Content-Length. The file is kept in memory up to `SPOOL_BYTES` and beyond that in an unnamed temporary file, which
disappears when it is closed or the process dies. The file name and MIME type of a part are ignored.
"""

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from tempfile import SpooledTemporaryFile
from typing import BinaryIO, cast

from fastapi import Request
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from app.errors import (
    InvalidParameter,
    InvalidRequest,
    Overloaded,
    UnsupportedEncoding,
    UploadTimeout,
    UploadTooLarge,
)

logger = logging.getLogger("dikte")

FILE_FIELD = "file"
SPOOL_BYTES = 2 << 20
MAX_FIELDS = 32
"""Most names of fields whose values are kept, and of others that are remembered."""
MAX_VALUES = 1000
"""Most values that are kept: each keyword may be a field of its own."""
MAX_FIELD_BYTES = 64 << 10
MAX_VALUES_BYTES = MAX_FIELDS * MAX_FIELD_BYTES
"""Most bytes of all values together."""
MAX_PART_HEADER_BYTES = 80 << 10
"""Generous, because some clients send absurdly long file names."""
MAX_BOUNDARY_BYTES = 200
HOW_TO_SEND = f"send the file as a multipart form: curl -F {FILE_FIELD}=@sound.wav"


@dataclass
class Form:
    """A parsed form: the uploaded file, at position 0, and the values of the other fields by name.

    skipped: names of the fields whose values were not kept, in the order in which they came.
    """

    file: BinaryIO
    fields: dict[str, list[str]] = field(default_factory=dict)
    skipped: dict[str, None] = field(default_factory=dict)


def keep_all(name: str) -> bool:
    """The default for `kept` in `read_form`."""
    return True


@dataclass(frozen=True)
class UploadLimits:
    """Limits of a body: its size in bytes, and how slowly it may arrive.

    idle_s: longest pause, in seconds. min_bytes_per_s: lowest rate, averaged over each `idle_s` seconds.
    """

    max_bytes: int
    idle_s: float
    min_bytes_per_s: float = 0.0


@asynccontextmanager
async def read_form(
    request: Request, limits: UploadLimits, file_field: str = FILE_FIELD, kept: Callable[[str], bool] = keep_all
) -> AsyncIterator[Form]:
    """Read a multipart body with one file in the field `file_field`; the file is closed at the end.

    kept: whether the values of a field are kept, by its name. Other fields may have any number and length.

    Raises UploadTimeout if the body stops arriving or arrives too slowly, UploadTooLarge, UnsupportedEncoding if it is
    compressed, InvalidRequest if it is not such a form or a field is too long, InvalidParameter if the file is missing
    or repeated, Overloaded if there is no space to store it, and starlette's ClientDisconnect when the client
    disconnects.
    """
    _check_encoding(request)
    _check_length(request, limits.max_bytes)
    with _spool() as file:
        reader = _FormReader(_boundary(request), file, file_field, kept)
        received = 0
        async for chunk in _body(request, limits):
            received += len(chunk)
            reader.feed(chunk)
            if received > SPOOL_BYTES:
                await asyncio.to_thread(reader.flush)
            else:
                reader.flush()
        if received == 0:
            raise InvalidRequest(f"the request has no body; {HOW_TO_SEND}")
        yield reader.finish()


@asynccontextmanager
async def read_file(request: Request, limits: UploadLimits) -> AsyncIterator[Form]:
    """Read a body that is the file itself; it is closed at the end.

    Raises InvalidRequest for an empty body, and for JSON: some APIs let the service fetch an address in it, which this
    one never does. Otherwise the errors of `read_form`.
    """
    _check_encoding(request)
    _check_length(request, limits.max_bytes)
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() == "application/json":
        raise InvalidRequest("the service fetches no audio from addresses: send the audio itself as the body")
    with _spool() as file:
        received = 0
        async for chunk in _body(request, limits):
            received += len(chunk)
            with _stored():
                if received > SPOOL_BYTES:
                    await asyncio.to_thread(file.write, chunk)
                else:
                    file.write(chunk)
        if received == 0:
            raise InvalidRequest("the request has no body: send the audio as the body")
        with _stored():
            file.seek(0)
        yield Form(file)


async def _body(request: Request, limits: UploadLimits) -> AsyncGenerator[bytes, None]:
    """The chunks of a body within its limits."""
    received = 0
    chunks = request.stream()
    pace = _Pace(limits)
    while (chunk := await _next(chunks, limits.idle_s)) is not None:
        received += len(chunk)
        if received > limits.max_bytes:
            raise _too_large(limits.max_bytes)
        pace.check(received)
        yield chunk


class _Pace:
    """Checks the rate of a body: the idle limit alone would let a client send one byte each half minute."""

    def __init__(self, limits: UploadLimits) -> None:
        self._limits = limits
        self._since = time.monotonic()
        self._before = 0

    def check(self, received: int) -> None:
        """Called with each chunk and the bytes received so far. Raises UploadTimeout."""
        now = time.monotonic()
        elapsed_s = now - self._since
        if elapsed_s < self._limits.idle_s:
            return
        least = self._limits.min_bytes_per_s
        came = received - self._before
        if came < least * elapsed_s:
            raise UploadTimeout(
                f"the body comes too slowly: {came} bytes in {elapsed_s:.1f} s; the least rate is {least:g} bytes/s",
                min_bytes_per_s=least,
            )
        self._since, self._before = now, received


@contextmanager
def _spool() -> Iterator[BinaryIO]:
    """A file in memory that moves to disk when it grows, unnamed from the start, so that nothing is left behind."""
    file = SpooledTemporaryFile(max_size=SPOOL_BYTES)  # noqa: SIM115  # closed below
    try:
        yield cast(BinaryIO, file)
    finally:
        with suppress(OSError):  # on a full disk `close` raises, but still closes
            file.close()


@contextmanager
def _stored() -> Iterator[None]:
    """Raises Overloaded if there is no space to write."""
    try:
        yield
    except OSError as error:
        logger.error("an upload cannot be stored: %s", error)
        raise Overloaded("there is no space to store this upload now; try again later") from error


async def _next(chunks: AsyncGenerator[bytes, None], idle_s: float) -> bytes | None:
    """The next chunk; None after the last."""
    try:
        async with asyncio.timeout(idle_s):
            return await anext(chunks, None)
    except TimeoutError:
        raise UploadTimeout(f"the body stopped coming: nothing for {idle_s:g} s", max_idle_s=idle_s) from None


class _FormReader:
    """Callbacks of the multipart parser; chunks of the file are kept until `flush` writes them."""

    def __init__(self, boundary: bytes, file: BinaryIO, file_field: str, kept: Callable[[str], bool]) -> None:
        self._form = Form(file)
        self._file_field = file_field
        self._kept = kept
        self._skips = False  # the part that is being read
        self._pending: list[bytes] = []
        self._has_file = False
        self._names: list[str] = []
        self._kept_bytes = 0
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
            raise InvalidRequest("the body is not a complete multipart form: it is cut off or has no parts")
        if not self._has_file:
            raise InvalidParameter(f"the form has no file in the field {self._file_field!r}", field=self._file_field)
        with _stored():  # `seek` writes what is still buffered
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
        if name == self._file_field and self._has_file:
            raise InvalidParameter(f"the field {name!r} is repeated", field=name)
        self._skips = name != self._file_field and not self._kept(name)
        if self._skips:
            if len(self._form.skipped) < MAX_FIELDS:
                self._form.skipped[name] = None
            return
        self._names.append(name)
        if len(self._names) > MAX_VALUES or len(self._form.fields.keys() | {name}) > MAX_FIELDS:
            raise InvalidRequest(f"the form has more than {MAX_FIELDS} fields, or {MAX_VALUES} values of them")
        if name == self._file_field:
            self._has_file, self._value = True, None
        else:
            self._value = bytearray()

    def _on_part_data(self, data: bytes, start: int, end: int) -> None:
        if self._skips:
            return
        if self._value is None:
            self._pending.append(data[start:end])
            return
        self._value += data[start:end]
        if len(self._value) > MAX_FIELD_BYTES:
            raise InvalidRequest(f"the field {self._names[-1][:100]!r} is longer than {MAX_FIELD_BYTES} bytes")

    def _on_part_end(self) -> None:
        if self._value is not None and not self._skips:
            values = self._form.fields.setdefault(self._names[-1], [])
            values.append(self._value.decode("utf-8", "replace"))
            self._kept_bytes += len(self._value)
            if self._kept_bytes > MAX_VALUES_BYTES:
                raise InvalidRequest(f"the fields are longer than {MAX_VALUES_BYTES} bytes together")

    def _on_end(self) -> None:
        self._ended = True


def _check_length(request: Request, max_bytes: int) -> None:
    length = request.headers.get("content-length", "")
    if length.isdecimal() and int(length[:20]) > max_bytes:
        raise _too_large(max_bytes)


def _check_encoding(request: Request) -> None:
    encoding = request.headers.get("content-encoding", "").strip().lower()
    if encoding not in ("", "identity"):
        raise UnsupportedEncoding(f"Content-Encoding {encoding[:100]} is not read; send the body as it is")


def _boundary(request: Request) -> bytes:
    content_type = request.headers.get("content-type", "")
    kind, options = parse_options_header(content_type)
    if kind != b"multipart/form-data":
        said = f"the body is {kind.decode('latin-1')[:100]!r}" if kind else "the header Content-Type is missing"
        raise InvalidRequest(f"{said}; {HOW_TO_SEND}")
    boundary = options.get(b"boundary", b"")
    if not boundary:
        raise InvalidRequest(
            "the header Content-Type has no boundary; do not set it by hand: the HTTP client does, with the boundary "
            "that it writes into the multipart form"
        )
    if len(boundary) > MAX_BOUNDARY_BYTES:
        raise InvalidRequest(f"the boundary of the multipart form is longer than {MAX_BOUNDARY_BYTES} bytes")
    return boundary


def _too_large(max_bytes: int) -> UploadTooLarge:
    return UploadTooLarge(f"the request is larger than {max_bytes} bytes", max_upload_bytes=max_bytes)
