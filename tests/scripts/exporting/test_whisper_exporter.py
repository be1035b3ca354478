"""Whisper checkpoints through the whole of `scripts/export.py`, on tiny models with random weights."""

import json
from pathlib import Path
from typing import Any

import pytest

from app.artifacts import ArtifactError
from app.families.whisper.recognizer import WhisperRecognizer
from app.models import check_evidence, check_proofs, load_recognizer, open_model, warm_up
from scripts.export import export
from scripts.exporting import whisper_exporter, whisper_proofs
from scripts.exporting.exporter import Layout, Options
from scripts.exporting.graph_export import Quantization
from scripts.exporting.proofs import Limit
from tests.checkpoints import RANDOM_WER, exporting
from tests.whisper_checkpoints import make_whisper

BACKENDS = ("onnx", "onnx_int8")


@pytest.fixture(autouse=True)
def random_weights_prove_little(monkeypatch: pytest.MonkeyPatch) -> None:
    """INT8 says other words than random weights in float32, and condensed silence others than a full window."""
    monkeypatch.setattr("scripts.export.find_spec", lambda _: None)  # as if OpenVINO were not installed
    limits = {**whisper_exporter.WhisperExporter.limits, "others": (Limit("argmax_agreement", "at least", 0.0),)}
    monkeypatch.setattr(whisper_exporter.WhisperExporter, "limits", limits)
    monkeypatch.setattr(whisper_proofs, "MAX_INCREASE", RANDOM_WER)


def options(**others: Any) -> Options:
    """Proofs on two of the bundled samples: only in speech there is anything to compute."""
    return Options(**{"eval_limit": 2, "max_reference_wer": RANDOM_WER} | others)


def manifest_of(folder: Path) -> dict[str, Any]:
    manifest: dict[str, Any] = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    return manifest


@pytest.mark.parametrize(
    "variant",
    [{}, {"multilingual": False, "mel_bins": 128, "decoder_layers": 1, "tokenizer_json": False}],
    ids=["multilingual", "English-only"],
)
def test_a_checkpoint_becomes_a_proven_artifact(variant: dict[str, Any], checkpoints: Path, tmp_path: Path) -> None:
    with exporting():
        export(str(make_whisper(checkpoints, **variant)), tmp_path, options())
    manifest = manifest_of(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {*manifest["files"], "manifest.json"}
    proven = {(proof["backend"], proof["name"]): proof["measured"] for proof in manifest["proofs"]["checks"]}
    assert proven["onnx", "generate_agreement"] == 1
    assert proven["onnx", "max_difference"] < 1e-3
    assert manifest["condensed_silence"] is True
    assert {one["backend"] for one in manifest["condensing"]} == set(BACKENDS)
    model = open_model(tmp_path)
    for backend in BACKENDS:
        check_proofs(model, backend)
        recognizer = load_recognizer(model, backend, threads=1)
        assert isinstance(recognizer, WhisperRecognizer)
        assert recognizer.model.condenses
        warm_up(recognizer, model.artifact)
        check_evidence(recognizer, model.artifact, backend)
        assert model.artifact.unproven_reasons == []


def test_condensed_silence_that_raises_the_word_error_rate_is_not_served(
    checkpoints: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(whisper_proofs, "MAX_INCREASE", -RANDOM_WER)
    with exporting():
        export(str(make_whisper(checkpoints)), tmp_path, options())
    manifest = manifest_of(tmp_path)
    assert manifest["condensed_silence"] is False
    assert len(manifest["condensing"]) == len(BACKENDS)
    recognizer = load_recognizer(open_model(tmp_path), "onnx_int8", threads=1)
    assert isinstance(recognizer, WhisperRecognizer)
    assert not recognizer.model.condenses


def test_other_evidence_is_noticed(checkpoints: Path, tmp_path: Path) -> None:
    with exporting():
        export(str(make_whisper(checkpoints)), tmp_path, options(eval_limit=1))
    manifest = manifest_of(tmp_path)
    clip = next(iter(manifest["evidence"]["clips"].values()))
    clip["onnx"]["log_probabilities"] = [value - 5 for value in clip["onnx"]["log_probabilities"]]
    (tmp_path / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    model = open_model(tmp_path, allow_unproven=True)
    check_evidence(load_recognizer(model, "onnx", threads=1), model.artifact, "onnx")
    assert "does not reproduce the output" in model.artifact.unproven_reasons[0]


def test_static_quantization_is_refused(checkpoints: Path, tmp_path: Path) -> None:
    with exporting(), pytest.raises(ArtifactError, match="--quantization dynamic only"):
        export(str(make_whisper(checkpoints)), tmp_path, options(quantization=Quantization(method="static")))


@pytest.mark.parametrize("layout", ["dikte", "optimum"])
def test_weights_of_4_bits_are_refused(layout: Layout, checkpoints: Path, tmp_path: Path) -> None:
    with exporting(), pytest.raises(ArtifactError, match="--weight_bits 4 is for CTC models"):
        export(str(make_whisper(checkpoints)), tmp_path, options(quantization=Quantization(bits=4), layout=layout))


def test_products_can_stay_in_float(checkpoints: Path, tmp_path: Path) -> None:
    kept = Quantization(keep=("*/fc1/*", "*/expand/*"))
    with exporting(), pytest.raises(ArtifactError, match="no product matches"):
        export(str(make_whisper(checkpoints)), tmp_path, options(quantization=kept))
