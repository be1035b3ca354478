"""A `Transcript` in the output formats: JSON, plain text, SRT and WebVTT subtitles."""

from html import escape
from itertools import groupby
from typing import Any

from app.transcript import Segment, Transcript, Word, joined


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
        body["words"] = [{"word": word.text, **_span(word)} for word in transcript.words]
    if transcript.has_speakers:
        body["segments"] = [{"text": segment.text, **_span(segment)} for segment in transcript.segments]
    return body


def _span(part: Word | Segment) -> dict[str, Any]:
    """Start, end and confidence of a word or segment; channel and speaker where they are known."""
    span: dict[str, Any] = {
        "start": round(part.start_s, 3),
        "end": round(part.end_s, 3),
        "confidence": round(part.confidence, 4),
    }
    if part.speaker is not None:
        span |= {"channel": part.channel, "speaker": part.speaker}
    return span


def to_text(transcript: Transcript) -> str:
    """The words and a line break; where speakers are known, a line for each turn, such as `A: hello`."""
    if not transcript.has_speakers:
        return transcript.text + "\n"
    turns = groupby(transcript.segments, key=lambda segment: segment.speaker)
    return "".join(f"{_label(speaker)}{joined(tuple(segments))}\n" for speaker, segments in turns)


def to_srt(transcript: Transcript) -> str:
    """SubRip subtitles; speakers are named before the text."""
    return "".join(
        f"{number}\n{_clock(segment.start_s, ',')} --> {_clock(segment.end_s, ',')}\n"
        f"{_label(segment.speaker)}{segment.text}\n\n"
        for number, segment in enumerate(transcript.segments, start=1)
    )


def to_vtt(transcript: Transcript) -> str:
    """WebVTT subtitles (W3C). `&`, `<` and `>` are escaped as in HTML. Speakers are in voice spans."""
    return "WEBVTT\n\n" + "".join(
        f"{_clock(segment.start_s, '.')} --> {_clock(segment.end_s, '.')}\n"
        f"{_voice(segment.speaker)}{escape(segment.text, quote=False)}\n\n"
        for segment in transcript.segments
    )


def _label(speaker: str | None) -> str:
    return "" if speaker is None else f"{speaker}: "


def _voice(speaker: str | None) -> str:
    return "" if speaker is None else f"<v {escape(speaker, quote=False)}>"


def _clock(seconds: float, point: str) -> str:
    """hh:mm:ss, then `point` and milliseconds."""
    milliseconds = round(seconds * 1000)
    minutes, rest = divmod(milliseconds, 60_000)
    return f"{minutes // 60:02d}:{minutes % 60:02d}:{rest // 1000:02d}{point}{rest % 1000:03d}"
