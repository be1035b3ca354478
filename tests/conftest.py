"""Shared fixtures: the service on a fake engine, and a client to it; and what every answer is held to."""

import asyncio
import gc
import os
import signal
import tempfile
from collections.abc import AsyncIterator, Callable, Generator, Iterable, Iterator, MutableMapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
from anyio.from_thread import BlockingPortal, start_blocking_portal
from fastapi import FastAPI

from app.cores import available_cores
from app.errors import AsrError
from app.main import create_app
from app.runtimes.registry import ONNX_INT8
from app.service import LoadedModel
from app.settings import Settings
from tests.fakes import PATIENCE_S, FakeRecognizer, all_lanes, fake_artifact
from tests.once import shared_folder

ROOT = Path(__file__).resolve().parents[1]
MOST_PROCESSES = 8
"""Of `pytest -n auto`: each has PyTorch and more in memory."""
UNMEASURED = ("tests/scripts", "tests/fuzz", "tests/deploy")
"""Tests in which coverage is not measured."""


def pytest_configure() -> None:
    """Tests interrupt commands. A shell ignores Ctrl-C in its background jobs, and their children inherit that."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """A process for each core, of a container its share, and one more: some tests wait for a service or a client."""
    return min(available_cores() + 1, MOST_PROCESSES)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Measure coverage in the tests of `app/` alone: the others spend their time in PyTorch, where tracing is slow."""
    measured = item.config.pluginmanager.getplugin("_cov")
    if measured is None or measured.cov_controller is None or not item.nodeid.startswith(UNMEASURED):
        return (yield)
    measured.cov_controller.pause()
    try:
        return (yield)
    finally:
        measured.cov_controller.resume()


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """The garbage collector does not look through PyTorch's million objects: not while they are being made, when
    nothing is garbage yet, and not again in every test that collects.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()
        gc.freeze()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Reports travel between processes as UTF-8, but some tests log what cannot be encoded."""
    report = yield
    report.sections = [(title, text.encode(errors="backslashreplace").decode()) for title, text in report.sections]
    return report


# Commands that tests start import this checkout, also where another one is installed in the environment.
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))


class Client:
    """httpx to an application in this process, whose event loop runs in a thread of its own.

    (Starlette's TestClient does the same, but wants another HTTP library than the one that users have.) An exception
    that leaves the application is answered as a server would: what it sent stands.
    """

    def __init__(self, app: FastAPI, portal: BlockingPortal) -> None:
        self.app = app
        self.portal = portal
        self._http = httpx.AsyncClient(
            transport=httpx.ASGITransport(app, raise_app_exceptions=False), base_url="http://dikte"
        )

    def request(self, method: str, path: str, **options: Any) -> httpx.Response:
        """As httpx.Client.request; `content` may be an iterable of chunks, taken one by one as the service reads."""
        content = options.get("content")
        if content is not None and not isinstance(content, bytes):
            options["content"] = _one_by_one(content)
        return self.portal.call(partial(self._http.request, method, path, **options))

    def get(self, path: str) -> httpx.Response:
        return self.request("GET", path)

    def post(self, path: str, **options: Any) -> httpx.Response:
        return self.request("POST", path, **options)


class Connection:
    """A POST by hand: the body comes, and the client leaves, when the test says so."""

    def __init__(self, client: Client, headers: dict[str, str], path: str = "/transcribe") -> None:
        self._client = client
        self._path = path
        self._headers = [(name.encode(), value.encode()) for name, value in headers.items()]
        self._messages: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._sent: list[MutableMapping[str, Any]] = []
        self._wanting = False
        self._running = client.portal.start_task_soon(self._run)

    def send(self, chunk: bytes, *, more: bool = True) -> None:
        message = {"type": "http.request", "body": chunk, "more_body": more}
        self._client.portal.call(self._messages.put_nowait, message)

    def leave(self) -> None:
        self._client.portal.call(self._messages.put_nowait, {"type": "http.disconnect"})

    def status(self) -> int:
        """The answer's status, once it is there."""
        self._running.result(PATIENCE_S)
        return int(self._sent[0]["status"])

    @property
    def started(self) -> bool:
        """Whether something of the answer was sent."""
        return bool(self._sent)

    @property
    def answered(self) -> bool:
        """Whether the service is done with it."""
        return self._running.done()

    @property
    def waits(self) -> bool:
        """Whether the service has taken all that was sent, and wants more."""
        return self._messages.empty() and self._wanting

    @property
    def body(self) -> bytes:
        return b"".join(message.get("body", b"") for message in self._sent)

    async def _run(self) -> None:
        scope = {
            "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "POST", "scheme": "http",
            "path": self._path, "raw_path": self._path.encode(), "query_string": b"", "root_path": "",
            "headers": self._headers, "client": ("127.0.0.1", 1), "server": ("dikte", 80),
        }  # fmt: skip

        async def send(message: MutableMapping[str, Any]) -> None:
            self._sent.append(message)

        async def receive() -> dict[str, Any]:
            self._wanting = self._messages.empty()
            message = await self._messages.get()
            self._wanting = False
            return message

        await self._client.app(scope, receive, send)


