"""The health check of the image connects to the address of the service."""

import http.client
import importlib.util
from typing import Any

import pytest

from app.settings import Settings
from tests.deploy.files import ROOT


def healthcheck() -> Any:
    spec = importlib.util.spec_from_file_location("healthcheck", ROOT / "deploy/healthcheck.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("port", [None, "", "8000", "9000", " 9000 ", "tcp://10.0.0.1:8000"])
def test_it_uses_the_port_of_the_service(monkeypatch: pytest.MonkeyPatch, port: str | None) -> None:
    monkeypatch.delenv("ASR_HOST", raising=False)
    monkeypatch.delenv("ASR_PORT", raising=False)
    if port is not None:
        monkeypatch.setenv("ASR_PORT", port)
    asked: list[tuple[str, int]] = []

    class Refusing(http.client.HTTPConnection):
        def connect(self) -> None:
            asked.append((self.host, self.port))
            raise ConnectionRefusedError

    monkeypatch.setattr(http.client, "HTTPConnection", Refusing)
    assert healthcheck().main() == 1
    assert asked == [("127.0.0.1", Settings().port)]
