"""Uploads that are broken, hostile or only odd. A body is given as chunks, to see how many of them are read."""

import errno
import io
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from app.api import upload
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


@pytest.mark.parametrize("name", ["language", "FILE", "Timestamps", "", "🎤", "x" * 10_000])
def test_an_unknown_field(client: Client, sound: bytes, name: str) -> None:
    error = assert_error(post(client, part("file", sound), part(name, b"x")), 422, "invalid_parameter")
    assert error["field"] == name[:100]
    assert set(error["allowed"]) == {"file", "timestamps", "response_format"}


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
    "content_type",
    [
        None, "", "audio/wav", "application/json", "application/x-www-form-urlencoded", "multipart/form-data",
        "multipart/form-data; boundary=", f"multipart/mixed; boundary={BOUNDARY}",
        "multipart/form-data; boundary=" + "b" * 201, "multipart/form-data; boundary=" + "b" * 60_000,
        "multipart/form-data; boundary*=x", ";;;;", "multipart/form-data" + ";" * 60_000,
    ],
    ids=lambda content_type: str(content_type)[:50],
)  # fmt: skip
def test_another_content_type(client: Client, sound: bytes, content_type: str | None) -> None:
    body = Body(part("file", sound), END)
    headers = {} if content_type is None else {"content-type": content_type}
    answer = client.post("/transcribe", content=body, headers=headers)
    assert "multipart form" in assert_error(answer, 400, "invalid_request")["message"]
    assert body.taken == 0


@pytest.mark.parametrize(
    "body",
    [
        b"",
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
def test_no_room_for_a_large_file(
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
