import os
import re
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

import app.main
from scripts.common.service_process import free_port, transcribe, wait_until_ready
from tests.conftest import Client

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """The service as users start it, on the bundled model, with a temporary folder of its own: (address, process)."""
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "uvicorn", "app.main:app", "--port", str(port)],
        cwd=ROOT,
        env=os.environ | {"TMPDIR": str(tmp_path), "ASR_BACKEND": "onnx_int8"},
        stderr=subprocess.PIPE,
    )
    try:
        yield f"http://127.0.0.1:{port}", process
    finally:
        process.kill()
        process.communicate()


def test_an_import_alone_makes_no_application() -> None:
    assert "app" not in vars(app.main)
    assert app.main.app.title == "Dikte"
    with pytest.raises(AttributeError):
        app.main.application  # noqa: B018  # that it is looked up is the test


def test_swagger_ui_needs_nothing_from_elsewhere(client: Client) -> None:
    page = client.get("/docs").text
    links = re.findall(r"""(?:src|href)=["']([^"']+)["']""", page)
    assert len(links) >= 3
    for link in links:
        assert link.startswith("/")
        assert client.get(link).status_code == 200


def test_the_real_service_transcribes_and_stops_when_told(
    server: tuple[str, subprocess.Popen[bytes]], tmp_path: Path
) -> None:
    url, process = server
    wait_until_ready(url)
    answer = transcribe(url, ROOT / "samples" / "short.wav")
    assert answer["text"] == "evet doğru"
    assert answer["duration"] == pytest.approx(1.604, abs=0.01)
    with urllib.request.urlopen(f"{url}/livez", timeout=5) as response:  # noqa: S310  # our own address
        assert response.status == 200
    process.send_signal(signal.SIGTERM)
    log = process.communicate(timeout=30)[1].decode()
    assert "Application shutdown complete" in log
    assert "Traceback" not in log
    assert list(tmp_path.iterdir()) == []
