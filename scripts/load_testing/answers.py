"""What became of a request under load: whether its answer is right, refused or wrong, and what it took."""

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict, astuple, dataclass, field
from difflib import SequenceMatcher
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

from app.settings import BUNDLED_MODEL, can_be_sent, entries
from scripts.load_testing.load_clips import CONTENT_TYPE, Clip
from scripts.speech.text import TextNormalizer

OK, WRONG_TEXT, NO_ANSWER = "ok", "wrong_text", "no_answer"
UNAUTHORIZED, TOO_MANY_REQUESTS = 401, 429
API_KEY_VARIABLE = "DIKTE_API_KEY"
"""From the environment, as a command line is seen by everybody on the machine and stands in the reports."""
LEAST_ALIKE = 0.9
"""Likeness of two texts of the same sound. One thread or two add in another order, and INT8 rounds on from there."""
LEAST_TRUE = 0.8
"""Likeness of what the bundled model says to what is said: it makes errors, but not many in its own samples."""
COMPARED_LETTERS = 500
"""Of longer texts so many letters from each end are compared: the comparison takes quadratic time."""
REFERENCE_TIMEOUT_S = 600.0
MAX_PAUSE_S = 60.0


class LoadError(Exception):
    """The service cannot be tested; the message says why."""


@dataclass(frozen=True)
class Answer:
    """One request. Times in seconds; `ended_s` since the epoch, `latency_s` until the whole answer was there.

    kind: of user. outcome: `OK`, the code of the service's error, `WRONG_TEXT`, or `NO_ANSWER` (status 0).
    queue_s, inference_s, decode_s: as the answer says itself, where it does. retry_after_s: of a refusal. format: of
    the clip. sent_bytes: of its request's body.
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
        """The right text came back."""
        return self.outcome == OK

    @property
    def refused(self) -> bool:
        """Turned away at the door; no failure."""
        return self.status == TOO_MANY_REQUESTS

    @property
    def failed(self) -> bool:
        """Neither answered nor refused."""
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
        """Judge an answer. headers: names in lower case. expected: the text; None: any text is right."""
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


def same_text(expected: str, text: str, least: float = LEAST_ALIKE) -> bool:
    """Whether two texts are of the same sound: equal or nearly so."""
    return expected == text or likeness(expected, text) >= least


def likeness(expected: str, text: str) -> float:
    """1 for equal texts, 0 for texts that share no letter: twice the matching letters over all letters (Ratcliff).

    Of texts longer than twice `COMPARED_LETTERS` the less alike of both ends counts, and how much their lengths differ.
    """
    if not expected or not text:
        return float(expected == text)
    if max(len(expected), len(text)) <= 2 * COMPARED_LETTERS:
        return SequenceMatcher(None, expected, text, autojunk=False).ratio()
    return min(
        min(len(expected), len(text)) / max(len(expected), len(text)),
        likeness(expected[:COMPARED_LETTERS], text[:COMPARED_LETTERS]),
        likeness(expected[-COMPARED_LETTERS:], text[-COMPARED_LETTERS:]),
    )


def likeness_to_truth(clip: Clip, text: str) -> float:
    """Likeness of a transcript to what is said in the clip, both without punctuation and capitals."""
    normalize = TextNormalizer(language="tr")
    return likeness(normalize(clip.text or ""), normalize(text))


def upload_headers() -> dict[str, str]:
    """Headers of an upload, with the API key of the environment if there is one; of several, with the first.

    Raises LoadError if that cannot be sent.
    """
    headers = {"Content-Type": CONTENT_TYPE}
    for key in entries(os.environ.get(API_KEY_VARIABLE, ""))[:1]:
        if not can_be_sent(key):
            raise LoadError(f"{API_KEY_VARIABLE} is blank, or has characters other than visible ASCII")
        headers["Authorization"] = f"Bearer {key}"
    return headers


def connect(url: str) -> HTTPConnection:
    """A connection to a service, with TLS if its address says so. Raises LoadError if it is no address."""
    kinds: dict[str, type[HTTPConnection]] = {"http": HTTPConnection, "https": HTTPSConnection}
    try:
        address = urlsplit(url)
        if address.scheme in kinds and address.hostname:
            return kinds[address.scheme](address.hostname, address.port, timeout=REFERENCE_TIMEOUT_S)
    except ValueError:  # a port that is none
        pass
    raise LoadError(f"{url!r} is no address: write http://localhost:8000 or https://example.org/path")


@dataclass(frozen=True)
class References:
    """What a service says of each clip in an idle moment: what it has to say under load too. texts: name -> text.

    model, backend: what it says that it serves; empty where it does not.
    """

    model: str
    texts: dict[str, str]
    backend: str = ""

    @property
    def served(self) -> str:
        """Model and backend, for the report."""
        return " on ".join(filter(None, (self.model, self.backend))) or "not told by the service"

    @classmethod
    def ask(cls, url: str, clips: Iterable[Clip]) -> Self:
        """Have each clip transcribed, one after the other.

        url: of the service, with the path below which it answers, if any. Raises LoadError when a clip is refused, the
        service cannot be reached, or the bundled model does not say what is said in the whole samples.
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
                    hint = f"; a key is taken from {API_KEY_VARIABLE}" if answer.status == UNAUTHORIZED else ""
                    raise LoadError(f"{clip.name}: the service answers {answer.status}: {content}{hint}")
                model, backend, texts[clip.name] = content.get("model", ""), content.get("backend", ""), content["text"]
                truth = likeness_to_truth(clip, texts[clip.name]) if clip.text else 1.0
                if model == BUNDLED_MODEL.name and truth < LEAST_TRUE:
                    raise LoadError(f"{clip.name}: only {truth:.0%} of {texts[clip.name]!r} is what is said there")
        except (OSError, HTTPException) as error:
            raise LoadError(f"{url} cannot be reached: {error}") from error
        finally:
            connection.close()
        return cls(model, texts, backend)

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read what `save` wrote."""
        return cls(**json.loads(path.read_text(encoding="utf-8")))

    def save(self, path: Path) -> None:
        """Write as JSON."""
        path.write_text(json.dumps(asdict(self), ensure_ascii=False), encoding="utf-8")


@dataclass
class Tally:
    """All answers of a load test, and when (seconds since the epoch) all its users were there, and were stopped."""

    answers: list[Answer] = field(default_factory=list)
    spawned_s: float = 0.0
    stopped_s: float = 0.0

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read what `save` wrote."""
        content = json.loads(path.read_text(encoding="utf-8"))
        return cls([Answer(*row) for row in content.pop("answers")], **content)

    def save(self, path: Path) -> None:
        """Write as JSON."""
        rows = [astuple(answer) for answer in self.answers]
        content = {"answers": rows, "spawned_s": self.spawned_s, "stopped_s": self.stopped_s}
        path.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")
