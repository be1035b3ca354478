"""`scripts/language_model.py`, and `scripts/export.py` of a checkpoint that has a language model."""

import json
import shutil
import sys
from pathlib import Path

import pytest

from app.artifacts import MANIFEST_NAME, ArtifactError, sha256_of
from app.recognizer import Options
from scripts.export import export
from scripts.exporting.ctc_exporter import CtcExporter
from scripts.language_model import main
from scripts.speech.recognition import text_of
from tests.checkpoints import babbling, built, clips, exported, exporting, options
from tests.language_models import WEIGHTS, add_language_model
from tests.recognizers import ctc_recognizer

SHAPE = "small"
SENTENCES = "bir iki üç\nüç dört beş\niki dört beş\nbir iki\nbir beş üç\n"
"""The second and the fourth are those of the clips, and are left out."""


def run(monkeypatch: pytest.MonkeyPatch, model: Path, text: Path, speech: Path, *arguments: str) -> None:
    command = ["language_model.py", "--text", str(text), "--model_dir", str(model)]
    command += ["--tune", str(speech / "manifest.jsonl"), "--order", "3", "--beam", "4", "--workers", "1", *arguments]
    monkeypatch.setattr(sys, "argv", command)
    main()


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "sentences.txt"
    path.write_text(SENTENCES, encoding="utf-8")
    return path


def test_an_artifact_gets_a_language_model_that_is_proven_and_used(
    checkpoints: Path, tmp_path: Path, text: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    model = shutil.copytree(exported(SHAPE, checkpoints), tmp_path / "model")
    monkeypatch.setattr("scripts.exporting.language_model_proofs.MAX_INCREASE", 100.0)  # random weights
    run(monkeypatch, model, text, clips(checkpoints))
    printed = capsys.readouterr().out
    assert "from 3 lines; 2 sentences are left out" in printed
    assert "| alpha | beta | wrong words | WER |" in printed
    manifest = json.loads((model / MANIFEST_NAME).read_text(encoding="utf-8"))
    for name in ("language_model/attrs.json", "language_model/letters.npz"):
        assert manifest["files"][name]["sha256"] == sha256_of(model / name)
    (by_backend,) = manifest["language_model"]["accuracy"].values()
    assert by_backend.keys() == {"onnx", "onnx_int8"}
    assert [check["name"] for check in manifest["proofs"]["checks"]].count(
        "language_model_wer_increase_lower_bound"
    ) == 1
    assert not [path for path in model.iterdir() if path.name.startswith(".")]
    recognizer = ctc_recognizer(model, "onnx_int8")
    samples = babbling(1.5, 7)
    assert text_of(recognizer, samples) != text_of(recognizer, samples, Options(language_model=False))


def test_what_cannot_be_proven_leaves_the_artifact_as_it_was(
    checkpoints: Path, tmp_path: Path, text: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = shutil.copytree(exported(SHAPE, checkpoints), tmp_path / "model")
    before = {path.name: sha256_of(path) for path in model.iterdir()}
    monkeypatch.setattr("scripts.exporting.language_model_proofs.MAX_INCREASE", -100.0)
    with pytest.raises(SystemExit, match=r"no language model was added: .*language_model_wer_increase"):
        run(monkeypatch, model, text, clips(checkpoints))
    assert {path.name: sha256_of(path) for path in model.iterdir()} == before


def test_a_checkpoint_with_words_is_exported_with_them(checkpoints: Path, tmp_path: Path) -> None:
    checkpoint = shutil.copytree(built(SHAPE, checkpoints), tmp_path / "checkpoint")
    add_language_model(checkpoint, "word", WEIGHTS)
    artifact = tmp_path / "artifact"
    with exporting():
        export(str(checkpoint), artifact, options(checkpoints))
    manifest = json.loads((artifact / MANIFEST_NAME).read_text(encoding="utf-8"))
    folder = artifact / "language_model"
    described = {name for name in manifest["files"] if name.startswith("language_model/")}
    assert described == {f"language_model/{path.name}" for path in folder.iterdir()}
    served, reference = ctc_recognizer(artifact, "onnx"), ctc_recognizer(checkpoint, "pytorch")
    for seed in (1, 2):
        samples = babbling(0.6, seed)
        assert text_of(served, samples) == text_of(reference, samples)
        assert text_of(served, samples) != text_of(served, samples, Options(language_model=False))


@pytest.mark.parametrize("copied", [True, False])
def test_an_export_copies_the_language_model_unless_it_is_told_not_to(
    checkpoints: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, copied: bool
) -> None:
    checkpoint = shutil.copytree(built(SHAPE, checkpoints), tmp_path / "checkpoint")
    add_language_model(checkpoint, "word", WEIGHTS)

    def stop(*_: object) -> None:
        raise ArtifactError("stopped")

    monkeypatch.setattr(CtcExporter, "make", stop)
    with pytest.raises(ArtifactError, match="stopped"), exporting():
        export(str(checkpoint), tmp_path / "artifact", options(checkpoints, language_model=copied))
    assert (tmp_path / "artifact" / "language_model").is_dir() == copied
