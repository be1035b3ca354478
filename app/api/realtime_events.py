"""The events that OpenAI's Realtime API sends, and the items that they are about."""

from collections.abc import Sequence
from typing import Any
from uuid import uuid4

from app.api.error_shapes import error_body
from app.api.openai_bodies import to_logprobs
from app.api.paths import REALTIME
from app.errors import AsrError
from app.live.events import Final
from app.transcript import Segment, Spaced, Word, joined

TRANSCRIPTION = "conversation.item.input_audio_transcription"


class Item:
    """What somebody said: one utterance, or several parts of one that got too long for the model.

    error: what went wrong with a part of it; then it has no text.

    Deltas are only ever added to: they have committed words, and of a final what goes on from there. Where a final
    contradicts committed words, there is no further delta for it; the transcript of `completed` is right.
    """

    def __init__(self) -> None:
        self.id = f"item_{uuid4().hex}"
        self.segments: list[Segment] = []
        self.error: AsrError | None = None
        self.duration_s = 0.0
        self._sent = ""  # of the part that is running

    @property
    def transcript(self) -> str:
        """The finished parts as a text."""
        return joined(self.segments)

    def grow(self, words: Sequence[Word]) -> str:
        """Take the committed words of the running part. Returns the text to add; empty for none."""
        return self._rest(self._text(words))

    def add(self, final: Final) -> str:
        """Take a finished part. Returns the text to add; empty for none."""
        rest = self._rest(self._text(final.segments))
        self.segments += final.segments
        self.duration_s += final.end_s - final.start_s
        self._sent = ""
        return rest

    def _text(self, parts: Sequence[Spaced]) -> str:
        text = "".join((" " if part.space_before else "") + part.text for part in parts)
        return text if self.segments else text.lstrip(" ")

    def _rest(self, text: str) -> str:
        if not text.startswith(self._sent):
            return ""
        rest, self._sent = text[len(self._sent) :], text
        return rest


def to_event(kind: str, **fields: Any) -> dict[str, Any]:
    """An event of the service."""
    return {"type": kind, "event_id": f"event_{uuid4().hex}", **fields}


def to_item(item: Item) -> dict[str, Any]:
    """An item of the conversation, whose text comes later."""
    return {
        "id": item.id,
        "object": "realtime.item",
        "type": "message",
        "status": "completed",
        "role": "user",
        "content": [{"type": "input_audio", "transcript": None}],
    }


def to_delta(item: Item, delta: str) -> dict[str, Any]:
    """More text of an item."""
    return to_event(f"{TRANSCRIPTION}.delta", item_id=item.id, content_index=0, delta=delta)


def to_completed(item: Item, logprobs: bool) -> dict[str, Any]:
    """The whole text of an item."""
    event = to_event(
        f"{TRANSCRIPTION}.completed",
        item_id=item.id,
        content_index=0,
        transcript=item.transcript,
        usage={"type": "duration", "seconds": round(item.duration_s, 3)},
    )
    languages = dict.fromkeys(part.decoding.language for part in item.segments if part.decoding)
    if codes := [code for code in languages if code]:
        event["languages"] = [{"code": code} for code in codes]
    if logprobs:
        event["logprobs"] = to_logprobs(item.segments)
    return event


def to_failed(item: Item, error: AsrError) -> dict[str, Any]:
    """There is no text of an item, because of this error."""
    return to_event(f"{TRANSCRIPTION}.failed", item_id=item.id, content_index=0, error=problem(error))


def to_error(error: AsrError, cause: str | None = None) -> dict[str, Any]:
    """An error. cause: `event_id` of the client's event that it is about."""
    return to_event("error", error={**problem(error), "event_id": cause})


def problem(error: AsrError) -> dict[str, Any]:
    """An error in OpenAI's shape."""
    found: dict[str, Any] = error_body(error.code, error.message, error.details, error.status, REALTIME)["error"]
    return found
