"""A `Transcript` as the text that leaves: json, plain text, SRT and WebVTT subtitles."""

from collections.abc import Iterator
from html import escape
from typing import Any

from app.transcript import Segment, Transcript, Word

MAX_SEGMENT_S = 7.0
MAX_SEGMENT_CHARACTERS = 84
"""Two lines of 42 characters, as players break them, and 7 s: the usual limits of subtitles (Netflix Timed Text Style
Guide)."""
PAUSE_S = 0.8
"""Silence after which a new segment begins."""


def segments_of(words: tuple[Word, ...]) -> tuple[Segment, ...]:
    """Words grouped to segments: a new one at a pause, or where the segment would be too long to read."""
    return tuple(_segments(words))


def _segments(words: tuple[Word, ...]) -> Iterator[Segment]:
    current: list[Word] = []
    characters = 0
    for word in words:
        if current and (
            word.start_s - current[-1].end_s > PAUSE_S
            or word.end_s - current[0].start_s > MAX_SEGMENT_S
            or characters + len(word.text) > MAX_SEGMENT_CHARACTERS
        ):
            yield Segment(tuple(current))
            current, characters = [], 0
        current.append(word)
        characters += len(word.text) + 1  # and a space
    if current:
        yield Segment(tuple(current))


def to_json(transcript: Transcript, model: str, backend: str, with_words: bool) -> dict[str, Any]:
    """The body of `POST /transcribe`. All times are in seconds."""
    timings = transcript.timings
    body: dict[str, Any] = {
        "text": transcript.text,
        "inference_time": round(timings.inference_s, 4),
        "duration": round(transcript.duration_s, 3),
        "model": model,
        "backend": backend,
        "confidence": None if transcript.confidence is None else round(transcript.confidence, 4),
        "timings": {
            "decode": round(timings.decode_s, 4),
            "queue": round(timings.queue_s, 4),
            "inference": round(timings.inference_s, 4),
            "total": round(timings.total_s, 4),
        },
    }
    if with_words:
        body["words"] = [
            {
                "word": word.text,
                "start": round(word.start_s, 3),
                "end": round(word.end_s, 3),
                "confidence": round(word.confidence, 4),
            }
            for word in transcript.words
        ]
    return body


def to_text(transcript: Transcript) -> str:
    """The words and a line break."""
    return transcript.text + "\n"


def to_srt(transcript: Transcript) -> str:
    """SubRip subtitles."""
    return "".join(
        f"{number}\n{_clock(segment.start_s, ',')} --> {_clock(segment.end_s, ',')}\n{segment.text}\n\n"
        for number, segment in enumerate(segments_of(transcript.words), start=1)
    )


def to_vtt(transcript: Transcript) -> str:
    """WebVTT subtitles (W3C), in whose text `&`, `<` and `>` are written as in HTML."""
    return "WEBVTT\n\n" + "".join(
        f"{_clock(segment.start_s, '.')} --> {_clock(segment.end_s, '.')}\n{escape(segment.text, quote=False)}\n\n"
        for segment in segments_of(transcript.words)
    )


def _clock(seconds: float, point: str) -> str:
    """hh:mm:ss and milliseconds after `point`."""
    milliseconds = round(seconds * 1000)
    minutes, rest = divmod(milliseconds, 60_000)
    return f"{minutes // 60:02d}:{minutes % 60:02d}:{rest // 1000:02d}{point}{rest % 1000:03d}"
