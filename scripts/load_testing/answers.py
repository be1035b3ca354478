"""The answers to requests under load: whether each is correct, refused or wrong, and how long it took."""

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict, astuple, dataclass, field
from difflib import SequenceMatcher
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

from app.environment import can_be_sent, entries
from app.settings import BUNDLED_MODEL
from scripts.load_testing.load_clips import CONTENT_TYPE, Clip
from scripts.speech.text import TextNormalizer

OK, WRONG_TEXT, NO_ANSWER = "ok", "wrong_text", "no_answer"
UNAUTHORIZED, TOO_MANY_REQUESTS = 401, 429
API_KEY_VARIABLE = "DIKTE_API_KEY"
"""The environment variable for the API key. A command line is visible to all users, and is part of the reports."""
MIN_SIMILARITY = 0.9
"""Minimum similarity of two transcripts of one clip. With another number of threads, the order of summation differs,
and INT8 amplifies the rounding errors."""
MIN_REFERENCE_SIMILARITY = 0.8
"""Minimum similarity of the bundled model's transcripts to the reference texts of the samples. It makes few errors."""
COMPARED_LETTERS = 500
"""Letters that are compared at each end of a long text, because the comparison takes quadratic time."""
REFERENCE_TIMEOUT_S = 600.0
MAX_PAUSE_S = 60.0


class LoadError(Exception):
    """The load test cannot run. The message says why."""


@dataclass(frozen=True)
class Answer:
    """The answer to one request. Times are in seconds.

    kind: the kind of user. ended_s: when the answer was complete, since the epoch. latency_s: until the answer was
    complete. outcome: `OK`, the code of the service's error, `WRONG_TEXT`, or `NO_ANSWER` (with status 0). queue_s,
    inference_s, decode_s: as reported in the answer, if at all. retry_after_s: of a refusal. format: of the clip.
    sent_bytes: size of the request body.
    """

    kind: str
    clip: str
    audio_s: float
    ended_s: float
    latency_s: float
    status: int
    outcome: str
    queue_s: float | None = None
    inference_s: float | None = None
    retry_after_s: float | None = None
    decode_s: float | None = None
    format: str = "wav"
    sent_bytes: int = 0

    @property
    def ok(self) -> bool:
        """Whether the text is correct."""
        return self.outcome == OK

    @property
    def refused(self) -> bool:
        """Whether the service refused the request with 429, which does not count as a failure."""
        return self.status == TOO_MANY_REQUESTS

    @property
    def failed(self) -> bool:
        """Whether the request was neither answered correctly nor refused."""
        return not self.ok and not self.refused

    @classmethod
    def of(
        cls,
        kind: str,
        clip: Clip,
        ended_s: float,
        latency_s: float,
        status: int,
        headers: Mapping[str, str],
        body: bytes,
        expected: str | None = None,
    ) -> Self:
        """Evaluate an HTTP response. headers: with lower-case names. expected: the correct text; None accepts any."""
        content = _json_object(body)
        timings = content.get("timings") or {}
        retry_after = headers.get("retry-after", "")
        return cls(
            kind,
            clip.name,
            clip.duration_s,
            ended_s,
            latency_s,
            status,
            _outcome(status, content, expected),
            timings.get("queue"),
            timings.get("inference", content.get("inference_time")),
            min(float(retry_after), MAX_PAUSE_S) if retry_after.isdecimal() else None,
            timings.get("decode"),
            clip.format,
            len(clip.body),
        )


def _json_object(body: bytes) -> dict[str, Any]:
    try:
        content = json.loads(body)
    except ValueError:
        return {}
    return content if isinstance(content, dict) else {}


def _outcome(status: int, content: dict[str, Any], expected: str | None) -> str:
    if not status:
        return NO_ANSWER
    if status != 200:
        error = content.get("error")
        return str(error["code"]) if isinstance(error, dict) and "code" in error else f"status_{status}"
    text = content.get("text")
    if not isinstance(text, str) or (expected is not None and not same_text(expected, text)):
        return WRONG_TEXT
    return OK


def same_text(expected: str, text: str, least: float = MIN_SIMILARITY) -> bool:
    """Whether two texts can be transcripts of the same audio. least: minimum similarity."""
    return expected == text or similarity(expected, text) >= least


def similarity(expected: str, text: str) -> float:
    """Similarity of two texts, from 0 to 1: twice the matching letters over all letters (Ratcliff and Obershelp, 1988).

    For texts longer than twice `COMPARED_LETTERS`, it is the smallest of three: the similarity of the beginnings, that
    of the ends, and the ratio of the lengths.
    """
    if not expected or not text:
        return float(expected == text)
    if max(len(expected), len(text)) <= 2 * COMPARED_LETTERS:
        return SequenceMatcher(None, expected, text, autojunk=False).ratio()
    return min(
        min(len(expected), len(text)) / max(len(expected), len(text)),
        similarity(expected[:COMPARED_LETTERS], text[:COMPARED_LETTERS]),
        similarity(expected[-COMPARED_LETTERS:], text[-COMPARED_LETTERS:]),
    )


