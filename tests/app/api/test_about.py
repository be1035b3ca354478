import threading
from typing import Any

import pytest

from app import __version__
from app.api.about import accuracy, set_name
from app.artifacts import Artifact, ArtifactError
from app.cpu import this_cpu
from app.models import Lanes
from app.runtimes.registry import ONNX_INT8
from app.service import LoadedModel
from app.settings import Settings
from tests.conftest import Client, ServiceFactory
from tests.fakes import PATIENCE_S, FakeRecognizer, all_lanes

RATES = {"wer": {"rate": 0.1, "low": 0.05, "high": 0.2}, "cer": {"rate": 0.01, "low": 0.0, "high": 0.02}}


def test_the_root_says_what_this_is(client: Client) -> None:
    body = client.get("/").json()
    assert (body["name"], body["version"], body["model"], body["ready"]) == ("dikte", __version__, "fake", True)
    assert (body["backend"], body["language"], body["accuracy"]) == ("onnx_int8", None, [])
    assert body["cpu"] == {"model": this_cpu().model, "features": list(this_cpu().features)}
    assert body["options"] == {"detects_language": False, "times_words": True, "translates": False}
    assert body["speed"] > 0
    assert body["docs"] == "http://dikte/docs"
    assert (body["proven"], body["key_required"]) == (True, False)


def test_it_says_that_a_key_is_needed_and_not_which(serve: ServiceFactory) -> None:
    with serve(api_keys="alpha") as client:
        assert client.get("/").json()["key_required"] is True
        assert "alpha" not in client.get("/").text


def test_it_has_the_error_rates_of_the_backend_that_serves(
    serve: ServiceFactory, engine: FakeRecognizer, tmp_path: Any
) -> None:
    other = {"wer": RATES["cer"], "cer": RATES["wer"], "clips": 3}
    sets = {"data/eval/seen/manifest.jsonl": {ONNX_INT8: {"clips": 600, "hours": 0.4, **RATES}, "other": other}}
    artifact = Artifact(tmp_path, "fake", {"proofs": {"accuracy": sets}}, True, ["no proof"])
    lanes: Lanes = all_lanes(engine)
    with serve(load=lambda _: LoadedModel(artifact, ONNX_INT8, lanes)) as client:
        body = client.get("/").json()
    assert body["accuracy"] == [{"set": "seen", "clips": 600, **RATES}]
    assert body["proven"] is False


def test_rates_with_a_language_model_are_those_of_the_decoding_that_serves() -> None:
    better = {"wer": RATES["cer"], "cer": RATES["cer"], "clips": 600}
    greedy = {"wer": RATES["wer"], "cer": RATES["cer"], "clips": 600}
    manifest = {
        "proofs": {"accuracy": {"seen": {"x": greedy}}},
        "language_model": {"accuracy": {"seen": {"x": {"with": better, "without": greedy}}}},
    }
    for language_model, expected in ((True, better), (False, greedy)):
        (found,) = accuracy(manifest, "x", language_model)
        assert found.model_dump() == {"set": "seen", **expected}


@pytest.mark.parametrize(
    "manifest",
    [
        {}, {"proofs": None}, {"proofs": {}}, {"proofs": {"accuracy": []}}, {"proofs": {"accuracy": {"a": None}}},
        {"proofs": {"accuracy": {"a": {"x": {"clips": 1, "wer": {"rate": None}, "cer": {}}}}}},
        {"language_model": None}, {"language_model": {"accuracy": {"a": {"x": {"with": 1}}}}},
        {"language_model": {"accuracy": {"a": {"x": [1]}}}},
    ],
)  # fmt: skip
def test_a_manifest_without_readable_rates_gives_none(manifest: dict[str, Any]) -> None:
    assert accuracy(manifest, "x") == []


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("data/eval/seen/manifest.jsonl", "seen"), ("/home/me/secret/calls.jsonl", "calls"),
        ("manifest.jsonl", "manifest"),
        ("C:\\speech\\calls\\metadata.csv", "calls"), ("org/set", "set"), ("samples", "samples"),
    ],
)  # fmt: skip
def test_sets_are_named_without_their_folders(path: str, name: str) -> None:
    assert set_name(path) == name


def test_before_the_model_is_loaded_little_is_known(serve: ServiceFactory) -> None:
    loaded = threading.Event()

    def load(_: Settings) -> Any:
        loaded.wait(PATIENCE_S)
        raise ArtifactError("late")

    with serve(load=load, ready=False) as client:
        body = client.get("/").json()
        loaded.set()
    assert (body["backend"], body["ready"], body["proven"], body["speed"]) == ("auto", False, False, None)
    assert body["options"] == {"detects_language": False, "times_words": False, "translates": False}
