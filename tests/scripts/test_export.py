import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import soundfile
import torch
from onnx import numpy_helper
from safetensors.torch import load_file
from transformers import PreTrainedModel

from app.artifacts import MANIFEST_NAME, ArtifactError, open_artifact, sha256_of
from app.asr import load_engine, warm_up
from scripts.export import compare, main
from scripts.onnx_files import count_operators, export_model
from tests.checkpoints import RATE_HZ, SHAPES, babbling, built, clips, exported, exporting


def run(monkeypatch: pytest.MonkeyPatch, checkpoint: Path, out: Path, sounds: Path, *options: str) -> None:
    arguments = ["--checkpoint_dir", str(checkpoint), "--onnx_dir", str(out), "--clips", str(sounds), *options]
    monkeypatch.setattr(sys, "argv", ["export.py", *arguments])
    with exporting():
        main()


def manifest_of(artifact: Path) -> dict[str, Any]:
    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    text = (artifact / MANIFEST_NAME).read_text(encoding="utf-8")
    manifest: dict[str, Any] = json.loads(text, parse_constant=refuse)
    return manifest


@pytest.fixture
def sounds(tmp_path: Path, checkpoints: Path) -> Path:
    """A copy of the clips, to be changed."""
    return shutil.copytree(clips(checkpoints), tmp_path / "sounds")


@pytest.mark.parametrize("shape", SHAPES)
def test_every_shape_of_checkpoint_becomes_an_artifact(shape: str, checkpoints: Path) -> None:
    artifact = open_artifact(exported(shape, checkpoints))
    assert artifact.name == f"test-{shape}"
    assert artifact.vocabulary == open_artifact(built(shape, checkpoints)).vocabulary
    for backend in ("onnx", "onnx_int8"):
        warm_up(load_engine(artifact, backend, threads=1), artifact)


@pytest.mark.parametrize("shape", SHAPES)
def test_only_what_serving_needs_is_in_it(shape: str, checkpoints: Path) -> None:
    names = {path.name for path in exported(shape, checkpoints).iterdir()}
    needed = {"config.json", "preprocessor_config.json", "vocab.json", "tokenizer_config.json"}
    assert needed | {"model.onnx", "model_int8.onnx", MANIFEST_NAME} <= names
    assert names <= needed | {
        *("model.onnx", "model_int8.onnx", MANIFEST_NAME, "added_tokens.json", "special_tokens_map.json")
    }


@pytest.mark.parametrize("shape", SHAPES)
def test_the_manifest_describes_every_file(shape: str, checkpoints: Path) -> None:
    folder = exported(shape, checkpoints)
    files = manifest_of(folder)["files"]
    assert files.keys() == {path.name for path in folder.iterdir()} - {MANIFEST_NAME}
    for name, described in files.items():
        assert described == {"sha256": sha256_of(folder / name), "bytes": (folder / name).stat().st_size}


@pytest.mark.parametrize("shape", SHAPES)
def test_the_manifest_says_what_was_proven(shape: str, checkpoints: Path) -> None:
    manifest = manifest_of(exported(shape, checkpoints))
    assert manifest["source"] == str(built(shape, checkpoints))
    assert manifest["parity"]["fp32"]["clips"] == 2
    assert manifest["parity"]["fp32"]["max_difference"] < 1e-4
    assert manifest["parity"]["fp32"]["argmax_agreement"] == manifest["parity"]["fp32"]["text_equality"] == 1.0
    assert 1e-4 < manifest["parity"]["int8"]["max_difference"] < 2.0
    assert manifest["parity"]["int8"]["argmax_agreement"] >= 0.95
    operators = count_operators(exported(shape, checkpoints) / "model_int8.onnx")
    assert manifest["quantization"]["operators"]["MatMulInteger"] == operators["MatMulInteger"] == 14
    assert manifest["tools"]["torch"] == torch.__version__


