"""A `Transcript` in the output formats: JSON, plain text, SRT and WebVTT subtitles."""

import re
from html import escape
from itertools import groupby
from typing import Any

from app.subtitles import SubtitleStyle, subtitles
from app.transcript import Segment, Transcript, Word, joined

LINE_END = "\n"
WORD_JOINER = "\u2060"
"""Invisible, and of no width."""


def to_json(transcript: Transcript, model: str, backend: str, with_words: bool) -> dict[str, Any]:
    """The body of the response to `POST /transcribe`. All times are in seconds."""
    timings, confidence = transcript.timings, transcript.confidence
    body: dict[str, Any] = {
        "text": transcript.text,
        "inference_time": round(timings.inference_s, 4),
        "duration": round(transcript.duration_s, 3),
        "model": model,
        "backend": backend,
        "confidence": None if confidence is None else round(confidence, 4),
        "timings": {
            "decode": round(timings.decode_s, 4),
            "queue": round(timings.queue_s, 4),
            "inference": round(timings.inference_s, 4),
            "total": round(timings.total_s, 4),
        },
    }
    if transcript.language is not None:
        body["language"] = transcript.language
        if transcript.language_probability is not None:
            body["language_probability"] = round(transcript.language_probability, 4)
    if with_words:
        body["words"] = [to_word(word) for word in transcript.words]
    if transcript.has_speakers:
        body["segments"] = [to_segment(segment, with_words=False) for segment in transcript.segments]
    return body


def to_segment(segment: Segment, with_words: bool) -> dict[str, Any]:
    """A segment, also as an event of the streamed answer to `POST /transcribe`."""
    body = {"text": segment.text, **_span(segment)}
    if with_words:
        body["words"] = [to_word(word) for word in segment.words]
    return body


def to_word(word: Word) -> dict[str, Any]:
    """A word with its times and the model's confidence in it."""
    return {"word": word.text, **_span(word)}


def _span(part: Word | Segment) -> dict[str, Any]:
    """Start, end and confidence of a word or segment; channel and speaker where they are known."""
    span: dict[str, Any] = {
        "start": round(part.start_s, 3),
        "end": round(part.end_s, 3),
        "confidence": round(part.confidence, 4),
    }
    if part.channel is not None:
        span["channel"] = part.channel
    if part.speaker is not None:
        span["speaker"] = part.speaker
    return span


def to_text(transcript: Transcript) -> str:
    """The words and a line break; where speakers are known, a line for each turn, such as `A: hello`."""
    if not transcript.has_speakers:
        return transcript.text + "\n"
    turns = groupby(transcript.segments, key=lambda segment: segment.speaker)
    return "".join(f"{_label(speaker)}{joined(segments)}\n" for speaker, segments in turns)


def to_srt(transcript: Transcript, style: SubtitleStyle = SubtitleStyle()) -> str:
    """SubRip subtitles. What players would take for markup is broken up by an invisible character."""
    return "".join(
        f"{number}\n{_clock(subtitle.start_s, ',')} --> {_clock(subtitle.end_s, ',')}\n"
        f"{_without_markup(_label(subtitle.speaker) + LINE_END.join(subtitle.lines))}\n\n"
        for number, subtitle in enumerate(subtitles(transcript.segments, transcript.duration_s, style), start=1)
    )


def to_vtt(transcript: Transcript, style: SubtitleStyle = SubtitleStyle()) -> str:
    """WebVTT subtitles (W3C). `&`, `<` and `>` are escaped as in HTML, and speakers are voice tags."""
    return "WEBVTT\n\n" + "".join(
        f"{_clock(subtitle.start_s, '.')} --> {_clock(subtitle.end_s, '.')}\n"
        f"{_voice(subtitle.speaker)}{escape(LINE_END.join(subtitle.lines), quote=False)}\n\n"
        for subtitle in subtitles(transcript.segments, transcript.duration_s, style)
    )


def _label(speaker: str | None) -> str:
    return "" if speaker is None else f"{speaker}: "


def _voice(speaker: str | None) -> str:
    return "" if speaker is None else f"<v {escape(speaker, quote=False)}>"


def _without_markup(text: str) -> str:
    """Text whose tags (`<i>`), commands (`{\\an8}`) and arrows (`-->`) are no longer such in SubRip."""
    return re.sub(r"<(?=[A-Za-z/])|\{(?=\\)|--(?=>)", lambda found: found[0] + WORD_JOINER, text)


def _clock(seconds: float, point: str) -> str:
    """hh:mm:ss, then `point` and milliseconds."""
    milliseconds = round(seconds * 1000)
    minutes, rest = divmod(milliseconds, 60_000)
    return f"{minutes // 60:02d}:{minutes % 60:02d}:{rest // 1000:02d}{point}{rest % 1000:03d}"
