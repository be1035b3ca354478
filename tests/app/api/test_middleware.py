from collections.abc import Iterator

import pytest

from app.service import Service
from tests.conftest import Client, ServiceFactory, assert_error, assert_openai_error
from tests.sounds import speechlike, wav

PAGE = "https://example.org"
FILES = {"file": wav(speechlike(1))}
KEY = {"Authorization": "Bearer alpha"}


@pytest.fixture
def client(serve: ServiceFactory) -> Iterator[Client]:
    """The service with a key, open to two pages."""
    with serve(api_keys="alpha", cors_origins=f"{PAGE}, http://localhost:3000", max_queue_s=0.5) as client:
        yield client


@pytest.mark.parametrize("header", ["authorization", "x-request-timeout", "x-request-id", "content-type"])
def test_a_page_may_ask_without_a_key_what_it_may_send(client: Client, header: str) -> None:
    asked = {"Origin": PAGE, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": header}
    answer = client.request("OPTIONS", "/transcribe", headers=asked)
    assert answer.status_code == 200
    assert answer.headers["access-control-allow-origin"] == PAGE
    assert "POST" in answer.headers["access-control-allow-methods"]
    assert header in answer.headers["access-control-allow-headers"].lower()
    assert "access-control-allow-credentials" not in answer.headers


def test_a_page_may_read_answers_and_errors(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(service: Service) -> None:
        raise RuntimeError

    page = {"Origin": PAGE}
    answers = [
        client.post("/transcribe", files=FILES, headers=page | KEY),
        client.post("/transcribe", files=FILES, headers=page),
        client.request("GET", "/nothing", headers=page),
    ]
    with monkeypatch.context() as broken:
        broken.setattr(Service, "transcriber", property(fail))
        answers.append(client.post("/transcribe", files=FILES, headers=page | KEY))
    assert [answer.status_code for answer in answers] == [200, 401, 404, 500]
    for answer in answers:
        assert answer.headers["access-control-allow-origin"] == PAGE
        exposed = answer.headers["access-control-expose-headers"].lower().split(", ")
        assert {"x-request-id", "retry-after"} <= set(exposed)
        assert "x-request-id" in answer.headers


def test_other_pages_may_not(client: Client) -> None:
    elsewhere = {"Origin": "https://evil.example"}
    asked = elsewhere | {"Access-Control-Request-Method": "POST"}
    refused = client.request("OPTIONS", "/transcribe", headers=asked)
    assert "origin" in assert_error(refused, 400, "invalid_request")["message"]
    assert "Origin" in refused.headers["vary"]
    answer = client.post("/transcribe", files=FILES, headers=elsewhere | KEY)
    for one in (refused, answer):
        assert "access-control-allow-origin" not in one.headers


def test_without_the_setting_no_page_may(serve: ServiceFactory) -> None:
    with serve() as client:
        asked = {"Origin": PAGE, "Access-Control-Request-Method": "POST"}
        assert_error(client.request("OPTIONS", "/transcribe", headers=asked), 405, "method_not_allowed")
        answer = client.request("GET", "/livez", headers={"Origin": PAGE})
        assert not [name for name in answer.headers if name.startswith("access-control")]


@pytest.mark.parametrize(
    "header", ["x-stainless-lang", "X-Stainless-Retry-Count", "openai-organization", "OpenAI-Beta", "idempotency-key"]
)
def test_a_page_may_send_what_clients_of_openai_send(client: Client, header: str) -> None:
    asked = {"Origin": PAGE, "Access-Control-Request-Method": "POST"}
    asked["Access-Control-Request-Headers"] = f"authorization, {header}"
    answer = client.request("OPTIONS", "/v1/audio/transcriptions", headers=asked)
    assert answer.status_code == 200
    assert {"authorization", header.lower()} <= set(answer.headers["access-control-allow-headers"].lower().split(", "))


def test_a_page_may_not_send_anything(client: Client) -> None:
    asked = {"Origin": PAGE, "Access-Control-Request-Method": "POST"}
    asked["Access-Control-Request-Headers"] = "x-stainless-os, x-other"
    answer = client.request("OPTIONS", "/v1/audio/transcriptions", headers=asked)
    assert_openai_error(answer, 400, "invalid_request")
    assert answer.headers["access-control-allow-origin"] == PAGE


def test_a_page_may_read_what_was_ignored(client: Client) -> None:
    exposed = client.request("GET", "/livez", headers={"Origin": PAGE}).headers["access-control-expose-headers"]
    assert {"x-ignored-parameters", "x-should-retry", "openai-model"} <= set(exposed.lower().split(", "))
