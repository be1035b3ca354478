import json
from http.client import HTTPSConnection
from pathlib import Path
from typing import Any

import pytest

from scripts.load_testing.answers import (
    API_KEY_VARIABLE,
    NO_ANSWER,
    OK,
    WRONG_TEXT,
    Answer,
    LoadError,
    References,
    Tally,
    connect,
    same_text,
    similarity,
    upload_headers,
)
from scripts.load_testing.load_clips import Clip, short_clips
from tests.scripts.load_testing.deployed import KEY, deployed


@pytest.fixture(scope="module")
def clip() -> Clip:
    return short_clips("2")[0]


def answer_of(
    clip: Clip, status: int, body: Any, retry_after: str = "", expected: str | None = "merhaba dünya"
) -> Answer:
    headers = {"retry-after": retry_after} if retry_after else {}
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Answer.of("short", clip, 100.0, 0.5, status, headers, content, expected)


def test_the_right_text_is_ok_with_the_times_of_the_service(clip: Clip) -> None:
    timings = {"decode": 0.05, "queue": 0.1, "inference": 0.2}
    answer = answer_of(clip, 200, {"text": "merhaba dünya", "timings": timings})
    assert (answer.outcome, answer.audio_s, answer.queue_s, answer.inference_s) == (OK, 2.0, 0.1, 0.2)
    assert (answer.decode_s, answer.format, answer.sent_bytes) == (0.05, "wav", len(clip.body))
    assert answer.ok
    assert not answer.refused
    assert not answer.failed


@pytest.mark.parametrize("body", [{"text": "güle güle"}, {"text": ""}, {}, {"text": None}, [], b"no JSON"])
def test_a_wrong_text_is_a_failure_whatever_the_status(clip: Clip, body: Any) -> None:
    answer = answer_of(clip, 200, body)
    assert answer.outcome == WRONG_TEXT
    assert answer.failed


def test_without_a_reference_any_text_is_right(clip: Clip) -> None:
    assert answer_of(clip, 200, {"text": "güle güle"}, expected=None).ok
    assert answer_of(clip, 200, {}, expected=None).failed


def test_a_refusal_is_no_failure_and_says_when_to_come_back(clip: Clip) -> None:
    answer = answer_of(clip, 429, {"error": {"code": "overloaded", "message": "later"}}, retry_after="7")
    assert (answer.outcome, answer.retry_after_s) == ("overloaded", 7.0)
    assert answer.refused
    assert not answer.failed
    assert not answer.ok


@pytest.mark.parametrize(
    ("status", "body", "outcome"),
    [
        (503, {"error": {"code": "not_ready", "message": ""}}, "not_ready"),
        (504, {"error": {"code": "deadline_exceeded", "message": ""}}, "deadline_exceeded"),
        (502, b"<html>", "status_502"),
        (500, {"detail": "Internal Server Error"}, "status_500"),
        (0, b"", NO_ANSWER),
    ],
)
def test_every_other_answer_is_a_failure_with_a_name(clip: Clip, status: int, body: Any, outcome: str) -> None:
    answer = answer_of(clip, status, body)
    assert answer.outcome == outcome
    assert answer.failed


def test_pauses_after_refusals_are_bounded(clip: Clip) -> None:
    assert answer_of(clip, 429, {}, retry_after="86400").retry_after_s == 60.0
    assert answer_of(clip, 429, {}, retry_after="Wed, 21 Oct 2015 07:28:00 GMT").retry_after_s is None


def test_texts_of_the_same_audio_may_differ_by_a_letter() -> None:
    text = "bir üç genin iç açılarının toplamı"
    assert same_text(text, text)
    assert same_text(text, text.replace("ç", "c", 1))
    assert not same_text(text, text[:20])
    assert same_text("", "")
    assert not same_text("", "bir")
    assert not same_text("bir", "")


def test_of_long_texts_both_ends_and_the_length_count() -> None:
    text = "evet doğru " * 1_000
    assert similarity(text, text.replace("evet", "even", 1)) > 0.99
    assert similarity(text, text[: len(text) // 2]) == pytest.approx(0.5)
    assert similarity(text, "hayır " * 100 + text[600:]) < 0.9


def test_references_and_tally_come_back_from_their_files(tmp_path: Path, clip: Clip) -> None:
    references = References("tr-small", {"clip": "öğle"}, "onnx_int8")
    references.save(tmp_path / "references.json")
    assert References.load(tmp_path / "references.json") == references
    tally = Tally([answer_of(clip, 429, {}, retry_after="1")], 10.0, 20.0)
    tally.save(tmp_path / "tally.json")
    assert Tally.load(tmp_path / "tally.json") == tally


@pytest.mark.parametrize("end", ["", "/"])
def test_a_service_with_a_path_prefix_and_a_key_is_used(clip: Clip, end: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(API_KEY_VARIABLE, f"{KEY}, second")
    with deployed() as url:
        references = References.ask(f"{url}{end}", [clip])
    assert references == References("far-away", {clip.name: "evet doğru"}, "openvino")
    assert references.served == "far-away on openvino"


def test_without_a_key_the_message_names_the_variable(clip: Clip, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(API_KEY_VARIABLE, raising=False)
    with deployed() as url, pytest.raises(LoadError, match=f"answers 401: .*{API_KEY_VARIABLE}"):
        References.ask(url, [clip])


@pytest.mark.parametrize("key", [" ", "ağaç", "one\ntwo"])
def test_a_key_that_cannot_be_sent_is_refused_and_not_shown(key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(API_KEY_VARIABLE, key)
    with pytest.raises(LoadError, match=API_KEY_VARIABLE) as caught:
        upload_headers()
    assert key == " " or key not in str(caught.value)


def test_https_has_tls_and_a_port_of_its_own() -> None:
    connection = connect("https://example.org/asr")
    assert isinstance(connection, HTTPSConnection)
    assert connection.port == 443
    assert not isinstance(connect("http://example.org"), HTTPSConnection)


@pytest.mark.parametrize("url", ["", "localhost:8000", "http://", "ftp://example.org", "http://localhost:port"])
def test_an_invalid_url_is_refused(url: str) -> None:
    with pytest.raises(LoadError, match="is not a valid URL"):
        connect(url)


def test_a_service_that_does_not_report_its_model_can_be_tested_too() -> None:
    assert References("", {}).served == "not reported by the service"
    assert References("mine", {}).served == "mine"
