import logging
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from fastapi.responses import StreamingResponse

from app.api.error_shapes import ERROR_SCHEMA
from app.api.paths import TRANSCRIBE
from app.api.realtime import EmptyBuffer
from app.errors import AsrError, ForeignOrigin, ModelNotFound, Overloaded, UnsupportedValue
from app.service import Service
from tests.conftest import Client, assert_conforms, assert_error, error_tree
from tests.fakes import FakeRecognizer
from tests.sounds import speechlike, wav

ELSEWHERE = {ModelNotFound, UnsupportedValue, ForeignOrigin, EmptyBuffer}


@pytest.mark.parametrize("error", error_tree(), ids=lambda error: error.code)
def test_every_error_is_answered_in_the_one_shape(
    client: Client, monkeypatch: pytest.MonkeyPatch, error: type[AsrError]
) -> None:
    def fail(service: Service) -> None:
        raise error("for this reason", limit=3)

    monkeypatch.setattr(Service, "transcriber", property(fail))
    answer = client.post("/transcribe")
    assert assert_error(answer, error.status, error.code) == {
        "code": error.code, "message": "for this reason", "limit": 3
    }  # fmt: skip
    assert_conforms(answer.json(), ERROR_SCHEMA, {})
    assert answer.headers.get("retry-after") == (str(error.retry_after_s) if error.retry_after_s else None)


def test_codes_are_stable_names_of_one_cause_each() -> None:
    codes = [error.code for error in error_tree()]
    assert len(codes) == len(set(codes))
    assert AsrError.code not in codes
    assert all(400 <= error.status < 600 and error.__doc__ for error in error_tree())


@pytest.mark.parametrize(
    "error", [error for error in error_tree() if error not in ELSEWHERE], ids=lambda error: error.code
)
def test_openapi_lists_every_error(client: Client, error: type[AsrError]) -> None:
    responses = client.get("/openapi.json").json()["paths"]["/transcribe"]["post"]["responses"]
    response = responses[str(error.status)]
    assert f"`{error.code}`" in response["description"]
    documented = response["content"]["application/json"]
    assert_conforms(documented["examples"][error.code]["value"], documented["schema"], {})
    assert documented["examples"][error.code]["value"]["error"]["code"] == error.code


def test_openapi_names_no_error_shape_but_ours(client: Client) -> None:
    description = client.get("/openapi.json").json()
    assert "HTTPValidationError" not in str(description)


def test_a_bug_is_answered_without_a_word_of_the_inside(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(service: Service) -> None:
        raise RuntimeError("secret")

    with monkeypatch.context() as broken:
        broken.setattr(Service, "transcriber", property(fail))
        answer = client.post("/transcribe", files={"file": wav(speechlike(1))})
    assert_error(answer, 500, "internal_error")
    assert "secret" not in answer.text
    assert client.post("/transcribe", files={"file": wav(speechlike(1))}).status_code == 200


def test_an_engine_that_fails_fails_one_request_only(
    client: Client, engine: FakeRecognizer, caplog: pytest.LogCaptureFixture
) -> None:
    engine.failure = RuntimeError("secret")
    with caplog.at_level(logging.ERROR, "dikte"):
        answer = client.post("/transcribe", files={"file": wav(speechlike(1))})
    assert_error(answer, 500, "engine_failure")
    assert "secret" not in answer.text
    assert [record.exc_info[1] for record in caplog.records if record.exc_info] == [engine.failure]
    engine.failure = None
    assert client.post("/transcribe", files={"file": wav(speechlike(1))}).json()["text"] == "dikte"


def test_a_bug_in_mid_answer_breaks_it_off(client: Client, caplog: pytest.LogCaptureFixture) -> None:
    def half() -> Iterator[str]:
        yield "half"
        raise RuntimeError("secret")

    client.app.add_api_route("/half", lambda: StreamingResponse(half()))

    async def as_the_server() -> None:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(client.app), base_url="http://dikte") as http:
            await http.get("/half")

    with caplog.at_level(logging.ERROR, "dikte"), pytest.raises(RuntimeError, match="secret"):
        client.portal.call(as_the_server)
    assert [record.getMessage() for record in caplog.records] == ["internal_error: RuntimeError"]


@pytest.mark.parametrize("path", ["/nothing", "/%00", "/..%2f..%2fetc/passwd", "/transcribe/x", "/" + "x" * 10_000])
def test_no_such_path(client: Client, path: str) -> None:
    answer = client.get(path)
    assert_error(answer, 404, "not_found")
    assert len(answer.content) < 500


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", "/transcribe", "POST"),
        ("HEAD", "/transcribe", "POST"),
        ("PUT", "/transcribe", "POST"),
        ("OPTIONS", "/transcribe", "POST"),
        ("POST", "/livez", "GET, HEAD"),
        ("POST", "/docs", "GET, HEAD"),
        ("HI", "/", "GET, HEAD"),
        ("X" * 5000, "/", "GET, HEAD"),
    ],
)
def test_wrong_method(client: Client, method: str, path: str, allowed: str) -> None:
    answer = client.request(method, path)
    assert answer.headers["allow"] == allowed
    if method == "HEAD":
        assert (answer.status_code, answer.content) == (405, b"")
        return
    assert allowed.replace(", ", " and ") in assert_error(answer, 405, "method_not_allowed")["message"]
    assert len(answer.content) < 500


@pytest.mark.parametrize("path", ["/transcribe", "/livez", "/readyz", "/metrics", "/docs", "/openapi.json"])
def test_a_slash_at_the_end_is_another_path_and_not_redirected(client: Client, path: str) -> None:
    for method in ("GET", "POST"):
        answer = client.request(method, f"{path}/")
        assert TRANSCRIBE in assert_error(answer, 404, "not_found")["message"]


def test_details_are_part_of_the_body() -> None:
    body: dict[str, Any] = Overloaded("full", queued_s=1.5).body()
    assert body == {"error": {"code": "overloaded", "message": "full", "queued_s": 1.5}}
