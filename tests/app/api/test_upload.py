"""Uploads that are broken, hostile or only odd. A body is given as chunks, to see how many of them are read."""

import errno
import io
import logging
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from app.api import upload
from app.api.transcribe import TranscribeForm
from tests.conftest import Client, Connection, ServiceFactory, assert_error
from tests.fakes import PATIENCE_S
from tests.sounds import speechlike, wav

BOUNDARY = "------------------------d74496d66958873e"
FORM = {"content-type": f"multipart/form-data; boundary={BOUNDARY}"}
END = f"--{BOUNDARY}--\r\n".encode()
CHUNK = bytes(1 << 16)


@pytest.fixture(scope="module")
def sound() -> bytes:
    return wav(speechlike(1.0))


def part(name: str, value: bytes, more: str = "", headers: str = "") -> bytes:
    """One part of a form. more: behind the name in its Content-Disposition. headers: whole lines."""
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"{more}\r\n{headers}\r\n'
    return head.encode() + value + b"\r\n"


def post(client: Client, *parts: bytes, **options: Any) -> Any:
    return client.post("/transcribe", content=b"".join([*parts, END]), headers=FORM, **options)


class Body:
    """Chunks that count how many of them were taken."""

    def __init__(self, *chunks: bytes, endless: bytes = b"") -> None:
        self.taken = 0
        self._chunks = chunks
        self._endless = endless

    def __iter__(self) -> Iterator[bytes]:
        for chunk in self._all():
            self.taken += 1
            yield chunk

    def _all(self) -> Iterator[bytes]:
        yield from self._chunks
        while self._endless:
            assert self.taken < 10_000, "the body is read for ever"
            yield self._endless


# What is fine


def test_a_file_in_many_chunks(client: Client, sound: bytes) -> None:
    body = part("file", sound, '; filename="a.wav"') + END
    chunks = [body[start : start + 7] for start in range(0, len(body), 7)]
    answer = client.post("/transcribe", content=chunks, headers=FORM)
    assert (answer.status_code, answer.json()["text"]) == (200, "dikte")


@pytest.mark.parametrize(
    "more",
    [
        "",
        '; filename=""',
        '; filename="holiday.png"',
        '; filename="../../../../etc/passwd"',
        r'; filename="C:\\sound.wav"',
        '; filename="a\0b.wav"',
        "; filename*=UTF-8''ses%20kayd%C4%B1.wav",
        '; filename="çığ 🎤.wav"',
        '; filename="' + "x" * (64 << 10) + '.wav"',
        '; filename="' + ";=" * (32 << 10) + '"',
        '; filename="' + '\\"' * (32 << 10) + '"',
        "; " + "a=b; " * (13 << 10) + "c=d",
    ],
    ids=lambda more: more[:28],
)
def test_the_file_name_does_not_matter(client: Client, sound: bytes, more: str) -> None:
    answer = post(client, part("file", sound, more))
    assert (answer.status_code, answer.json()["text"]) == (200, "dikte")


@pytest.mark.parametrize("mime", ["image/png", "text/html; charset=utf-16", "audio/x-whatever", "", "////"])
def test_the_mime_type_does_not_matter(client: Client, sound: bytes, mime: str) -> None:
    answer = post(client, part("file", sound, '; filename="a.txt"', f"Content-Type: {mime}\r\n"))
    assert (answer.status_code, answer.json()["text"]) == (200, "dikte")


def test_headers_in_any_case_and_an_epilogue(client: Client, sound: bytes) -> None:
    body = part("file", sound).replace(b"Content-Disposition", b"CONTENT-DISPOSITION") + END + b"\r\nepilogue"
    headers = {"Content-Type": f'Multipart/Form-Data; charset=utf-8; boundary="{BOUNDARY}"'}
    assert client.post("/transcribe", content=body, headers=headers).status_code == 200


def test_a_large_file_is_spooled_to_disk_and_nothing_is_left(
    client: Client, sound: bytes, temp_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upload, "SPOOL_BYTES", 1000)
    seen = set[str]()

    def chunks() -> Iterator[bytes]:
        yield part("file", sound)[:-2]
        seen.update(open_files(temp_folder))
        yield b"\r\n" + END

    answer = client.post("/transcribe", content=chunks(), headers=FORM)
    assert answer.json()["text"] == "dikte"
    assert len(seen) == 1
    assert open_files(temp_folder) == []


