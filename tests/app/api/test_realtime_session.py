"""Which configuration is in effect after an update."""

from types import SimpleNamespace
from typing import Any, cast

import pytest

from app.api.realtime_session import LOGPROBS, first_session, to_body, updated
from app.errors import InvalidParameter, ModelNotFound, UnsupportedValue
from app.live.incoming import RawAudio
from app.service import Service
from app.settings import Settings
from tests.fakes import FakeRecognizer


def service(**settings: Any) -> Service:
    transcriber = SimpleNamespace(lanes=SimpleNamespace(express=FakeRecognizer()))
    made = Settings(_env_file=None, **settings)
    return cast(Service, SimpleNamespace(settings=made, transcriber=transcriber, language="tr", model_name="fake"))


def change(given: dict[str, Any], **settings: Any) -> Any:
    known = service(**settings)
    return updated(first_session(known), given, known)


def audio_input(**given: Any) -> dict[str, Any]:
    return {"type": "transcription", "audio": {"input": given}}


FORMATS = [
    (audio_input(format={"type": "audio/pcm", "rate": 24_000}), RawAudio("s16le", 24_000)),
    (audio_input(format={"type": "audio/pcm"}), RawAudio("s16le", 24_000)),
    (audio_input(format={"type": "audio/pcm", "rate": 16_000}), RawAudio("s16le", 16_000)),
    (audio_input(format={"type": "audio/pcmu"}), RawAudio("mulaw", 8000)),
    (audio_input(format={"type": "audio/pcma"}), RawAudio("alaw", 8000)),
    ({"input_audio_format": "g711_ulaw"}, RawAudio("mulaw", 8000)),
    ({"input_audio_format": "pcm16"}, RawAudio("s16le", 24_000)),
]


@pytest.mark.parametrize(("given", "audio"), FORMATS)
def test_formats(given: dict[str, Any], audio: RawAudio) -> None:
    assert change(given).audio == audio


def test_turn_detection() -> None:
    known = service(live_endpointing_s=0.4)
    session = updated(first_session(known), audio_input(turn_detection=None), known)
    assert session.silence_s is None
    assert updated(session, audio_input(format={"type": "audio/pcmu"}), known).silence_s is None
    detection = {"type": "server_vad", "silence_duration_ms": 900, "threshold": 0.9}
    assert updated(session, {"turn_detection": detection}, known).silence_s == 0.9
    assert updated(session, {"turn_detection": detection | {"silence_duration_ms": 100}}, known).silence_s == 0.4


def test_what_is_told_is_what_is_in_effect() -> None:
    known = service()
    given = audio_input(transcription={"model": "gpt-4o-transcribe", "language": "en"})
    body = to_body(updated(first_session(known), given | {"include": [LOGPROBS]}, known), known, beta=False)
    assert body["audio"]["input"]["transcription"] == {"model": "fake", "prompt": "", "language": "tr"}
    assert body["include"] == [LOGPROBS]
    old = to_body(first_session(known), known, beta=True)
    assert (old["input_audio_format"], old["turn_detection"]["silence_duration_ms"]) == ("pcm16", 500)


def test_keywords_replace_those_of_earlier_updates() -> None:
    known = service(keywords="kitte")
    session = updated(first_session(known), audio_input(transcription={"keywords": ["dikte", "Ket:2"]}), known)
    assert [keyword.text for keyword in session.recognition.keywords] == ["kitte", "dikte", "Ket"]
    session = updated(session, audio_input(transcription={"keywords": ["ekti"]}), known)
    assert [keyword.text for keyword in session.recognition.keywords] == ["kitte", "ekti"]
    session = updated(session, audio_input(turn_detection=None), known)
    told = to_body(session, known, beta=False)["audio"]["input"]["transcription"]
    assert told["keywords"] == ["kitte", "ekti"]


WRONG: list[Any] = [
    None,
    [],
    {"type": "realtime"},
    audio_input(format={"type": "audio/opus"}),
    audio_input(format={"type": "audio/pcm", "rate": 1}),
    audio_input(turn_detection={"type": "server_vad", "silence_duration_ms": -1}),
    audio_input(transcription={"language": "???"}),
    audio_input(transcription={"keywords": "fatura"}),
    audio_input(transcription={"keywords": ["!"]}),
    audio_input(transcription={"keywords": ["Zeynep"]}),
    {"input_audio_format": "mp3"},
    {"audio": {"input": []}},
]


@pytest.mark.parametrize("given", WRONG)
def test_what_is_wrong_is_named(given: Any) -> None:
    with pytest.raises(InvalidParameter) as error:
        change(given)
    assert error.value.details["field"].startswith("session")


@pytest.mark.parametrize(
    "given",
    [
        audio_input(noise_reduction={"type": "near_field"}),
        audio_input(transcription={"language": "en"}),
        audio_input(turn_detection={"type": "semantic_vad"}),
        {"type": "transcription", "instructions": "be brief"},
    ],
)
def test_strictly_it_is_refused_what_has_no_effect(given: Any) -> None:
    change(given)
    with pytest.raises(UnsupportedValue):
        change(given, strict=True)


def test_strictly_the_model_has_one_name() -> None:
    change(audio_input(transcription={"model": "fake", "language": "tr"}), strict=True)
    with pytest.raises(ModelNotFound):
        change(audio_input(transcription={"model": "whisper-1"}), strict=True)