async def _one_by_one(chunks: Iterable[bytes]) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk


ServiceFactory = Callable[..., AbstractContextManager[Client]]


@pytest.fixture(scope="session")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder under which `tests.checkpoints` builds and exports, once for all test processes."""
    return shared_folder(tmp_path_factory)


@pytest.fixture
def engine() -> Iterator[FakeRecognizer]:
    engine = FakeRecognizer()
    yield engine
    engine.gate.set()  # whatever happened, no worker may wait for ever


@pytest.fixture
def temp_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where temporary files go; the test fails if one is left."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "torch"))  # torch's own, made when it is imported
    yield folder
    assert list(folder.iterdir()) == []


@pytest.fixture
def serve(engine: FakeRecognizer, tmp_path: Path, temp_folder: Path, monkeypatch: pytest.MonkeyPatch) -> ServiceFactory:
    """`with serve(max_queue_s=10) as client`: the whole service, with settings of the test's own, on the fake engine.

    `load`: what loads the model, instead of the fake. `ready=False`: do not wait until it has.
    """
    for name in Settings.model_fields:
        monkeypatch.delenv(f"ASR_{name.upper()}", raising=False)

    @contextmanager
    def serving(load: Callable[[Settings], Any] | None = None, ready: bool = True, **settings: Any) -> Iterator[Client]:
        fake = LoadedModel(fake_artifact(tmp_path), ONNX_INT8, all_lanes(engine))
        monkeypatch.setattr("app.service.load_model", load or (lambda _: fake))
        app = create_app(Settings(**({"model_dir": str(tmp_path)} | settings)))
        with ExitStack() as stack:
            portal = stack.enter_context(start_blocking_portal())
            stack.enter_context(portal.wrap_async_context_manager(app.router.lifespan_context(app)))
            client = Client(app, portal)
            while ready and (answer := client.get("/readyz")).status_code != 200:
                assert answer.json()["error"]["message"] == "the model is being loaded"
            engine.at_work.clear()  # that was the canary
            yield client

    return serving


@pytest.fixture
def client(serve: ServiceFactory) -> Iterator[Client]:
    """The service on the fake engine, ready."""
    with serve() as client:
        yield client


def assert_error(answer: httpx.Response, status: int, code: str) -> dict[str, Any]:
    """The answer is this error, in the one shape, and gives nothing of the inside away. Gives what `error` holds."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/json"
    body = answer.json()
    assert set(body) == {"error"}
    error: dict[str, Any] = body["error"]
    assert error["code"] == code
    assert isinstance(error["message"], str)
    assert error["message"]
    for inside in ("Traceback", 'File "', "site-packages", str(ROOT), "/tmp/", "object at 0x"):  # noqa: S108  # no file
        assert inside not in answer.text
    return error


def assert_openai_error(answer: httpx.Response, status: int, code: str) -> dict[str, Any]:
    """The answer is this error, in the shape of OpenAI's API. Gives what `error` holds."""
    error = assert_error(answer, status, code)
    assert set(error) == {"message", "type", "param", "code"}
    assert error["type"] in ("invalid_request_error", "rate_limit_error", "server_error")
    assert (answer.headers.get("x-should-retry") == "false") == (status not in (408, 429, 503))
    return error


def assert_deepgram_error(answer: httpx.Response, status: int, code: str) -> str:
    """The answer is this error, in the shape of Deepgram's API. Gives its message."""
    assert answer.status_code == status, answer.text
    body = answer.json()
    assert set(body) == {"err_code", "err_msg", "request_id"}
    assert body["err_code"] == code
    assert body["request_id"] == answer.headers["x-request-id"]
    message: str = body["err_msg"]
    return message


def error_tree(root: type[AsrError] = AsrError) -> list[type[AsrError]]:
    """All errors below `root`."""
    return [error for child in root.__subclasses__() for error in (child, *error_tree(child))]


def assert_conforms(value: Any, schema: dict[str, Any], components: dict[str, Any]) -> None:
    """The value is as the JSON schema says; of JSON schema, what this service's OpenAPI uses."""
    if "$ref" in schema:
        schema = components[schema["$ref"].rsplit("/", 1)[1]]
    if "anyOf" in schema:
        kinds = [kind["type"] for kind in schema["anyOf"]]
        assert value is not None or "null" in kinds
        schema = next(kind for kind in schema["anyOf"] if (kind["type"] == "null") == (value is None))
    python: dict[str, Any] = {"object": dict, "array": list, "string": str, "number": (int, float), "integer": int}
    python["null"] = type(None)
    assert isinstance(value, python[schema["type"]]), (value, schema)
    if schema["type"] == "number":
        assert schema.get("minimum", value) <= value <= schema.get("maximum", value)
    if schema["type"] == "array":
        for item in value:
            assert_conforms(item, schema["items"], components)
    if schema["type"] == "object":
        assert (
            set(schema.get("required", ())) <= set(value) <= set(schema["properties"])
            or "additionalProperties" in schema
        )
        for name in set(value) & set(schema["properties"]):
            assert_conforms(value[name], schema["properties"][name], components)
