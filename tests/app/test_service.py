"""The whole service over HTTP on artifacts whose proofs are sound, missing, failed or not of these files."""

import json
import logging
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from safetensors.torch import load_file, save_file

from app.artifacts import ArtifactError
from app.cpu import this_cpu
from app.families.ctc.decoding import Emissions
from app.files import LFS_POINTER
from app.models import open_model
from app.recognizer import Samples
from app.service import load_backend, load_model, without_folders
from app.settings import BUNDLED_MODEL, Settings
from tests.conftest import Client, ServiceFactory, assert_error
from tests.fakes import PATIENCE_S, FakeRecognizer
from tests.sounds import speechlike, wav


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A copy of the bundled model, which is proven, to be changed."""
    return shutil.copytree(BUNDLED_MODEL, tmp_path / "models" / "tr-copy")


def flip_a_byte(name: str) -> Callable[[Path], None]:
    def change(model: Path) -> None:
        content = bytearray((model / name).read_bytes())
        content[len(content) // 2] ^= 1
        (model / name).write_bytes(content)

    return change


def change_manifest(change: Callable[[dict[str, Any]], Any]) -> Callable[[Path], None]:
    def rewrite(model: Path) -> None:
        path = model / "manifest.json"
        manifest = json.loads(path.read_text(encoding="utf-8"))
        change(manifest)
        path.write_text(json.dumps(manifest), encoding="utf-8")

    return rewrite


def fail_a_proof(manifest: dict[str, Any]) -> None:
    checks = manifest["proofs"]["checks"]
    (proof,) = [check for check in checks if (check["backend"], check["name"]) == ("onnx_int8", "argmax_agreement")]
    proof |= {"measured": 0.5, "passed": False}


def change_the_evidence(manifest: dict[str, Any]) -> None:
    """As if a CPU that computes other numbers had written it."""
    for said_by in manifest["evidence"]["clips"].values():
        said_by["onnx_int8"]["log_probabilities"] = [-9.0] * len(said_by["onnx_int8"]["tokens"])


DOUBTFUL: dict[str, tuple[Callable[[Path], None], str]] = {
    "a changed byte in the model": (flip_a_byte("model_int8.onnx"), "model_int8.onnx is not the file"),
    "another vocabulary": (lambda model: _swap_letters(model / "vocab.json"), "vocab.json is not the file"),
    "a failed proof": (change_manifest(fail_a_proof), "argmax_agreement of onnx_int8 is 0.5, must be at least 0.95"),
    "no proofs": (change_manifest(lambda manifest: manifest.pop("proofs")), "lists no proofs"),
    "an older manifest": (change_manifest(lambda manifest: manifest.update(format=1)), "format 1"),
    "other words on this CPU": (
        change_manifest(change_the_evidence),
        f"on this CPU ({this_cpu()}) onnx_int8 does not reproduce",
    ),
    "no evidence": (change_manifest(lambda manifest: manifest.pop("evidence")), "keeps no evidence of onnx_int8"),
    "no manifest": (lambda model: (model / "manifest.json").unlink(), "there is no manifest.json"),
}


def _swap_letters(path: Path) -> None:
    vocabulary = json.loads(path.read_text(encoding="utf-8"))
    vocabulary["a"], vocabulary["e"] = vocabulary["e"], vocabulary["a"]
    path.write_text(json.dumps(vocabulary), encoding="utf-8")


def settled(client: Client) -> Any:
    """The answer of `/readyz` once the model is loaded or refused."""
    while "being loaded" in (answer := client.get("/readyz")).text:
        time.sleep(0.01)
    return answer


def assert_ready(answer: httpx.Response, model: str, backend: str) -> None:
    assert answer.status_code == 200, answer.text
    assert {name: answer.json()[name] for name in ("model", "backend")} == {"model": model, "backend": backend}


def test_a_proven_model_is_served(serve: ServiceFactory, model: Path) -> None:
    with serve(load=load_model, ready=False, model_dir=str(model), backend="onnx_int8") as client:
        assert_ready(settled(client), "tr-small", "onnx_int8")


@pytest.mark.parametrize("case", DOUBTFUL)
def test_what_is_not_proven_is_not_served(serve: ServiceFactory, model: Path, case: str) -> None:
    change, reason = DOUBTFUL[case]
    change(model)
    with serve(load=load_model, ready=False, model_dir=str(model), backend="onnx_int8") as client:
        assert reason in assert_error(settled(client), 503, "not_ready")["message"]
        assert client.get("/livez").json() == {"status": "alive"}
        refused = client.post("/transcribe", files={"file": wav(speechlike(1))})
        assert reason in assert_error(refused, 503, "not_ready")["message"]
        assert str(model.parent) not in client.get("/").text


@pytest.mark.parametrize("case", DOUBTFUL)
def test_one_setting_serves_it_all_the_same_and_says_so(
    serve: ServiceFactory, model: Path, case: str, caplog: pytest.LogCaptureFixture
) -> None:
    change, reason = DOUBTFUL[case]
    change(model)
    with serve(load=load_model, ready=False, model_dir=str(model), backend="onnx_int8", allow_unproven=True) as client:
        answer = settled(client)
        assert answer.status_code == 200
        (noted,) = answer.json()["unproven"]
        assert reason in noted
        assert str(model.parent) not in answer.text
        assert client.post("/transcribe", files={"file": wav(speechlike(1))}).status_code == 200
    errors = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert len(errors) == 1
    assert reason in errors[0]


def until_ready(client: Client, ready: bool) -> str:
    """Waits; gives the answer's text."""
    give_up = time.monotonic() + PATIENCE_S
    while ((answer := client.get("/readyz")).status_code == 200) != ready:
        assert time.monotonic() < give_up
        time.sleep(0.01)
    return answer.text


