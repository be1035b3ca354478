"""The plain service for Whisper answers requests, on a fake faster-whisper."""

import importlib
import io
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from types import ModuleType
from typing import Any, BinaryIO

import httpx
import pytest
import soundfile
from anyio.from_thread import start_blocking_portal
from fastapi import FastAPI

from scripts.load_testing.load_clips import CONTENT_TYPE, short_clips
from tests.conftest import Client


@dataclass
class Segment:
    text: str


class Model:
    """A model that hears `merhaba dünya` in any file, segment by segment."""

    def __init__(self, folder: str, **options: Any) -> None:
        self.folder, self.options = folder, options
        self.asked: dict[str, Any] = {}

    def transcribe(self, file: BinaryIO, **options: Any) -> tuple[Iterator[Segment], None]:
        self.asked = options
        samples, rate_hz = soundfile.read(io.BytesIO(file.read()))
        assert len(samples) == 2 * rate_hz
        return (Segment(text) for text in (" Merhaba", " dünya.")), None


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """The module of the service."""
    fake = ModuleType("faster_whisper")
    fake.__dict__["WhisperModel"] = Model
    monkeypatch.setitem(sys.modules, "faster_whisper", fake)
    name = "scripts.tools.plain_whisper_service"
    yield importlib.import_module(name)
    del sys.modules[name]  # it has the fake


def test_it_transcribes_a_clip(service: ModuleType) -> None:
    model = Model("whisper-base")
    app = service.create_app(model, "whisper-base", "tr")
    (clip,) = short_clips("2")[:1]
    with start_blocking_portal() as portal:
        client = Client(app, portal)
        assert client.get("/readyz").status_code == 200
        answer: httpx.Response = client.post("/transcribe", content=clip.body, headers={"Content-Type": CONTENT_TYPE})
    assert answer.status_code == 200, answer.text
    assert answer.json()["text"] == "Merhaba dünya."
    assert answer.json()["model"] == "whisper-base"
    assert answer.json()["inference_time"] > 0
    assert model.asked == {
        "language": "tr",
        "beam_size": 1,
        "without_timestamps": True,
        "condition_on_previous_text": False,
        "vad_filter": False,
    }


def test_the_model_gets_the_options_of_the_command(service: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Model] = []
    served: list[tuple[FastAPI, int]] = []

    def model(folder: str, **options: Any) -> Model:
        made.append(Model(folder, **options))
        return made[-1]

    monkeypatch.setattr(service, "WhisperModel", model)
    monkeypatch.setattr("uvicorn.run", lambda app, port, **_: served.append((app, port)))
    words = "plain --model_dir models/ct2 --num_workers 2 --cpu_threads 3 --port 9000"
    monkeypatch.setattr(sys, "argv", words.split())
    service.main()
    assert made[0].folder == "models/ct2"
    assert made[0].options == {"device": "cpu", "compute_type": "int8", "cpu_threads": 3, "num_workers": 2}
    assert [port for _, port in served] == [9000]
