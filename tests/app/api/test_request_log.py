import logging
from typing import Any

import pytest
from fastapi import Request

from app.logs import request_id
from app.transcript import Timings
from tests.conftest import Client, ServiceFactory, assert_error
from tests.fakes import FakeRecognizer
from tests.sounds import speechlike, wav

TIMINGS = Timings(decode_s=0.001, queue_s=0.002, inference_s=0.03, total_s=0.04)


def lines(caplog: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    """The fields of what the access log said."""
    return [vars(record) for record in caplog.records if record.name == "dikte.access"]


@pytest.mark.parametrize("given", ["mine", "A.b_c-9", "x" * 128])
def test_the_clients_id_is_kept(client: Client, given: str) -> None:
    assert client.request("GET", "/livez", headers={"X-Request-ID": given}).headers["x-request-id"] == given


@pytest.mark.parametrize("given", ["", "x" * 129, "a b", 'a"b', "a\tb", "ışık", "../x", "a\x7f"])
def test_any_other_gets_a_new_one(client: Client, given: str) -> None:
    answers = [client.request("GET", "/livez", headers={"X-Request-ID": given.encode()}) for _ in range(2)]
    ids = {answer.headers["x-request-id"] for answer in answers}
    assert len(ids) == 2
    assert all(len(one) == 32 and int(one, 16) for one in ids)


def test_every_line_of_a_request_has_its_id(
    client: Client, engine: FakeRecognizer, caplog: pytest.LogCaptureFixture
) -> None:
    seen: list[tuple[str, str | None]] = []

    class Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            seen.append((record.name, request_id.get()))

    engine.failure = RuntimeError("secret")
    listener = Listener()
    logging.getLogger("dikte").addHandler(listener)
    try:
        sound = {"file": wav(speechlike(1))}
        answer = client.request("POST", "/transcribe", files=sound, headers={"X-Request-ID": "mine"})
    finally:
        logging.getLogger("dikte").removeHandler(listener)
    assert "mine" not in str(assert_error(answer, 500, "engine_failure"))
    assert seen == [("dikte", "mine"), ("dikte.access", "mine")]
    assert request_id.get() is None


def test_one_line_per_request_without_its_query(client: Client, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "dikte"):
        client.request(
            "GET", "/nothing%0A%1B[31m" + "x" * 1000, params={"key": "secret"}, headers={"X-Request-ID": "i"}
        )
    (line,) = lines(caplog)
    assert (line["method"], line["status"], line["outcome"]) == ("GET", 404, "not_found")
    assert line["path"].startswith("/nothing\n\x1b[31mxxx")
    assert len(line["path"]) == 200
    assert line["duration_ms"] >= 0
    assert "secret" not in str(line)


def test_a_transcription_says_where_its_time_went(serve: ServiceFactory, caplog: pytest.LogCaptureFixture) -> None:
    with serve() as client:

        async def transcribed(request: Request) -> None:
            request.state.timings, request.state.duration_s = TIMINGS, 6.8139

        client.app.add_api_route("/transcribed", transcribed)
        with caplog.at_level(logging.INFO, "dikte"):
            client.get("/transcribed")
    (line,) = lines(caplog)
    assert {name: line[name] for name in ("audio_s", "decode_s", "queue_s", "inference_s")} == {
        "audio_s": 6.814, "decode_s": 0.001, "queue_s": 0.002, "inference_s": 0.03
    }  # fmt: skip
    assert "6.8 s of audio: decode 0.001 s, queue 0.002 s, inference 0.030 s" in line["message"]


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/metrics"])
def test_probes_are_logged_for_debugging_only(client: Client, caplog: pytest.LogCaptureFixture, path: str) -> None:
    with caplog.at_level(logging.DEBUG, "dikte"):
        client.get(path)
    assert [line["levelno"] for line in lines(caplog)] == [logging.DEBUG]


def test_the_log_is_set_up_when_the_service_starts(serve: ServiceFactory, capsys: pytest.CaptureFixture[str]) -> None:
    with serve(log_format="text", log_level="warning") as client:
        client.get("/")
        logging.getLogger("dikte").warning("careful")
    assert capsys.readouterr().err.endswith("WARNING careful\n")
