"""A `Transcript` in the JSON formats of OpenAI's audio API; all times are in seconds."""

import math
import zlib
from collections.abc import Sequence
from itertools import groupby
from typing import Any, Literal

from pydantic import BaseModel, Field

from app.languages import english_name
from app.transcript import MIN_CONFIDENCE, Segment, Transcript, Word

FRAMES_PER_S = 100
"""Of `seek`: openai/whisper counts frames of 10 ms."""
AUDIO_TOKENS_PER_S = 10
"""Of `usage`: OpenAI's audio models count a token for each 100 ms."""
ONLY_SPEAKER = "A"
"""Label of everybody where speakers are not known."""
TEXT_DELTA, TEXT_SEGMENT, TEXT_DONE = "transcript.text.delta", "transcript.text.segment", "transcript.text.done"
"""Types of events, which are their names too."""


class DurationUsage(BaseModel):
    """What was computed."""

    type: Literal["duration"]
    seconds: float


class TokenUsage(BaseModel):
    """What was computed, in tokens: ten for a second of audio, and those of the model, or words, for the text."""

    type: Literal["tokens"]
    input_tokens: int
    output_tokens: int
    total_tokens: int
    input_token_details: dict[str, int]


class LogprobBody(BaseModel):
    """A token, or a word of a CTC model, and its log-probability."""

    token: str
    bytes: list[int]
    logprob: float


class LanguageBody(BaseModel):
    """A detected language."""

    code: str


class TranscriptionBody(BaseModel):
    """The answer in the format `json`."""

    text: str
    usage: DurationUsage
    logprobs: list[LogprobBody] | None = Field(default=None, description="Only with `include[]=logprobs`.")
    languages: list[LanguageBody] | None = Field(default=None, description="Only from models of several languages.")


class SegmentBody(BaseModel):
    """A segment in the format `verbose_json`. What a CTC model has no value for is empty, or 0."""

    id: int
    seek: int
    start: float
    end: float
    text: str
    tokens: list[int]
    temperature: float
    avg_logprob: float
    compression_ratio: float
    no_speech_prob: float


class TimedWordBody(BaseModel):
    """A word in the format `verbose_json`."""

    word: str
    start: float
    end: float


class VerboseBody(BaseModel):
    """The answer in the format `verbose_json`."""

    task: Literal["transcribe", "translate"]
    language: str = Field(description="English name, such as `turkish`; `unknown` if the model does not tell.")
    duration: float
    text: str
    usage: DurationUsage
    segments: list[SegmentBody] | None = None
    words: list[TimedWordBody] | None = None


class DiarizedSegmentBody(BaseModel):
    """A segment in the format `diarized_json`."""

    type: Literal["transcript.text.segment"]
    id: str
    start: float
    end: float
    text: str
    speaker: str


class DiarizedBody(BaseModel):
    """The answer in the format `diarized_json`."""

    task: Literal["transcribe"]
    duration: float
    text: str
    segments: list[DiarizedSegmentBody]
    usage: DurationUsage


def to_transcription(transcript: Transcript, logprobs: bool) -> dict[str, Any]:
    """The format `json`."""
    body: dict[str, Any] = {"text": transcript.text, "usage": duration_usage(transcript)}
    if logprobs:
        body["logprobs"] = to_logprobs(transcript.segments)
    return body | languages_of(transcript)


def to_verbose(
    transcript: Transcript, task: str, language: str | None, with_segments: bool, with_words: bool
) -> dict[str, Any]:
    """The format `verbose_json`. language: ISO 639 code, for transcripts that have none."""
    body: dict[str, Any] = {
        "task": task,
        "language": english_name("en" if task == "translate" else transcript.language or language),
        "duration": round(transcript.duration_s, 3),
        "text": transcript.text,
        "usage": duration_usage(transcript),
    }
    if with_segments:
        body["segments"] = [to_segment(number, segment) for number, segment in enumerate(transcript.segments)]
    if with_words:
        body["words"] = [to_word(word) for word in transcript.words]
    return body


