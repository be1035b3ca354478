"""What Deepgram's API answers: messages of a live stream, and the body for a file."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from app import __version__
from app.live.events import Final, Partial, SpeechStarted, UtteranceEnd
from app.service import Service
from app.transcript import Segment, Transcript, Word, joined, mean_confidence

Told = SpeechStarted | Partial | Final | UtteranceEnd
"""The events of a live stream that Deepgram's clients are told of."""


def to_message(event: Told, channels: int, metadata: dict[str, Any], speech_final: bool) -> dict[str, Any]:
    """An event of a live stream as a message.

    Interim results say with `committed_words` how many of their first words later ones keep, unless the final differs.
    metadata: see `results_metadata`. speech_final: whether a pause that ends an utterance is told.
    """
    place = [event.channel, channels]
    match event:
        case SpeechStarted():
            return {"type": "SpeechStarted", "channel": place, "timestamp": rounded(event.time_s)}
        case UtteranceEnd():
            return {"type": "UtteranceEnd", "channel": place, "last_word_end": rounded(event.last_word_end_s)}
        case Partial() | Final():
            is_final = isinstance(event, Final)
            message = {
                "type": "Results",
                "channel_index": place,
                "duration": rounded(event.end_s - event.start_s),
                "start": rounded(event.start_s),
                "is_final": is_final,
                "speech_final": speech_final and isinstance(event, Final) and event.reason == "endpoint",
                "channel": {"alternatives": [alternative(event.text, event.words)]},
                "metadata": metadata,
                "from_finalize": isinstance(event, Final) and event.reason == "finalize",
            }
            if isinstance(event, Partial):  # an addition to Deepgram's message
                message["committed_words"] = len(event.committed)
            return message


def alternative(text: str, words: Sequence[Word]) -> dict[str, Any]:
    """The only hypothesis."""
    confidence = mean_confidence(tuple(words))
    return {
        "transcript": text,
        "confidence": 0.0 if confidence is None else round(confidence, 4),
        "words": [to_word(word) for word in words],
    }


def to_word(word: Word) -> dict[str, Any]:
    """A word with its times and its confidence."""
    return {
        "word": word.text,
        "start": rounded(word.start_s),
        "end": rounded(word.end_s),
        "confidence": round(word.confidence, 4),
        "punctuated_word": word.text,
    }


def model_uuid(service: Service) -> str:
    """An identifier of the model, always the same for the same name."""
    return str(uuid5(NAMESPACE_URL, f"dikte:{service.model_name}"))


def model_info(service: Service) -> dict[str, str]:
    """The model, as messages describe it."""
    return {"name": service.model_name, "version": __version__, "arch": service.backend}


def results_metadata(service: Service, request_id: str) -> dict[str, Any]:
    """What each message with results says of the model."""
    return {"request_id": request_id, "model_info": model_info(service), "model_uuid": model_uuid(service)}


def stream_metadata(
    service: Service, request_id: str, digest: str, created: datetime, duration_s: float, channels: int
) -> dict[str, Any]:
    """The last message of a stream, or the metadata of a file. digest: SHA-256 of the audio, in hexadecimal."""
    uuid = model_uuid(service)
    return {
        "transaction_key": "deprecated",
        "request_id": request_id,
        "sha256": digest,
        "created": created.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "duration": rounded(duration_s),
        "channels": channels,
        "models": [uuid],
        "model_info": {uuid: model_info(service)},
    }


def to_results(transcript: Transcript, channels: int, with_utterances: bool, language: str | None) -> dict[str, Any]:
    """The results for a file. channels: at least so many are listed. language: told as detected; None for none."""
    by_channel: dict[int, list[Segment]] = {number: [] for number in range(channels)}
    for segment in transcript.segments:
        by_channel.setdefault(segment.channel or 0, []).append(segment)
    results: dict[str, Any] = {
        "channels": [
            {"alternatives": [alternative(joined(segments), words_of(segments))]}
            | ({} if language is None else {"detected_language": language})
            for _, segments in sorted(by_channel.items())
        ]
    }
    if with_utterances:
        results["utterances"] = [to_utterance(number, segment) for number, segment in enumerate(transcript.segments)]
    return results


def to_utterance(number: int, segment: Segment) -> dict[str, Any]:
    """A segment as an utterance."""
    return {
        "start": rounded(segment.start_s),
        "end": rounded(segment.end_s),
        "confidence": round(segment.confidence, 4),
        "channel": segment.channel or 0,
        "transcript": segment.text,
        "words": [to_word(word) for word in segment.words],
        "speaker": segment.channel or 0,
        "id": str(uuid5(NAMESPACE_URL, f"{number}:{segment.start_s}:{segment.text}")),
    }


def words_of(segments: Iterable[Segment]) -> list[Word]:
    """The words of several segments."""
    return [word for segment in segments for word in segment.words]


def rounded(seconds: float) -> float:
    """Times as they are sent."""
    return round(seconds, 3)