def test_an_engine_that_is_stuck_turns_readiness_off_until_it_goes_on(
    serve: ServiceFactory, engine: FakeRecognizer
) -> None:
    with serve(canary_s=0.1) as client:
        engine.gate.clear()
        assert "did not answer within 0.1 s" in until_ready(client, ready=False)
        assert client.get("/livez").status_code == 200
        refused = client.post("/transcribe", files={"file": wav(speechlike(1))})
        assert_error(refused, 503, "not_ready")
        engine.gate.set()
        until_ready(client, ready=True)
        assert client.post("/transcribe", files={"file": wav(speechlike(1))}).status_code == 200


@pytest.mark.parametrize("before_s", [0, 60], ids=["in the first window", "later in a long clip"])
def test_one_stuck_worker_turns_readiness_off_too(serve: ServiceFactory, engine: FakeRecognizer, before_s: int) -> None:
    gate = threading.Event()
    usual = engine.emissions

    def stuck_on_silence(clips: Sequence[Samples]) -> list[Emissions]:
        if not clips[0].any():
            gate.wait(PATIENCE_S)
        return usual(clips)

    engine.emissions = stuck_on_silence  # type: ignore[method-assign]
    with serve(canary_s=0.05, workers=2) as client, ThreadPoolExecutor() as pool:
        sound = np.append(speechlike(before_s), np.zeros(80 * 16_000 if before_s else 16_000))
        stuck = pool.submit(client.post, "/transcribe", files={"file": wav(sound)})
        try:
            assert "computing one window for more than" in until_ready(client, ready=False)
        finally:
            gate.set()
        assert stuck.result().status_code == 200
        until_ready(client, ready=True)