def open_files(folder: Path) -> list[str]:
    """Files of this process that lie (or, deleted, lay) in `folder`."""
    links = []
    for descriptor in Path("/proc/self/fd").iterdir():
        try:
            links.append(str(descriptor.readlink()))
        except FileNotFoundError:
            continue  # the one that reads the folder
    return [link for link in links if link.startswith(str(folder))]


# What is missing, doubled or unknown


def test_an_empty_file(client: Client) -> None:
    assert "empty" in assert_error(post(client, part("file", b"")), 400, "invalid_audio")["message"]


@pytest.mark.parametrize("parts", [[], [part("timestamps", b"word")], [part("File", b"RIFF")]], ids=len)
def test_no_file(client: Client, parts: list[bytes]) -> None:
    error = assert_error(post(client, *parts), 422, "invalid_parameter")
    assert error["field"] == "file"


def test_two_files(client: Client, sound: bytes) -> None:
    answer = post(client, part("file", sound), part("file", sound))
    assert assert_error(answer, 422, "invalid_parameter")["field"] == "file"


def test_a_field_twice(client: Client, sound: bytes) -> None:
    answer = post(client, part("timestamps", b"word"), part("file", sound), part("timestamps", b"none"))
    assert assert_error(answer, 422, "invalid_parameter")["field"] == "timestamps"


@pytest.mark.parametrize("name", ["idioma", "FILE", "Timestamps", "", "🎤", "x" * 10_000])
def test_an_unknown_field(client: Client, sound: bytes, name: str) -> None:
    error = assert_error(post(client, part("file", sound), part(name, b"x")), 422, "invalid_parameter")
    assert error["field"] == name[:100]
    assert set(error["allowed"]) == {"file", *TranscribeForm.model_fields}


@pytest.mark.parametrize(
    ("name", "value"),
    [("timestamps", b"letter"), ("timestamps", b""), ("timestamps", b"\xff\0"), ("response_format", b"JSON")],
)
def test_an_unknown_value(client: Client, sound: bytes, name: str, value: bytes) -> None:
    error = assert_error(post(client, part("file", sound), part(name, value)), 422, "invalid_parameter")
    assert error["field"] == name
    assert "none" in error["allowed"] or "srt" in error["allowed"]


# What is no form


@pytest.mark.parametrize(
    ("content_type", "says"),
    [
        (None, "Content-Type is missing; send the file as a multipart form"),
        ("", "Content-Type is missing; send the file as a multipart form"),
        ("audio/wav", "the body is 'audio/wav'; send the file as a multipart form"),
        ("application/json", "the body is 'application/json'; send the file as a multipart form"),
        ("application/x-www-form-urlencoded", "send the file as a multipart form"),
        (f"multipart/mixed; boundary={BOUNDARY}", "send the file as a multipart form"),
        ("a" * 60_000, "send the file as a multipart form"),
        (";;;;", "send the file as a multipart form"),
        ("multipart/form-data", "has no boundary; do not set it by hand"),
        ("multipart/form-data; boundary=", "has no boundary"),
        ("multipart/form-data; boundary*=x", "has no boundary"),
        ("multipart/form-data" + ";" * 60_000, "has no boundary"),
        ("multipart/form-data; boundary=" + "b" * 201, "the boundary of the multipart form is longer than 200 bytes"),
        ("multipart/form-data; boundary=" + "b" * 60_000, "longer than 200 bytes"),
    ],
    ids=lambda value: str(value)[:50],
)
def test_another_content_type(client: Client, sound: bytes, content_type: str | None, says: str) -> None:
    body = Body(part("file", sound), END)
    headers = {} if content_type is None else {"content-type": content_type}
    answer = client.post("/transcribe", content=body, headers=headers)
    message = assert_error(answer, 400, "invalid_request")["message"]
    assert says in message
    assert len(message) < 300
    assert body.taken == 0


