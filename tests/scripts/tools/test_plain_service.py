"""The plain service answers requests, on a fake session."""

from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from anyio.from_thread import start_blocking_portal
from numpy.typing import NDArray

from app.settings import BUNDLED_MODEL
from scripts.load_testing.load_clips import CONTENT_TYPE, short_clips
from scripts.tools import plain_service
from tests.conftest import Client
from tests.recognizers import ctc_settings


class Session:
    """A session with the inputs of wav2vec2 that outputs the letters of `evet` for any input."""

    def __init__(self, model: Path, providers: list[str]) -> None:
        tokens = ctc_settings(BUNDLED_MODEL).vocabulary.tokens
        self._ids = [tokens.index(letter) for letter in "evet"]
        self._logits = np.eye(len(tokens), dtype=np.float32)[self._ids][np.newaxis]

    def get_inputs(self) -> list[Any]:
        return [type("Input", (), {"name": "input_values"})]

    def run(self, outputs: None, inputs: dict[str, NDArray[np.float32]]) -> list[NDArray[np.float32]]:
        samples = inputs["input_values"]
        assert samples.shape == (1, 2 * 16_000)
        assert samples.dtype == np.float32
        return [self._logits]


@pytest.mark.filterwarnings("ignore:.*removal in Python 3.13:DeprecationWarning")  # librosa, on its first file
@pytest.mark.slow  # 20 s: librosa compiles its functions
def test_it_transcribes_a_clip(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("onnxruntime.InferenceSession", Session)
    app = plain_service.create_app(str(BUNDLED_MODEL), Path("model.onnx"))
    (clip,) = short_clips("2")[:1]
    with start_blocking_portal() as portal:
        client = Client(app, portal)
        assert client.get("/readyz").status_code == 200
        answer: httpx.Response = client.post("/transcribe", content=clip.body, headers={"Content-Type": CONTENT_TYPE})
    assert answer.status_code == 200, answer.text
    assert answer.json()["text"] == "evet"
