"""The log: one line per event on stderr, as JSON or as text, with the id of its request."""

import json
import logging
import os
import re
import sys
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any, TextIO

request_id: ContextVar[str | None] = ContextVar("request_id", default=None)
"""Id of the request that the current task answers."""

UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]|[\ud800-\udfff]")
"""Control characters, line ends and bidirectional marks: with them a text could forge log lines."""
STANDARD_FIELDS = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName", "color_message"}
"""Fields of a record without `extra`; uvicorn's `color_message` repeats the message in colour."""
COLOURS = {"DEBUG": "\x1b[2m", "INFO": "\x1b[32m", "WARNING": "\x1b[33m", "ERROR": "\x1b[31m", "CRITICAL": "\x1b[31m"}
PLAIN = "\x1b[0m"


def set_up_logging(level: str, log_format: str) -> None:
    """Log to stderr: our loggers and uvicorn's from `level` on, all others from warnings on.

    `log_format` is `json`, `text`, or `auto`: text at a terminal, otherwise JSON. A later call replaces level and
    format.
    """
    at_terminal = sys.stderr.isatty()
    handler = StderrHandler()
    if log_format == "json" or (log_format == "auto" and not at_terminal):
        handler.setFormatter(JsonFormatter())
    else:
        handler.setFormatter(TextFormatter(colours=at_terminal and not os.environ.get("NO_COLOR")))
    root = logging.getLogger()
    for former in root.handlers[:]:
        if isinstance(former, StderrHandler):
            root.removeHandler(former)
    root.addHandler(handler)
    for name in ("dikte", "uvicorn", "uvicorn.error"):
        logger = logging.getLogger(name)
        logger.setLevel(level.upper())
        logger.handlers.clear()
        logger.propagate = True
    # Without a handler uvicorn writes no access log; ours has more information.
    access = logging.getLogger("uvicorn.access")
    access.handlers.clear()
    access.propagate = False


class StderrHandler(logging.Handler):
    """Writes to the current `sys.stderr`, which may be replaced at any time."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write one line, or several if the text formatter adds a traceback."""
        try:
            stderr: TextIO = sys.stderr
            stderr.write(self.format(record) + "\n")
            stderr.flush()
        except Exception:
            self.handleError(record)


class JsonFormatter(logging.Formatter):
    """One JSON object per line: time, level, logger, message, request_id, the fields of `extra`, exception."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as one line of ASCII. JSON escapes everything else, so no value can start a new line."""
        entry: dict[str, Any] = {
            "time": rfc3339(record.created),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if (current := request_id.get()) is not None:
            entry["request_id"] = current
        entry |= {name: value for name, value in vars(record).items() if name not in STANDARD_FIELDS | entry.keys()}
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return json.dumps(entry, default=str)


class TextFormatter(logging.Formatter):
    """`2026-01-31T12:00:00.000Z INFO message [request id]`; the traceback of an exception follows, indented."""

    def __init__(self, colours: bool) -> None:
        super().__init__()
        self._colours = colours

    def format(self, record: logging.LogRecord) -> str:
        """The record as text. Only a traceback has line ends, and each is followed by an indent."""
        level = f"{record.levelname:<7}"
        if self._colours:
            level = f"{COLOURS.get(record.levelname, '')}{level}{PLAIN}"
        current = request_id.get()
        line = f"{rfc3339(record.created)} {level} {printable(record.getMessage())}{f' [{current}]' if current else ''}"
        if record.exc_info:
            for trace in self.formatException(record.exc_info).split("\n"):
                line += f"\n    {printable(trace)}"
        return line


def rfc3339(timestamp_s: float) -> str:
    """Seconds since 1970 as `2026-01-31T12:00:00.000Z`."""
    return datetime.fromtimestamp(timestamp_s, UTC).isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"


def printable(text: str) -> str:
    r"""The text with control characters and the like escaped, such as `\n`."""
    return UNPRINTABLE.sub(lambda found: found[0].encode("unicode_escape").decode(), text)
