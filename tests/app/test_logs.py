import json
import logging
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import pytest

from app.logs import printable, request_id, rfc3339, set_up_logging

logger = logging.getLogger("dikte")
FORGED = "harmless\n2026-01-31T12:00:00.000Z INFO    forged\r\x1b[2Jx\u2028y\u202e\x85\udc80"


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    """Loggers as they were."""
    names = (None, "dikte", "uvicorn", "uvicorn.error", "uvicorn.access")
    loggers = [logging.getLogger(name) for name in names]
    before = [(one, one.level, one.handlers[:], one.propagate) for one in loggers]
    yield
    for one, level, handlers, propagate in before:
        one.setLevel(level)
        one.handlers[:] = handlers
        one.propagate = propagate


@pytest.fixture
def in_request() -> Iterator[None]:
    token = request_id.set("id-1")
    yield
    request_id.reset(token)


def fail() -> None:
    raise ValueError(FORGED)


def entries(stderr: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stderr.splitlines()]


def test_json_is_an_object_per_line(capsys: pytest.CaptureFixture[str], in_request: None) -> None:
    set_up_logging("info", "json")
    logger.info("ready: %s", "tr-small", extra={"status": 200, "path": FORGED, "message_": None, "model": object})
    (entry,) = entries(capsys.readouterr().err)
    assert datetime.fromisoformat(entry.pop("time")).tzinfo is not None
    assert entry == {
        "level": "info", "logger": "dikte", "message": "ready: tr-small", "request_id": "id-1", "status": 200,
        "path": FORGED, "message_": None, "model": str(object),
    }  # fmt: skip


@pytest.mark.parametrize("log_format", ["json", "text"])
def test_a_message_cannot_begin_a_line_of_its_own(capsys: pytest.CaptureFixture[str], log_format: str) -> None:
    set_up_logging("info", log_format)
    logger.info("%s", FORGED)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.isprintable()
    assert r"harmless\n2026" in line
    if log_format == "json":
        assert json.loads(line)["message"] == FORGED


def test_an_exception_is_a_string_in_json(capsys: pytest.CaptureFixture[str]) -> None:
    set_up_logging("info", "json")
    try:
        fail()
    except ValueError:
        logger.exception("a bug")
    (entry,) = entries(capsys.readouterr().err)
    assert (entry["level"], entry["message"]) == ("error", "a bug")
    assert entry["exception"].startswith("Traceback")
    assert "in fail" in entry["exception"]
    assert "request_id" not in entry


def test_the_lines_of_an_exception_are_indented_in_text(capsys: pytest.CaptureFixture[str], in_request: None) -> None:
    set_up_logging("info", "text")
    try:
        fail()
    except ValueError:
        logger.exception("a bug")
    first, *rest = capsys.readouterr().err.rstrip("\n").split("\n")
    assert first.endswith("ERROR   a bug [id-1]")
    assert rest[0] == "    Traceback (most recent call last):"
    assert all(line.startswith("    ") and line.isprintable() for line in rest)


@pytest.mark.parametrize(("at_terminal", "no_color"), [(True, ""), (True, "1"), (False, "")])
def test_auto_is_text_at_a_terminal_and_in_colour_there_alone(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, at_terminal: bool, no_color: str
) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: at_terminal)
    monkeypatch.setenv("NO_COLOR", no_color)
    set_up_logging("info", "auto")
    logger.warning("careful")
    line = capsys.readouterr().err
    assert line.startswith("{") is not at_terminal
    assert ("\x1b[33mWARNING" in line) is (at_terminal and not no_color)


def test_setting_it_up_again_changes_it_and_doubles_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    set_up_logging("debug", "text")
    set_up_logging("warning", "json")
    logger.info("not logged")
    logger.warning("once")
    assert [entry["message"] for entry in entries(capsys.readouterr().err)] == ["once"]


def test_uvicorn_and_all_others_are_logged_alike(capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("uvicorn", "uvicorn.access"):  # as uvicorn sets them up
        logging.getLogger(name).addHandler(logging.StreamHandler())
        logging.getLogger(name).propagate = False
    set_up_logging("info", "json")
    logging.getLogger("uvicorn.error").info("started", extra={"color_message": "\x1b[36mstarted"})
    logging.getLogger("asyncio").error("never retrieved")
    logging.getLogger("asyncio").info("chatter")
    logging.getLogger("dikte.access").info("GET /")
    logged = entries(capsys.readouterr().err)
    assert [(entry["logger"], entry["message"]) for entry in logged] == [
        ("uvicorn.error", "started"), ("asyncio", "never retrieved"), ("dikte.access", "GET /"),
    ]  # fmt: skip
    assert "color_message" not in logged[0]
    assert not logging.getLogger("uvicorn.access").hasHandlers()


def test_others_may_listen(caplog: pytest.LogCaptureFixture) -> None:
    set_up_logging("info", "json")
    logger.info("heard")
    logging.getLogger("uvicorn.error").info("too")
    assert caplog.messages == ["heard", "too"]


def test_times_are_utc_with_milliseconds() -> None:
    assert rfc3339(0.0) == "1970-01-01T00:00:00.000Z"
    assert rfc3339(1769860800.1234) == "2026-01-31T12:00:00.123Z"


def test_letters_of_any_language_are_printable() -> None:
    assert printable("ışığı gördüm\n\t\x00") == r"ışığı gördüm\n\t\x00"
