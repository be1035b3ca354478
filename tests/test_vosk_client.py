"""What vosk-server's own test client does (websocket/test.py), with a real service process and its model."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import soundfile
import soxr
from websockets.sync.client import connect

from scripts.common.service_process import wait_until_ready
from tests.app.test_server import serving
from tests.test_openai_clients import CALL, TEXT


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serving(tmp_path_factory.mktemp("service")) as (url, _):
        wait_until_ready(url)
        yield f"{url.replace('http', 'ws', 1)}/vosk"


def transcribed(url: str, path: Path, rate_hz: int) -> list[str]:
    """The texts, from a client that waits for the answer to each message."""
    samples, from_hz = soundfile.read(path, dtype="float32")
    data = (soxr.resample(samples, from_hz, rate_hz).clip(-1, 1) * 32767).astype("<i2").tobytes()
    step = 2 * int(rate_hz * 0.2)
    with connect(url) as socket:
        answers = []
        if rate_hz != 8000:  # which is what it is without
            socket.send('{ "config" : { "sample_rate" : %d } }' % rate_hz)  # noqa: UP031  # as the client has it
        for start in range(0, len(data), step):
            socket.send(data[start : start + step])
            answers.append(json.loads(socket.recv(timeout=30)))
        socket.send('{"eof" : 1}')
        answers.append(json.loads(socket.recv(timeout=30)))
    assert all(answer.keys() in ({"partial"}, {"text"}, {"result", "text"}) for answer in answers)
    assert any(answer.get("partial") for answer in answers)
    return [answer["text"] for answer in answers if answer.get("text")]


def test_wide_band(url: str) -> None:
    assert " ".join(transcribed(url, CALL, 16_000)) == TEXT


def test_telephone(url: str) -> None:
    words = " ".join(transcribed(url, CALL, 8000)).split()
    assert len(set(words) & set(TEXT.split())) >= 0.8 * len(set(TEXT.split()))
