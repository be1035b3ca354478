import threading
from typing import Any

import pytest

from app.artifacts import ArtifactError
from app.cpu import this_cpu
from app.settings import Settings
from tests.conftest import Client, ServiceFactory, assert_error
from tests.fakes import PATIENCE_S
from tests.sounds import speechlike, wav


def test_alive_and_ready(client: Client) -> None:
    assert client.get("/livez").json() == {"status": "alive"}
    cpu = {"model": this_cpu().model, "features": list(this_cpu().features)}
    assert client.get("/readyz").json() == {"status": "ready", "model": "fake", "backend": "onnx_int8", "cpu": cpu}


@pytest.mark.parametrize("path", ["/docs", "/openapi.json"])
def test_the_description_is_served(client: Client, path: str) -> None:
    assert client.get(path).status_code == 200


def test_a_model_that_cannot_be_served_leaves_the_service_alive(serve: ServiceFactory) -> None:
    def load(_: Settings) -> Any:
        raise ArtifactError("model_int8.onnx is not the file that manifest.json describes (sha256)")

    with serve(load=load, ready=False) as client:
        while "being loaded" in (answer := client.get("/readyz")).text:
            pass
        error = assert_error(answer, 503, "not_ready")
        assert "sha256" in error["message"]
        assert error["cpu"] == {"model": this_cpu().model, "features": list(this_cpu().features)}
        assert client.get("/livez").status_code == 200
        assert client.get("/").json()["ready"] is False
        refused = client.post("/transcribe", files={"file": wav(speechlike(1))})
        assert "sha256" in assert_error(refused, 503, "not_ready")["message"]


def test_while_the_model_is_loaded_the_service_is_alive_and_not_ready(serve: ServiceFactory) -> None:
    loaded = threading.Event()

    def load(_: Settings) -> Any:
        loaded.wait(PATIENCE_S)
        raise ArtifactError("late")

    with serve(load=load, ready=False) as client:
        try:
            assert "being loaded" in assert_error(client.get("/readyz"), 503, "not_ready")["message"]
            assert_error(client.post("/transcribe", files={"file": wav(speechlike(1))}), 503, "not_ready")
            assert client.get("/livez").status_code == 200
        finally:
            loaded.set()


def test_when_the_service_stops_it_is_not_ready(serve: ServiceFactory) -> None:
    with serve() as client:
        client.app.state.service.drain()
        assert "stopping" in assert_error(client.get("/readyz"), 503, "not_ready")["message"]