def to_segment(number: int, segment: Segment) -> dict[str, Any]:
    """A segment of `verbose_json`, with all the fields that clients expect."""
    decoding = segment.decoding
    text = spaced(segment)
    packed = text.encode()
    return {
        "id": number,
        "seek": round(segment.start_s * FRAMES_PER_S),
        "start": round(segment.start_s, 3),
        "end": round(segment.end_s, 3),
        "text": text,
        "tokens": [] if decoding is None else list(decoding.tokens),
        "temperature": 0.0 if decoding is None else decoding.temperature,
        "avg_logprob": round(log_of(segment.confidence) if decoding is None else decoding.average_log_probability, 6),
        "compression_ratio": round(
            len(packed) / len(zlib.compress(packed)) if decoding is None else decoding.compression_ratio, 6
        ),
        "no_speech_prob": 0.0 if decoding is None else round(decoding.no_speech_probability, 6),
    }


def to_word(word: Word) -> dict[str, Any]:
    """A word of `verbose_json`."""
    return {"word": word.text, "start": round(word.start_s, 3), "end": round(word.end_s, 3)}


def to_diarized(transcript: Transcript) -> dict[str, Any]:
    """The format `diarized_json`."""
    return {
        "task": "transcribe",
        "duration": round(transcript.duration_s, 3),
        "text": transcript.text,
        "segments": [to_diarized_segment(number, segment) for number, segment in enumerate(transcript.segments)],
        "usage": duration_usage(transcript),
    }


def to_diarized_segment(number: int, segment: Segment) -> dict[str, Any]:
    """A segment of `diarized_json`, also as an event of a stream."""
    return {
        "type": TEXT_SEGMENT,
        "id": segment_id(number),
        "start": round(segment.start_s, 3),
        "end": round(segment.end_s, 3),
        "text": spaced(segment),
        "speaker": segment.speaker or ONLY_SPEAKER,
    }


def to_delta(number: int, segment: Segment, logprobs: bool, diarized: bool) -> dict[str, Any]:
    """The event for a segment of a stream; the deltas add up to the text."""
    body: dict[str, Any] = {"type": TEXT_DELTA, "delta": segment.text if number == 0 else spaced(segment)}
    if logprobs:
        body["logprobs"] = to_logprobs([segment], continued=number > 0)
    if diarized:
        body["segment_id"] = segment_id(number)
    return body


def to_done(transcript: Transcript, logprobs: bool) -> dict[str, Any]:
    """The last event of a stream."""
    body: dict[str, Any] = {"type": TEXT_DONE, "text": transcript.text, "usage": token_usage(transcript)}
    if logprobs:
        body["logprobs"] = to_logprobs(transcript.segments)
    return body | languages_of(transcript)


def to_logprobs(segments: Sequence[Segment], continued: bool = False) -> list[dict[str, Any]]:
    """The tokens of a text with their log-probabilities or, from a model without such tokens, its words.

    The log-probability of a word is the sum over its letters. continued: whether there is text before.
    """
    pieces: list[tuple[bytes, float]] = []
    for decoding, group in groupby(segments, key=lambda segment: segment.decoding):
        if decoding is not None:
            pieces += decoding.pieces
            continue
        for part in (word for segment in group for word in segment.words or (segment,)):
            text = f" {part.text}" if part.space_before and (continued or pieces) else part.text
            pieces.append((text.encode(), len(part.text) * log_of(part.confidence)))
    return [
        {"token": piece.decode("utf-8", "replace"), "bytes": list(piece), "logprob": round(value, 6)}
        for piece, value in pieces
    ]


def languages_of(transcript: Transcript) -> dict[str, Any]:
    """The detected language, if the model has several."""
    return {} if transcript.language is None else {"languages": [{"code": transcript.language}]}


def duration_usage(transcript: Transcript) -> dict[str, Any]:
    """What was computed, in seconds of audio."""
    return {"type": "duration", "seconds": round(transcript.duration_s, 3)}


def token_usage(transcript: Transcript) -> dict[str, Any]:
    """What was computed, in tokens; see `TokenUsage`."""
    audio = math.ceil(transcript.duration_s * AUDIO_TOKENS_PER_S)
    written = len(to_logprobs(transcript.segments))
    return {
        "type": "tokens",
        "input_tokens": audio,
        "output_tokens": written,
        "total_tokens": audio + written,
        "input_token_details": {"audio_tokens": audio, "text_tokens": 0},
    }


def spaced(segment: Segment) -> str:
    """The text with the space before it, so that the texts of all segments add up."""
    return f" {segment.text}" if segment.space_before else segment.text


def segment_id(number: int) -> str:
    """The id of a segment in diarized answers."""
    return f"seg_{number}"


def log_of(confidence: float) -> float:
    """The logarithm of a confidence, which may be 0."""
    return math.log(max(confidence, MIN_CONFIDENCE))