def similarity_to_reference(clip: Clip, text: str) -> float:
    """Similarity of a transcript to the reference text of a clip, both without punctuation and capitals."""
    normalize = TextNormalizer(language="tr")
    return similarity(normalize(clip.text or ""), normalize(text))


def upload_headers() -> dict[str, str]:
    """Headers of an upload. If the environment has API keys, they include the first one.

    Raises LoadError if the key cannot be sent in a header.
    """
    headers = {"Content-Type": CONTENT_TYPE}
    for key in entries(os.environ.get(API_KEY_VARIABLE, ""))[:1]:
        if not can_be_sent(key):
            raise LoadError(f"{API_KEY_VARIABLE} is blank, or has characters other than visible ASCII")
        headers["Authorization"] = f"Bearer {key}"
    return headers


def connect(url: str) -> HTTPConnection:
    """A connection to a service, with TLS for `https`. Raises LoadError if the URL is invalid."""
    kinds: dict[str, type[HTTPConnection]] = {"http": HTTPConnection, "https": HTTPSConnection}
    try:
        address = urlsplit(url)
        if address.scheme in kinds and address.hostname:
            return kinds[address.scheme](address.hostname, address.port, timeout=REFERENCE_TIMEOUT_S)
    except ValueError:  # an invalid port
        pass
    raise LoadError(f"{url!r} is not a valid URL, such as http://localhost:8000 or https://example.org/path")


@dataclass(frozen=True)
class References:
    """The transcripts of an idle service, which the answers under load must match.

    texts: name of a clip -> transcript. model, backend: as reported by the service; empty if it does not report them.
    """

    model: str
    texts: dict[str, str]
    backend: str = ""

    @property
    def served(self) -> str:
        """Model and backend, for the report."""
        return " on ".join(filter(None, (self.model, self.backend))) or "not reported by the service"

    @classmethod
    def ask(cls, url: str, clips: Iterable[Clip]) -> Self:
        """Transcribe all clips, one after the other.

        url: of the service, with its path prefix, if any. Raises LoadError if the service cannot be reached or refuses
        a clip, or if the bundled model makes too many errors in a clip that has a reference text.
        """
        headers, connection = upload_headers(), connect(url)
        path = f"{urlsplit(url).path.rstrip('/')}/transcribe"
        texts, model, backend = {}, "", ""
        try:
            for clip in clips:
                connection.request("POST", path, clip.body, headers)
                answer = connection.getresponse()
                content = _json_object(answer.read())
                if answer.status != 200 or not isinstance(content.get("text"), str):
                    hint = f"; set {API_KEY_VARIABLE} to an API key" if answer.status == UNAUTHORIZED else ""
                    raise LoadError(f"{clip.name}: the service answers {answer.status}: {content}{hint}")
                model, backend, texts[clip.name] = content.get("model", ""), content.get("backend", ""), content["text"]
                accuracy = similarity_to_reference(clip, texts[clip.name]) if clip.text else 1.0
                if model == BUNDLED_MODEL.name and accuracy < MIN_REFERENCE_SIMILARITY:
                    raise LoadError(f"{clip.name}: {texts[clip.name]!r} is only {accuracy:.0%} like the reference text")
        except (OSError, HTTPException) as error:
            raise LoadError(f"{url} cannot be reached: {error}") from error
        finally:
            connection.close()
        return cls(model, texts, backend)

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read the file that `save` wrote."""
        return cls(**json.loads(path.read_text(encoding="utf-8")))

    def save(self, path: Path) -> None:
        """Write as JSON."""
        path.write_text(json.dumps(asdict(self), ensure_ascii=False), encoding="utf-8")


@dataclass
class Tally:
    """All answers of a load test.

    spawned_s, stopped_s: when all users had started, and when they were stopped, in seconds since the epoch.
    """

    answers: list[Answer] = field(default_factory=list)
    spawned_s: float = 0.0
    stopped_s: float = 0.0

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read the file that `save` wrote."""
        content = json.loads(path.read_text(encoding="utf-8"))
        return cls([Answer(*row) for row in content.pop("answers")], **content)

    def save(self, path: Path) -> None:
        """Write as JSON."""
        rows = [astuple(answer) for answer in self.answers]
        content = {"answers": rows, "spawned_s": self.spawned_s, "stopped_s": self.stopped_s}
        path.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")
