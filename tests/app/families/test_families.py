"""A new family: one file, `tests/families/clip_length.py`, and a line of the registry, and it is served."""

import json
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnx
import pytest
import srt
from onnx import TensorProto, helper

from app import families
from app.artifacts import ArtifactError, open_artifact
from app.families import FAMILIES, open_family
from app.service import load_model
from tests.app.api.test_outcomes import outcomes
from tests.conftest import Client, ServiceFactory, assert_error
from tests.families.clip_length import ClipLengthFamily
from tests.sounds import speechlike, wav


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model of the new family, which is registered."""
    monkeypatch.setattr(families, "FAMILIES", {**FAMILIES, "clip-length": ClipLengthFamily})
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"model_type": "clip-length", "sampling_rate": 16_000}))
    graph = helper.make_graph(
        [helper.make_node("Size", ["samples"], ["count"])],
        "length",
        [helper.make_tensor_value_info("samples", TensorProto.FLOAT, ["samples"])],
        [helper.make_tensor_value_info("count", TensorProto.INT64, [])],
    )
    opset = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=9), folder / "length.onnx")
    return folder


def ready(client: Client) -> None:
    while (answer := client.get("/readyz")).status_code != 200:
        assert "being loaded" in answer.text, answer.text
        time.sleep(0.01)


@pytest.mark.parametrize("backend", ["onnx", "openvino"])
def test_it_is_served_with_windows_formats_deadlines_and_metrics(
    serve: ServiceFactory, model: Path, backend: str
) -> None:
    settings = {"model_dir": str(model), "backend": backend, "allow_unproven": True}
    with serve(load=load_model, ready=False, **settings) as client:
        ready(client)
        sound = {"file": wav(speechlike(47.5))}
        body = client.post("/transcribe", files=sound, data={"timestamps": "word"}).json()
        assert (body["text"], body["backend"], body["model"]) == ("47.5 seconds", backend, "model")
        assert [word["word"] for word in body["words"]] == ["47.5", "seconds"]
        subtitles = client.post("/transcribe", files=sound, data={"response_format": "srt"}).text
        assert " ".join(subtitle.content for subtitle in srt.parse(subtitles)) == "47.5 seconds"
        late = client.post("/transcribe", files=sound, headers={"X-Request-Timeout": "1e-9"})
        assert_error(late, 504, "deadline_exceeded")
        assert outcomes(client) == {"ok": 2, "deadline_exceeded": 1}
        metrics = client.get("/metrics").text
        assert "dikte_batch_windows_count" in metrics
        assert f'dikte_model_info{{backend="{backend}",model="model"' in metrics


def test_clips_side_by_side_are_kept_apart(serve: ServiceFactory, model: Path) -> None:
    lengths_s = [0.5 + 0.25 * number for number in range(40)]
    with serve(load=load_model, ready=False, model_dir=str(model), backend="onnx", allow_unproven=True) as client:
        ready(client)
        sounds = [wav(np.zeros(int(length_s * 16_000), np.float32)) for length_s in lengths_s]
        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(lambda sound: client.post("/transcribe", files={"file": sound}), sounds))
    assert [answer.json()["text"] for answer in answers] == [f"{length_s:g} seconds" for length_s in lengths_s]


def test_a_model_that_miscounts_is_not_served(serve: ServiceFactory, model: Path) -> None:
    graph = onnx.load(model / "length.onnx")
    graph.graph.node[0].op_type = "Shape"
    graph.graph.node[0].attribute.append(helper.make_attribute("start", 1))  # an empty shape
    graph.graph.output[0].CopyFrom(helper.make_tensor_value_info("count", TensorProto.INT64, [0]))
    onnx.save(graph, model / "length.onnx")
    with serve(load=load_model, ready=False, model_dir=str(model), backend="onnx", allow_unproven=True) as client:
        while "being loaded" in (answer := client.get("/readyz")).text:
            time.sleep(0.01)
        assert "cannot run" in assert_error(answer, 503, "not_ready")["message"]


def test_a_family_that_nobody_knows_is_named(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "mamba"}))
    with pytest.raises(ArtifactError, match=r"has the type 'mamba'; known types: .*wav2vec2"):
        open_family(open_artifact(tmp_path))


def test_every_family_is_opened_by_something() -> None:
    assert {"wav2vec2", "hubert", "wavlm"} <= set(FAMILIES)
    assert all(callable(family) for family in FAMILIES.values())