@pytest.mark.parametrize("name", ["model.onnx", "model_int8.onnx"])
def test_a_changed_byte_is_found(name: str, checkpoints: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(exported("cahya_like", checkpoints), tmp_path / "artifact")
    assert open_artifact(folder).file(name) == folder / name
    content = bytearray((folder / name).read_bytes())
    content[len(content) // 2] ^= 1
    (folder / name).write_bytes(content)
    with pytest.raises(ArtifactError, match=f"{name} .*sha256"):
        open_artifact(folder).file(name)
    with pytest.raises(ArtifactError, match="sha256"):
        load_engine(open_artifact(folder), "onnx" if name == "model.onnx" else "onnx_int8", threads=1)


def test_the_command_says_where_it_is(
    checkpoints: Path, sounds: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "new" / "artifact"
    run(monkeypatch, built("small", checkpoints), out, sounds, "--name", "my model")
    assert manifest_of(out)["name"] == open_artifact(out).name == "my model"
    assert f"ASR_MODEL_DIR={out} make serve" in capsys.readouterr().out


def test_the_checkpoint_can_be_in_the_artifact(
    checkpoints: Path, sounds: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(monkeypatch, built("cahya_like", checkpoints), tmp_path / "out", sounds, "--with_checkpoint")
    artifact = open_artifact(tmp_path / "out")
    assert {value.dtype for value in load_file(artifact.folder / "model.safetensors").values()} == {torch.float16}
    assert artifact.vocabulary == open_artifact(built("cahya_like", checkpoints)).vocabulary
    assert "model.safetensors" in artifact.manifest["files"]
    speech = [babbling(1.0, seed=8)]
    by_torch, by_onnx = (load_engine(artifact, backend, 1).emissions(speech)[0] for backend in ("pytorch", "onnx"))
    np.testing.assert_allclose(by_onnx, by_torch, atol=1e-4)


def test_a_checkpoint_folder_can_become_an_artifact_in_place(
    checkpoints: Path, sounds: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = shutil.copytree(built("cahya_like", checkpoints), tmp_path / "both")
    run(monkeypatch, folder, folder, sounds)
    artifact = open_artifact(folder)
    assert artifact.file("vocab.json").read_bytes() == (built("cahya_like", checkpoints) / "vocab.json").read_bytes()
    assert load_engine(artifact, "pytorch", 1).emissions([babbling(0.5, 1)])[0].shape[1] == 40


def spoil_onnx(model: PreTrainedModel, path: Path) -> None:
    """Export something else than the checkpoint."""
    with torch.no_grad():
        model.get_parameter("lm_head.bias")[3] += 0.01
    export_model(model, path)


def spoil_int8(source: Path, target: Path) -> None:
    """Store a model that says the opposite."""
    proto = onnx.load(source)
    (head,) = [item for item in proto.graph.initializer if list(item.dims) == [32, 40]]
    head.CopyFrom(numpy_helper.from_array(-numpy_helper.to_array(head), head.name))
    onnx.save(proto, target)


@pytest.mark.parametrize(
    ("step", "spoiled", "message"),
    [("export_model", spoil_onnx, "ONNX FP32 does not compute"), ("quantize", spoil_int8, "INT8 does not say")],
)
@pytest.mark.parametrize("silence", [False, True], ids=["speech", "with a silent clip"])
def test_a_failed_proof_ends_the_command_without_a_manifest(
    step: str,
    spoiled: Any,
    message: str,
    silence: bool,
    checkpoints: Path,
    sounds: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if silence:
        soundfile.write(sounds / "0 silence.wav", np.zeros(RATE_HZ), RATE_HZ)
    folder = shutil.copytree(exported("cahya_like", checkpoints), tmp_path / "artifact")
    monkeypatch.setattr(f"scripts.export.{step}", spoiled)
    with pytest.raises(SystemExit, match=f"export failed: {message}") as exit_:
        run(monkeypatch, built("cahya_like", checkpoints), folder, sounds)
    assert exit_.value.code != 0
    assert not (folder / MANIFEST_NAME).exists(), "also not the one of an earlier export"


def test_silent_and_very_short_clips_prove_nothing_and_break_nothing(
    checkpoints: Path, sounds: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    soundfile.write(sounds / "0 silence.wav", np.zeros(RATE_HZ), RATE_HZ)
    soundfile.write(sounds / "0 short.wav", babbling(0.01, 1), RATE_HZ)
    run(monkeypatch, built("cahya_like", checkpoints), tmp_path / "out", sounds)
    parity = manifest_of(tmp_path / "out")["parity"]["fp32"]
    assert parity["clips"] == 4
    assert 0 < parity["max_difference"] < 1e-4


def test_nan_is_no_parity(checkpoints: Path) -> None:
    artifact = open_artifact(exported("cahya_like", checkpoints))
    right = {"a": np.log(np.full((5, 40), 1 / 40, np.float32))}
    wrong = {"a": np.full((5, 40), np.nan, np.float32)}
    assert not compare(artifact, right, wrong)["max_difference"] <= 1e9


@pytest.mark.parametrize("content", [None, b"", b"RIFF\x00\x00\x00\x00WAVEbroken"], ids=["none", "empty", "broken"])
def test_without_sound_to_compare_on_the_message_says_so(
    content: bytes | None, checkpoints: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sounds = tmp_path / "sounds"
    if content is not None:
        sounds.mkdir()
        (sounds / "clip.wav").write_bytes(content)
    with pytest.raises(SystemExit, match=r"export failed: .*(sounds|clip\.wav)"):
        run(monkeypatch, built("cahya_like", checkpoints), tmp_path / "out", sounds)
    assert not (tmp_path / "out" / MANIFEST_NAME).exists()


def test_a_checkpoint_without_a_tokenizer_cannot_be_exported(
    checkpoints: Path, sounds: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = shutil.copytree(built("cahya_like", checkpoints), tmp_path / "checkpoint")
    (folder / "vocab.json").unlink()
    with pytest.raises(SystemExit, match=r"export failed: vocab\.json is missing"):
        run(monkeypatch, folder, tmp_path / "out", sounds)