@pytest.mark.parametrize("boundary", [BOUNDARY, f'"{BOUNDARY}"', f'"{BOUNDARY}"; charset=utf-8'])
@pytest.mark.parametrize("kind", ["multipart/form-data; boundary=", "Multipart/Form-Data ;Boundary="])
def test_content_types_that_are_written_otherwise(client: Client, sound: bytes, kind: str, boundary: str) -> None:
    headers = {"content-type": kind + boundary}
    assert client.post("/transcribe", content=part("file", sound) + END, headers=headers).status_code == 200


@pytest.mark.parametrize("encoding", ["gzip", "GZIP", "br", "deflate, gzip", "identity, gzip", "x" * 5000])
def test_a_compressed_body_is_not_read(client: Client, sound: bytes, encoding: str) -> None:
    body = Body(part("file", sound), END)
    answer = client.post("/transcribe", content=body, headers=FORM | {"content-encoding": encoding})
    assert "Content-Encoding" in assert_error(answer, 415, "unsupported_encoding")["message"]
    assert answer.headers["accept-encoding"] == "identity"
    assert body.taken == 0
    assert len(answer.content) < 500


@pytest.mark.parametrize("encoding", ["identity", " Identity", ""])
def test_a_body_that_is_said_not_to_be_compressed(client: Client, sound: bytes, encoding: str) -> None:
    answer = client.post(
        "/transcribe", content=part("file", sound) + END, headers=FORM | {"content-encoding": encoding}
    )
    assert answer.status_code == 200


def test_no_body(client: Client) -> None:
    message = assert_error(client.post("/transcribe", headers=FORM), 400, "invalid_request")["message"]
    assert message == "the request has no body; send the file as a multipart form: curl -F file=@sound.wav"


@pytest.mark.parametrize(
    "body",
    [
        b"\r\n",
        b"RIFF",
        b"--another\r\n\r\n",
        f"--{BOUNDARY}".encode(),
        part("file", b"RIFF"),
        part("file", b"RIFF")[:60],
        part("file", b"RIFF") + END[:-4],
        f"--{BOUNDARY}\r\n\r\nRIFF\r\n".encode() + END,
        f"--{BOUNDARY}\r\nContent-Disposition: form-data\r\n\r\nRIFF\r\n".encode() + END,
        f"--{BOUNDARY}\r\nContent-Disposition\r\n\r\nRIFF\r\n".encode() + END,
        f"--{BOUNDARY}\r\nContent-Disposition: a\rb\r\n\r\nRIFF\r\n".encode() + END,
        f"--{BOUNDARY}\r\n: a\r\n\r\nRIFF\r\n".encode() + END,
        f"--{BOUNDARY}\r\nK\xffy: a\r\n\r\nRIFF\r\n".encode("latin-1") + END,
    ],
    ids=lambda body: repr(body[-30:]),
)
def test_a_broken_form(client: Client, body: bytes) -> None:
    assert_error(client.post("/transcribe", content=body, headers=FORM), 400, "invalid_request")


# What is too much


def test_a_body_over_the_limit_that_says_so_is_not_read(serve: ServiceFactory) -> None:
    body = Body(part("file", b"")[:-2], endless=CHUNK)
    with serve(max_upload_bytes=1_000_000) as client:
        answer = client.post("/transcribe", content=body, headers={**FORM, "content-length": "1000001"})
    assert assert_error(answer, 413, "upload_too_large")["max_upload_bytes"] == 1_000_000
    assert body.taken == 0


@pytest.mark.parametrize(
    "length", [{}, {"content-length": "1000"}, {"content-length": "-1"}, {"content-length": "many"}], ids=str
)
def test_a_body_over_the_limit_that_hides_it_is_cut_off(serve: ServiceFactory, length: dict[str, str]) -> None:
    body = Body(part("file", b"")[:-2], endless=CHUNK)
    with serve(max_upload_bytes=1_000_000) as client:
        assert_error(client.post("/transcribe", content=body, headers=FORM | length), 413, "upload_too_large")
    assert body.taken == 2 + 1_000_000 // len(CHUNK)


def test_a_length_of_thousands_of_digits(client: Client) -> None:
    headers = {**FORM, "content-length": "9" * 5000}
    assert_error(client.post("/transcribe", content=Body(endless=CHUNK), headers=headers), 413, "upload_too_large")


