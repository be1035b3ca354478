"""The service on a tiny Whisper model: its words are random, but all the rest is as with a real one."""

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import httpx
import numpy as np
import pytest
import soundfile
import srt

from app.service import load_model
from scripts.common import SAMPLES
from tests.app.families.test_families import ready
from tests.conftest import Client, ServiceFactory, assert_error
from tests.sounds import MODEL_HZ, wav
from tests.whisper_checkpoints import LANGUAGES, whisper_artifact

NO_CHECKS = {"compression_ratio_threshold": "1000", "logprob_threshold": "-1000", "no_speech_threshold": "1"}
"""With them, random text is answered as it is, without second tries."""


@pytest.fixture
def client(serve: ServiceFactory, checkpoints: Path) -> Iterator[Client]:
    folder = str(whisper_artifact(checkpoints))
    with serve(load=load_model, ready=False, model_dir=folder, backend="onnx_int8", allow_unproven=True) as client:
        ready(client)
        yield client


@pytest.fixture(scope="module")
def speech() -> bytes:
    return (SAMPLES / "sample.wav").read_bytes()


@pytest.fixture(scope="module")
def two_voices() -> bytes:
    """Two sentences with a minute of silence between them."""
    first, second = (soundfile.read(SAMPLES / name, dtype="float32") for name in ("sample.wav", "lesson.wav"))
    parts = []
    for samples, rate_hz in (first, second):
        assert rate_hz == MODEL_HZ
        parts += [samples, np.zeros(60 * MODEL_HZ, np.float32)]
    return wav(np.concatenate(parts))


def test_speech_is_answered_with_its_language(client: Client, speech: bytes) -> None:
    body = client.post("/transcribe", files={"file": speech}, data=NO_CHECKS).json()
    assert body["text"]
    assert body["language"] in LANGUAGES
    assert 0 < body["language_probability"] <= 1
    assert 0 < body["confidence"] <= 1
    named = client.post("/transcribe", files={"file": speech}, data=NO_CHECKS | {"language": "tr-TR"}).json()
    assert named["language"] == "tr"
    assert "language_probability" not in named
    assert named == client.post("/transcribe", files={"file": speech}, data=NO_CHECKS | {"language": "TR"}).json() | {
        name: named[name] for name in ("inference_time", "timings")
    }


def test_options_change_the_text(client: Client, speech: bytes) -> None:
    def text(**options: str) -> str:
        data = NO_CHECKS | {"language": "tr"} | options
        return str(client.post("/transcribe", files={"file": speech}, data=data).json()["text"])

    assert text() == text()
    others = [text(prompt="Dikte"), text(temperature="1"), text(language="de"), text(task="translate")]
    assert all(other != text() for other in others)
    assert text(temperature="1") == text(temperature="1"), "samples are drawn from the same seed"


def test_keywords_change_the_text_and_must_fit(client: Client, speech: bytes) -> None:
    def answer(**fields: str) -> httpx.Response:
        return client.post("/transcribe", files={"file": speech}, data=NO_CHECKS | {"language": "tr"} | fields)

    assert answer(keywords="Kadıköy, Ayşe Tütüncü").json()["text"] != answer().json()["text"]
    error = assert_error(answer(keywords=",".join(map(str, range(1000, 1200)))), 422, "invalid_parameter")
    assert error["field"] == "keywords"
    assert error["tokens"] > error["max_tokens"] == 223


def test_words_and_subtitles_lie_where_somebody_speaks(client: Client, two_voices: bytes) -> None:
    data = NO_CHECKS | {"language": "tr"}
    words = client.post("/transcribe", files={"file": two_voices}, data=data | {"timestamps": "word"}).json()["words"]
    times = [time_s for word in words for time_s in (word["start"], word["end"])]
    assert times == sorted(times)
    assert all(time_s < 7 or 66 < time_s < 76 for time_s in times)
    text = client.post("/transcribe", files={"file": two_voices}, data=data | {"response_format": "srt"}).text
    subtitles = list(srt.parse(text))
    assert len(subtitles) > 1
    assert all(one.end <= other.start for one, other in pairwise(subtitles))


@pytest.mark.parametrize("sound", ["silence", "noise", "tone"])
def test_what_is_no_speech_has_no_text(client: Client, sound: str) -> None:
    time_s = np.arange(5 * MODEL_HZ) / MODEL_HZ
    samples = {
        "silence": np.zeros_like(time_s),
        "noise": np.random.default_rng(0).normal(0, 0.1, len(time_s)),
        "tone": 0.2 * np.sin(2 * np.pi * 440 * time_s) + 0.2 * np.sin(2 * np.pi * 350 * time_s),
    }[sound]
    body = client.post("/transcribe", files={"file": wav(samples.astype(np.float32))}).json()
    assert (body["text"], body["confidence"], body["inference_time"]) == ("", None, 0)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("language", "fi", "does not know the language"),
        ("language", "x", "language"),
        ("temperature", "2", "temperature"),
        ("beam_size", "99", "beam_size"),
        ("task", "sing", "task"),
        ("prompt", "x" * 3000, "prompt"),
    ],
)
def test_what_the_model_cannot_do_is_refused(
    client: Client, speech: bytes, field: str, value: str, message: str
) -> None:
    answer = client.post("/transcribe", files={"file": speech}, data={field: value})
    assert message in assert_error(answer, 422, "invalid_parameter")["message"]


def test_a_language_in_the_settings_that_the_model_lacks_is_a_reason_not_to_be_ready(
    serve: ServiceFactory, checkpoints: Path
) -> None:
    settings = {"model_dir": str(whisper_artifact(checkpoints)), "backend": "onnx_int8", "allow_unproven": True}
    with serve(load=load_model, ready=False, language="fi", **settings) as client:
        while "being loaded" in (answer := client.get("/readyz")).text:
            pass
        assert "ASR_LANGUAGE" in assert_error(answer, 503, "not_ready")["message"]
