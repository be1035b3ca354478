"""`python -m app` as a process of its own: what it does when it is told to stop."""

import io
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import soundfile

from scripts.common.service_process import free_port, wait_until_ready
from tests.fakes import PATIENCE_S

ROOT = Path(__file__).resolve().parents[2]
LONG_S = 100
"""Of sound that one worker computes for longer than a test takes to look."""


@contextmanager
def serving(
    tmp_path: Path, descriptors: int | None = None, log: int = subprocess.DEVNULL, **settings: str
) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """The service on the bundled model, with a temporary folder of its own: (address, process).

    descriptors: how many it may open. log: where its log goes; PIPE for few requests only, because the service stops
    when a pipe is full that nobody reads.
    """
    port = free_port()
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ASR_")}
    environment |= {"TMPDIR": str(tmp_path), "ASR_HOST": "127.0.0.1", "ASR_PORT": str(port)}
    environment |= {"ASR_BACKEND": "onnx_int8", **settings}
    command = [sys.executable, "-m", "app"]
    if descriptors is not None:
        command = ["sh", "-c", f'ulimit -n {descriptors}; exec "$@"', "sh", *command]
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stderr=log, text=True)
    try:
        yield f"http://127.0.0.1:{port}", process
    finally:
        process.kill()
        process.communicate()


def noise(duration_s: float) -> bytes:
    """At a low rate, for it has to be uploaded."""
    rate_hz = 2000
    samples = np.random.default_rng(0).normal(0, 0.1, int(duration_s * rate_hz))
    file = io.BytesIO()
    soundfile.write(file, samples, rate_hz, format="WAV", subtype="PCM_U8")
    return file.getvalue()