@pytest.mark.parametrize("failure", [RuntimeError("out of memory in /srv/x"), None], ids=["raises", "nonsense"])
def test_an_engine_that_fails_turns_readiness_off(
    serve: ServiceFactory, engine: FakeRecognizer, failure: Exception | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serve(canary_s=0.05) as client:
        if failure is None:
            monkeypatch.setattr(engine, "_recognize_word", lambda samples: np.zeros((3, 3), dtype=np.float32))
        engine.failure = failure
        text = until_ready(client, ready=False)
        assert "the engine fails" in text
        assert "/srv" not in text


def test_an_idle_service_gives_memory_back(serve: ServiceFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    given_back = threading.Event()
    monkeypatch.setattr("app.service.return_freed_memory", given_back.set)
    with serve(canary_s=0.05) as client:
        assert client.post("/transcribe", files={"file": wav(speechlike(1))}).status_code == 200
        given_back.clear()
        assert given_back.wait(PATIENCE_S)


def test_without_a_folder_for_temporary_files_it_says_so(
    serve: ServiceFactory, temp_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(temp_folder / "none"))
    with serve(ready=False) as client:
        assert "temporary files" in assert_error(settled(client), 503, "not_ready")["message"]


def test_whatever_loading_raises_the_service_says_that_it_failed(
    serve: ServiceFactory, caplog: pytest.LogCaptureFixture
) -> None:
    def load(settings: Settings) -> Any:
        raise MemoryError("no room in /srv/models")

    with serve(load=load, ready=False) as client:
        message = assert_error(settled(client), 503, "not_ready")["message"]
        assert "could not be loaded" in message
        assert "/srv" not in message
        assert client.get("/livez").status_code == 200
    assert "no room" in caplog.text, "the log says why"


def test_a_check_that_fails_in_another_way_turns_readiness_off(
    serve: ServiceFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serve(canary_s=0.05) as client:
        with monkeypatch.context() as broken:
            broken.setattr(FakeRecognizer, "check", lambda *arguments: 1 / 0)
            assert "the check of the engine failed" in until_ready(client, ready=False)
        until_ready(client, ready=True)


def test_the_checkpoint_itself_needs_no_proof(serve: ServiceFactory, model: Path) -> None:
    (model / "manifest.json").unlink()
    with serve(load=load_model, ready=False, model_dir=str(model), backend="pytorch") as client:
        assert_ready(settled(client), "tr-copy", "pytorch")


def test_a_checkpoint_whose_head_is_missing_is_not_served(serve: ServiceFactory, model: Path) -> None:
    (model / "manifest.json").unlink()
    weights = {name: value for name, value in load_file(model / "model.safetensors").items() if "lm_head" not in name}
    save_file(weights, model / "model.safetensors", {"format": "pt"})
    with serve(load=load_model, ready=False, model_dir=str(model), backend="pytorch") as client:
        message = assert_error(settled(client), 503, "not_ready")["message"]
        assert "the model needs lm_head.bias, lm_head.weight, which its files do not have" in message


def test_weights_of_the_checkpoint_are_compared_with_the_manifest(serve: ServiceFactory, model: Path) -> None:
    flip_a_byte("model.safetensors")(model)
    with serve(load=load_model, ready=False, model_dir=str(model), backend="pytorch") as client:
        assert "model.safetensors is not the file" in assert_error(settled(client), 503, "not_ready")["message"]


def backend_that_answers(client: Client) -> str:
    """As `/transcribe` says it; all else must say the same."""
    backend = client.post("/transcribe", files={"file": wav(speechlike(1))}).json()["backend"]
    assert client.get("/readyz").json()["backend"] == client.get("/").json()["backend"] == backend
    assert f'dikte_model_info{{backend="{backend}",' in client.get("/metrics").text
    return str(backend)


@pytest.fixture
def ranked(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Call it with the backends that `auto` shall find, the fastest first."""

    def rank(*backends: str) -> None:
        monkeypatch.setattr("app.service.rank_backends", lambda *arguments: list(backends))

    return rank


@pytest.mark.parametrize("fastest", ["onnx", "onnx_int8"])
def test_by_default_the_fastest_backend_serves(
    serve: ServiceFactory, model: Path, fastest: str, ranked: Callable[..., None], caplog: pytest.LogCaptureFixture
) -> None:
    ranked(fastest, "pytorch")
    caplog.set_level(logging.INFO, "dikte")
    with serve(load=load_model, ready=False, model_dir=str(model)) as client:
        assert_ready(settled(client), "tr-small", fastest)
        assert backend_that_answers(client) == fastest
    assert f"this CPU: {this_cpu()}" in caplog.messages
    assert f"ready: tr-small on {fastest}," in caplog.text


def test_where_the_fastest_is_not_the_proven_one_the_next_serves(
    serve: ServiceFactory, model: Path, ranked: Callable[..., None], caplog: pytest.LogCaptureFixture
) -> None:
    flip_a_byte("model_int8.onnx")(model)
    ranked("onnx_int8", "onnx")
    with serve(load=load_model, ready=False, model_dir=str(model)) as client:
        assert_ready(settled(client), "tr-small", "onnx")
        assert "unproven" not in client.get("/readyz").json()
        assert backend_that_answers(client) == "onnx"
    assert "onnx_int8 is left out: tr-small is not proven: model_int8.onnx is not the file" in caplog.text


def test_where_no_backend_can_serve_the_reason_has_all(
    serve: ServiceFactory, model: Path, ranked: Callable[..., None]
) -> None:
    for name in ("model_int8.onnx", "model.onnx"):
        flip_a_byte(name)(model)
    ranked("onnx_int8", "onnx")
    with serve(load=load_model, ready=False, model_dir=str(model)) as client:
        reason = assert_error(settled(client), 503, "not_ready")["message"]
        assert reason.startswith("no backend can serve tr-small: onnx_int8: ")
        assert "; onnx: tr-small is not proven: model.onnx is not the file" in reason
        assert "ASR_ALLOW_UNPROVEN=true" in reason
        assert str(model.parent) not in reason


def test_a_named_backend_gives_way_to_no_other(
    serve: ServiceFactory, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.service.rank_backends", lambda *arguments: pytest.fail("measured"))
    with serve(load=load_model, ready=False, model_dir=str(model), backend="onnx") as client:
        assert_ready(settled(client), "tr-small", "onnx")


def test_a_checkpoint_that_was_not_exported_is_served_as_it_is(serve: ServiceFactory, model: Path) -> None:
    for name in ("model_int8.onnx", "model.onnx", "manifest.json"):
        (model / name).unlink()
    with serve(load=load_model, ready=False, model_dir=str(model)) as client:
        assert_ready(settled(client), "tr-copy", "pytorch")


def test_a_hub_id_is_not_fetched_unless_pytorch_is_named(serve: ServiceFactory) -> None:
    with serve(load=load_model, ready=False, model_dir="nobody/nothing") as client:
        assert "there is no model folder" in assert_error(settled(client), 503, "not_ready")["message"]


@pytest.mark.parametrize(
    ("backend", "name"), [("pytorch", "model.safetensors"), ("onnx", "model.onnx"), ("onnx_int8", "vocab.json")]
)
def test_a_git_lfs_pointer_is_named_to_whoever_asks(
    serve: ServiceFactory, model: Path, backend: str, name: str
) -> None:
    (model / name).write_bytes(LFS_POINTER + b"\noid sha256:" + b"0" * 64 + b"\nsize 1\n")
    with serve(load=load_model, ready=False, model_dir=str(model), backend=backend) as client:
        message = assert_error(settled(client), 503, "not_ready")["message"]
        assert message == f"{name} in tr-copy is a Git LFS pointer, not the file itself: run `git lfs pull` there"


def test_the_setting_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ASR_ALLOW_UNPROVEN", raising=False)
    assert Settings().allow_unproven is False
    monkeypatch.setenv("ASR_ALLOW_UNPROVEN", "true")
    assert Settings().allow_unproven is True


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("there is no model folder /srv/speech/models/tr", "there is no model folder tr"),
        ("`export.py --onnx_dir /srv/models/tr`, or", "`export.py --onnx_dir tr`, or"),
        ("Load model from /srv/m.onnx failed:/build/src/graph.cc:12 x", "Load model from m.onnx failed:graph.cc:12 x"),
        ("FileNotFoundError('/srv/models/tr/vocab.json')", "FileNotFoundError('vocab.json')"),
        ("cahya/wav2vec2 of https://huggingface.co/api/models", "cahya/wav2vec2 of https://huggingface.co/api/models"),
        ("models/tr-small and / or 2/3", "models/tr-small and / or 2/3"),
    ],
)
def test_clients_do_not_learn_where_files_are(text: str, told: str) -> None:
    assert without_folders(text) == told


def test_a_keyword_of_the_settings_that_the_model_cannot_write_stops_the_start() -> None:
    with pytest.raises(ArtifactError, match=r"no letter for '5' of the keyword '5G'.* \(ASR_KEYWORDS\)"):
        load_backend(open_model(BUNDLED_MODEL), "onnx_int8", Settings(keywords="Kadıköy, 5G", threads=1))
