from collections.abc import Iterator

import httpx
import pytest
from starlette.routing import Route

from app.api.auth import ApiKeys
from app.api.paths import is_deepgram, is_openai
from tests.conftest import Client, ServiceFactory, assert_deepgram_error, assert_error, assert_openai_error
from tests.sounds import speechlike, wav

OPEN = [
    "/livez",
    "/readyz",
    "/",
    "/page/main.js",
    "/docs",
    "/openapi.json",
    "/metrics",
    "/static-offline-docs/swagger-ui.css",
]


@pytest.fixture
def client(serve: ServiceFactory) -> Iterator[Client]:
    """The service, with two keys."""
    with serve(api_keys="alpha-key, beta-key") as client:
        yield client


def post(client: Client, authorization: str | None) -> httpx.Response:
    headers = {} if authorization is None else {"Authorization": authorization}
    return client.post("/transcribe", files={"file": wav(speechlike(1))}, headers=headers)


@pytest.mark.parametrize("authorization", ["Bearer alpha-key", "Bearer beta-key", "bearer  beta-key"])
def test_each_of_the_keys_opens(client: Client, authorization: str) -> None:
    assert post(client, authorization).json()["text"] == "dikte"


@pytest.mark.parametrize(
    "authorization",
    [
        None, "", "Bearer", "Bearer ", "Bearer alpha-ke", "Bearer alpha-key2", "Bearer ALPHA-KEY",
        "Bearer alpha-key, beta-key", "Basic alpha-key", "alpha-key", "Bearer \xff",
    ],
)  # fmt: skip
def test_nothing_else_does(client: Client, authorization: str | None) -> None:
    headers = {} if authorization is None else {"Authorization": authorization.encode("latin-1")}
    answer = client.post("/transcribe", files={"file": wav(speechlike(1))}, headers=headers)
    error = assert_error(answer, 401, "unauthorized")
    assert answer.headers["www-authenticate"] == "Bearer"
    assert "alpha" not in str(error)


def test_the_body_of_a_stranger_is_not_read(client: Client) -> None:
    read: list[bytes] = []

    def body() -> Iterator[bytes]:
        for _ in range(3):
            read.append(bytes(1000))
            yield read[-1]

    headers = {"Authorization": "Bearer wrong", "Content-Type": "multipart/form-data; boundary=x"}
    assert_error(client.post("/transcribe", content=body(), headers=headers), 401, "unauthorized")
    assert read == []


@pytest.mark.parametrize("path", OPEN)
def test_some_pages_need_no_key(client: Client, path: str) -> None:
    assert client.get(path).status_code == 200


def test_every_other_route_needs_one(client: Client) -> None:
    closed = {path for path in paths_of(client) if path not in OPEN and path != "/docs/oauth2-redirect"}
    assert {"/transcribe", "/v1/audio/transcriptions"} <= closed
    for path in closed:
        method = "GET" if path.startswith("/v1/models") else "POST"
        answer = client.request(method, path)
        assert answer.headers["www-authenticate"] == "Bearer"
        if is_openai(path):
            assert_openai_error(answer, 401, "invalid_api_key")
        elif is_deepgram(path):
            assert_deepgram_error(answer, 401, "INVALID_AUTH")
        else:
            assert_error(answer, 401, "unauthorized")


def paths_of(client: Client) -> set[str]:
    """Of all routes that answer, without the files of Swagger UI."""
    shown = set(client.get("/openapi.json").json()["paths"])
    return shown | {route.path for route in client.app.routes if isinstance(route, Route)}


def test_openapi_shows_how_to_authorize(client: Client, serve: ServiceFactory) -> None:
    description = client.get("/openapi.json").json()
    ((name, scheme),) = description["components"]["securitySchemes"].items()
    assert (scheme["type"], scheme["scheme"]) == ("http", "bearer")
    assert description["paths"]["/transcribe"]["post"]["security"] == [{name: []}]
    assert "security" not in description["paths"]["/readyz"]["get"]
    with serve() as without_keys:
        assert "securitySchemes" not in without_keys.get("/openapi.json").json()["components"]


def test_without_keys_everybody_may_transcribe(serve: ServiceFactory) -> None:
    with serve() as client:
        assert post(client, None).status_code == 200
        assert post(client, "Bearer whatever").status_code == 200


def test_all_keys_are_compared_whichever_matches(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[bytes] = []

    def compare(given: bytes, known: bytes) -> bool:
        compared.append(known)
        return given == known

    keys = ApiKeys(["a", "b", "c"])
    monkeypatch.setattr("hmac.compare_digest", compare)
    assert [keys.has(key) for key in ("a", "c", "d")] == [True, True, False]
    assert len(compared) == 9
    assert {len(known) for known in compared} == {32}