def test_a_body_of_just_the_limit(serve: ServiceFactory, sound: bytes) -> None:
    body = part("file", sound) + END
    with serve(max_upload_bytes=len(body)) as client:
        assert client.post("/transcribe", content=body, headers=FORM).status_code == 200
    with serve(max_upload_bytes=len(body) - 1) as client:
        assert_error(client.post("/transcribe", content=body, headers=FORM), 413, "upload_too_large")


def test_a_hundred_thousand_fields(client: Client) -> None:
    fields = [part(f"field{number}", b"") for number in range(100_000)]
    body = Body(*(b"".join(fields[start : start + 10]) for start in range(0, len(fields), 10)), END)
    assert (
        "32" in assert_error(client.post("/transcribe", content=body, headers=FORM), 400, "invalid_request")["message"]
    )
    assert body.taken == 4


@pytest.mark.parametrize("name", ["timestamps", "", "x"])
def test_a_huge_field(client: Client, name: str) -> None:
    body = Body(part(name, b"")[:-2], endless=CHUNK)
    assert_error(client.post("/transcribe", content=body, headers=FORM), 400, "invalid_request")
    assert body.taken == 3


@pytest.mark.parametrize(
    ("start", "endless"),
    [
        (b"X: ", CHUNK), (b"", b"x" * 50_000), (b"X: ", b" " * 50_000), (b"", b"X: y\r\n" * 10),
        (b"Content-Disposition: form-data; ", b"a=b; " * 10_000),
    ],
    ids=["value", "name", "spaces", "count", "options"],
)  # fmt: skip
def test_huge_part_headers(client: Client, start: bytes, endless: bytes) -> None:
    body = Body(f"--{BOUNDARY}\r\n".encode() + start, endless=endless)
    assert_error(client.post("/transcribe", content=body, headers=FORM), 400, "invalid_request")
    assert body.taken <= 3


class FullDisk(io.RawIOBase):
    """Takes nothing, as a disk does on which there is no room."""

    def seekable(self) -> bool:
        return True

    def readable(self) -> bool:
        return True

    def writable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return 0

    def write(self, data: Any) -> int:
        raise OSError(errno.ENOSPC, "No space left on device", "/tmp/secret")  # noqa: S108  # no file


@pytest.mark.parametrize("buffer_bytes", [1, 1 << 20], ids=["as it is written", "as it ends"])
def test_no_disk_space_for_a_large_file(
    client: Client, monkeypatch: pytest.MonkeyPatch, sound: bytes, buffer_bytes: int
) -> None:
    monkeypatch.setattr(upload, "SpooledTemporaryFile", lambda max_size: io.BufferedRandom(FullDisk(), buffer_bytes))
    refused = post(client, part("file", sound))
    assert_error(refused, 429, "overloaded")
    assert "retry-after" in refused.headers


# Who is slow, and who leaves


def test_a_body_that_stops_coming_is_given_up(serve: ServiceFactory, temp_folder: Path, sound: bytes) -> None:
    with serve(upload_idle_s=0.05) as client:
        connection = Connection(client, FORM)
        connection.send(part("file", sound))
        assert connection.status() == 408
        assert b"upload_timeout" in connection.body
        assert client.app.state.service.admission.uploads == 0


def test_a_body_that_comes_slowly_is_read(serve: ServiceFactory, sound: bytes) -> None:
    with serve(upload_idle_s=PATIENCE_S) as client:
        connection = Connection(client, FORM)
        for byte in part("file", sound)[:50]:
            connection.send(bytes([byte]))
        connection.send(part("file", sound)[50:])
        connection.send(END, more=False)
        assert connection.status() == 200