NO_CERTIFICATES = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""Without it httpx reads all those of the system for each connection."""


def get(url: str) -> httpx.Response:
    """On a connection of its own."""
    return httpx.get(url, timeout=PATIENCE_S, verify=NO_CERTIFICATES)


def post(url: str, sound: bytes) -> httpx.Response:
    return httpx.post(f"{url}/transcribe", files={"file": sound}, timeout=4 * PATIENCE_S, verify=NO_CERTIFICATES)


def until_queued(url: str, least_s: float) -> None:
    """Until the service has let in and decoded so many seconds of sound."""
    queued_s = 0.0
    while queued_s < least_s:
        (line,) = re.findall("^dikte_queue_seconds (.*)", get(f"{url}/metrics").text, re.MULTILINE)
        queued_s = float(line)
        time.sleep(0.01)


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT])
def test_it_ends_at_once_when_there_is_nothing_to_do(tmp_path: Path, sent: signal.Signals) -> None:
    with serving(tmp_path, log=subprocess.PIPE) as (url, process):
        wait_until_ready(url)
        process.send_signal(sent)
        log = process.communicate(timeout=PATIENCE_S)[1]
    assert process.returncode == 0
    assert "Traceback" not in log


def test_what_was_let_in_is_answered_and_nobody_else_is_let_in(tmp_path: Path) -> None:
    with serving(tmp_path, log=subprocess.PIPE, ASR_WORKERS="1") as (url, process), ThreadPoolExecutor() as pool:
        wait_until_ready(url)
        accepted = [pool.submit(post, url, noise(LONG_S)) for _ in range(2)]
        until_queued(url, 2 * LONG_S)
        process.terminate()
        while (state := get(f"{url}/readyz")).status_code == 200:
            time.sleep(0.01)
        assert "stopping" in state.text
        refused = post(url, noise(1))
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "not_ready")
        assert "retry-after" in refused.headers
        assert get(f"{url}/livez").status_code == 200
        answers = [future.result() for future in accepted]
        log = process.communicate(timeout=PATIENCE_S)[1]
    assert [answer.status_code for answer in answers] == [200, 200]
    assert [answer.json()["duration"] for answer in answers] == [LONG_S, LONG_S]
    assert process.returncode == 0
    assert "Traceback" not in log
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("hurry", ["grace", "second signal"])
def test_it_does_not_wait_for_ever(tmp_path: Path, hurry: str) -> None:
    grace_s = "0.1" if hurry == "grace" else "1000"
    settings: Any = {"ASR_GRACE_S": grace_s, "ASR_WORKERS": "1"}
    with serving(tmp_path, log=subprocess.PIPE, **settings) as (url, process), ThreadPoolExecutor() as pool:
        wait_until_ready(url)
        lost = pool.submit(post, url, noise(LONG_S))
        until_queued(url, LONG_S)
        process.terminate()
        if hurry == "second signal":
            while get(f"{url}/readyz").status_code == 200:
                time.sleep(0.01)
            process.terminate()
        log = process.communicate(timeout=PATIENCE_S)[1]
        assert lost.result().status_code == 503
    assert process.returncode == 1
    assert "1 requests were not answered in time" in log


def test_headers_without_end_are_not_taken_into_memory(tmp_path: Path) -> None:
    with serving(tmp_path) as (url, _):
        wait_until_ready(url)
        address = httpx.URL(url)
        with socket.create_connection((address.host, address.port or 0), PATIENCE_S) as connection:
            connection.sendall(b"POST /transcribe HTTP/1.1\r\nHost: a\r\n")
            sent = 0
            with suppress(ConnectionError):
                while sent < 64 << 20:
                    sent += connection.send(b"X-More: " + b"a" * 8000 + b"\r\n")
        assert sent < 16 << 20  # what the buffers of both ends hold, and no more
        assert get(f"{url}/readyz").status_code == 200


def test_settings_that_make_no_sense_stop_the_start(tmp_path: Path) -> None:
    with serving(tmp_path, log=subprocess.PIPE, ASR_WORKERS="many", ASR_QUEUE="1") as (_, process):
        log = process.communicate(timeout=PATIENCE_S)[1]
    assert process.returncode == 2
    assert log.startswith("ASR_WORKERS: ")
    assert "Traceback" not in log


def test_a_service_link_is_ignored_and_logged(tmp_path: Path) -> None:
    settings: Any = {"ASR_HOST": "127.0.0.77", "ASR_PORT": "tcp://10.0.0.1:8000", "WEB_CONCURRENCY": "auto"}
    with serving(tmp_path, log=subprocess.PIPE, **settings) as (_, process):
        assert process.stderr is not None
        log = ""
        while "Uvicorn running" not in log and (line := process.stderr.readline()):
            log += line
    assert "http://127.0.0.77:8000" in log
    assert log.count("ASR_PORT is ignored") == 1


def test_a_port_that_is_taken_is_an_error(tmp_path: Path) -> None:
    with serving(tmp_path, log=subprocess.PIPE) as (url, first):
        wait_until_ready(url)
        with serving(tmp_path, log=subprocess.PIPE, ASR_PORT=url.rsplit(":", 1)[1]) as (_, second):
            second.communicate(timeout=PATIENCE_S)
        assert second.returncode not in (0, None)
        assert first.poll() is None


FEW_DESCRIPTORS = 80


IDLE_SOCKETS = 70
FORM = b"Content-Type: multipart/form-data; boundary=a\r\n"
SLOW_UPLOAD = b"POST /transcribe HTTP/1.1\r\nHost: a\r\n" + FORM + b"Content-Length: 1000\r\n\r\n"


def test_idle_connections_keep_nobody_out(tmp_path: Path) -> None:
    with serving(tmp_path, log=subprocess.PIPE, descriptors=FEW_DESCRIPTORS) as (url, process), ExitStack() as stack:
        wait_until_ready(url)
        for _ in range(IDLE_SOCKETS):
            stack.enter_context(connect(url))
        for path in ("livez", "readyz"):
            assert get(f"{url}/{path}").status_code == 200
        assert post(url, noise(1)).status_code == 200
        process.terminate()
        log = process.communicate(timeout=PATIENCE_S)[1]
    assert "descriptors" not in log


def test_descriptors_that_run_out_turn_readiness_off_until_they_are_free(tmp_path: Path) -> None:
    with serving(tmp_path, log=subprocess.PIPE, descriptors=FEW_DESCRIPTORS) as (url, process):
        wait_until_ready(url)
        with ExitStack() as stack:
            http = stack.enter_context(httpx.Client(base_url=url, headers={"Connection": "close"}))
            while (state := http.get("/readyz")).status_code == 200:
                stack.enter_context(connect(url)).sendall(SLOW_UPLOAD)
            assert f"of {FEW_DESCRIPTORS}" in state.json()["error"]["message"]
            for _ in range(IDLE_SOCKETS):
                stack.enter_context(connect(url))
                assert http.get("/livez").status_code == 200
            refused = post(url, noise(1))
            assert (refused.status_code, refused.json()["error"]["code"]) == (503, "not_ready")
            assert "retry-after" in refused.headers
        while get(f"{url}/readyz").status_code != 200:
            time.sleep(0.01)
        assert post(url, noise(1)).status_code == 200
        process.terminate()
        log = process.communicate(timeout=PATIENCE_S)[1]
    assert log.count("not ready: file descriptors run out") == 1
    assert log.count("no shortage any more") == 1
    assert "Traceback" not in log


def connect(url: str) -> socket.socket:
    address = httpx.URL(url)
    return socket.create_connection((address.host, address.port or 0), PATIENCE_S)