class Clock:
    """Stands in for the module `time`, so that minutes pass at once."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def monotonic(self) -> float:
        return self.now_s


def send_slowly(
    client: Client, clock: Clock, body: bytes, at_once: int, pause_s: float
) -> tuple[Connection, list[int]]:
    """Send the body, `at_once` bytes at a time. Gives the connection and how much was read before each pause."""
    connection = Connection(client, FORM)
    taken: list[int] = []
    for start in range(0, len(body), at_once):
        connection.send(body[start : start + at_once], more=start + at_once < len(body))
        until_read(client, connection)
        taken.append(start + at_once)
        if connection.answered:
            break
        clock.now_s += pause_s
    return connection, taken


def until_read(client: Client, connection: Connection) -> None:
    """Until the service waits for more, or has answered."""
    while not (connection.answered or connection.waits):
        time.sleep(0.001)


@pytest.mark.parametrize(
    ("at_once", "pause_s"),
    [(1, 29.0), (400, 1.0), (10_000, 25.0), (499 * 31, 31.0)],
    ids=["a byte each half minute", "just too slow", "in pieces", "a piece at a time"],
)
def test_a_body_that_drips_is_given_up(
    serve: ServiceFactory, monkeypatch: pytest.MonkeyPatch, at_once: int, pause_s: float
) -> None:
    clock = Clock()
    monkeypatch.setattr(upload, "time", clock)
    body = part("file", bytes(1_000_000)) + END
    with serve() as client:
        connection, taken = send_slowly(client, clock, body, at_once, pause_s)
        assert connection.status() == 408
        assert b"upload_timeout" in connection.body
        assert b"too slowly" in connection.body
        assert b"500 bytes/s" in connection.body
        assert client.app.state.service.admission.uploads == 0
    assert (len(taken) - 1) * pause_s <= 120, "what came at first does not count for long"


@pytest.mark.parametrize(
    ("at_once", "pause_s"),
    [(4096, 1.0), (520, 1.0), (30_000, 25.0)],
    ids=["a slow phone", "just fast enough", "a phone with pauses"],
)
def test_a_body_that_comes_slowly_for_long_is_read(
    serve: ServiceFactory, monkeypatch: pytest.MonkeyPatch, sound: bytes, at_once: int, pause_s: float
) -> None:
    clock = Clock()
    monkeypatch.setattr(upload, "time", clock)
    with serve() as client:
        connection, taken = send_slowly(client, clock, part("file", wav(speechlike(20))) + END, at_once, pause_s)
        assert connection.status() == 200
    assert len(taken) * pause_s > 120


def test_any_rate_is_allowed_where_none_is_asked_for(serve: ServiceFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr(upload, "time", clock)
    with serve(upload_min_bytes_per_s=0) as client:
        connection, _ = send_slowly(client, clock, part("file", wav(speechlike(1))) + END, 500, 29.0)
        assert connection.status() == 200


def test_bodies_read_at_a_time_are_limited(serve: ServiceFactory, sound: bytes) -> None:
    with serve(max_uploads=1) as client:
        slow = Connection(client, FORM)
        slow.send(part("file", sound))
        while client.app.state.service.admission.uploads == 0:
            pass
        refused = post(client, part("file", sound))
        assert_error(refused, 429, "overloaded")
        assert int(refused.headers["retry-after"]) >= 1
        slow.send(END, more=False)
        assert slow.status() == 200
        assert post(client, part("file", sound)).status_code == 200


def test_a_client_that_leaves_in_mid_upload_leaves_nothing(
    client: Client, temp_folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(upload, "SPOOL_BYTES", 1000)
    with caplog.at_level(logging.DEBUG):
        leaving = Connection(client, FORM)
        for chunk in (part("file", b"")[:-2], CHUNK, CHUNK):
            leaving.send(chunk)
        while not open_files(temp_folder):
            pass
        leaving.leave()
        assert leaving.status() == 499
    assert open_files(temp_folder) == []
    admission = client.app.state.service.admission
    assert (admission.uploads, admission.requests, admission.queued_s) == (0, 0, 0)
    assert [record for record in caplog.records if record.exc_info or record.levelno >= logging.WARNING] == []


def test_fields_that_are_not_kept_may_have_any_number_and_length(client: Client) -> None:
    """Nothing of them is in memory: only the names of some."""
    parts: list[Any] = [("file", ("a.wav", wav(speechlike(1)))), ("large", (None, b"x" * 100_000))]
    parts += [(f"field{number % 40}", (None, b"x" * 1000)) for number in range(200)]
    answer = client.post("/v1/audio/transcriptions", files=parts)
    assert answer.json()["text"] == "dikte"
    assert len(answer.headers["x-ignored-parameters"].split(", ")) == 32
