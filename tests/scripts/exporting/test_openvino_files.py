import json
import shutil
import sys
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from numpy.typing import NDArray
from onnx import ModelProto
from transformers import AutoModelForCTC, Wav2Vec2Config, Wav2Vec2ForCTC

from app.artifacts import MANIFEST_NAME, UnprovenError, open_artifact, sha256_of
from app.families.ctc import GRAPH
from app.families.ctc import graph as graph_module
from app.families.ctc.recognizer import CtcRecognizer
from app.models import warm_up
from app.runtimes.openvino import CORE
from app.runtimes.registry import openvino_int8_file
from scripts.export import main
from scripts.exporting import onnx_files, openvino_files
from scripts.exporting.length_check import check_lengths
from scripts.exporting.onnx_files import MOST_WEIGHTS_BYTES, save
from scripts.exporting.openvino_files import has_narrow_groups, make_openvino_int8, read_form
from tests.checkpoints import RATE_HZ, TINY_CONFIG, babbling, built, by_optimum, clips, exporting, served
from tests.once import made_once
from tests.recognizers import ctc_recognizer, ctc_settings

MANIFEST = "manifest.jsonl"
OPENVINO_INT8 = openvino_int8_file(GRAPH)
OPENVINO_INT8_WEIGHTS = OPENVINO_INT8.replace(".xml", ".bin")
QUANTIZED = {"MatMul": 2 * (6 + 1) + 1, "Convolution": 6, "GroupConvolution": 0}
"""In each of two layers six products with weights and the one of queries and keys; the feature projection; all
convolutions but the first and the positional one. The head stays in float."""
AGREEMENT = 0.75
"""Minimum share of frames in which INT8 and PyTorch choose the same token. Random weights make it low."""


@pytest.fixture(scope="module")
def calibration(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A manifest of calibration clips that resemble the test clips."""
    folder = tmp_path_factory.mktemp("calibration")
    rows = []
    for seed in range(8):
        soundfile.write(folder / f"{seed}.wav", babbling(1.0 + seed / 4, 100 + seed), RATE_HZ, subtype="FLOAT")
        rows.append(json.dumps({"audio": f"{seed}.wav", "text": "", "duration": 1.0 + seed / 4}))
    (folder / "manifest.jsonl").write_text("\n".join(rows), encoding="utf-8")
    return str(folder / "manifest.jsonl")


@pytest.fixture(scope="module", params=["cahya_like", pytest.param("layer_norm_like", marks=pytest.mark.slow)])
def made(request: pytest.FixtureRequest, checkpoints: Path, calibration: str) -> tuple[Path, dict[str, int]]:
    """The folder of an artifact with the INT8 file, and the number of its INT8 operators by type."""

    def make(path: Path) -> None:
        folder = shutil.copytree(served(request.param, checkpoints), path / "artifact")
        (folder / MANIFEST_NAME).unlink()
        with exporting():
            counts = make_openvino_int8(built(request.param, checkpoints), folder, ctc_settings(folder), calibration)
        (path / "counts.json").write_text(json.dumps(counts), encoding="utf-8")

    path = made_once(checkpoints / "openvino" / request.param, make)
    return path / "artifact", json.loads((path / "counts.json").read_text(encoding="utf-8"))


@cache
def recognizer_of(folder: Path, backend: str) -> CtcRecognizer:
    return ctc_recognizer(folder, backend)


def emissions(folder: Path, backend: str, samples: NDArray[np.float32]) -> NDArray[np.float32]:
    (computed,) = recognizer_of(folder, backend).emissions([samples])
    return computed


def test_every_layer_that_gains_is_quantized(made: tuple[Path, dict[str, int]]) -> None:
    assert made[1] == QUANTIZED


def test_it_computes_the_same_as_the_checkpoint(made: tuple[Path, dict[str, int]]) -> None:
    folder, _ = made
    same = []
    for seed, duration_s in enumerate((0.025, 0.3, 1.0, 2.5, 4.0)):
        samples = babbling(duration_s, seed)
        expected, actual = (emissions(folder, backend, samples) for backend in ("pytorch", "openvino"))
        assert actual.shape == expected.shape
        same.append(actual.argmax(axis=1) == expected.argmax(axis=1))
    assert np.concatenate(same).mean() >= AGREEMENT
    warm_up(ctc_recognizer(folder, "openvino"), open_artifact(folder))


def test_a_tone_is_scaled_right(made: tuple[Path, dict[str, int]]) -> None:
    """Neighbouring samples of a low tone are nearly equal. Rounded to bfloat16, a variance could be negative."""
    folder, _ = made
    tone = np.sin(2 * np.pi * 30 * np.arange(RATE_HZ) / RATE_HZ).astype(np.float32)
    actual, expected = (emissions(folder, backend, tone) for backend in ("openvino", "pytorch"))
    assert np.isfinite(actual).all()
    assert (actual.argmax(axis=1) == expected.argmax(axis=1)).mean() >= AGREEMENT


def test_padding_changes_nothing(made: tuple[Path, dict[str, int]], monkeypatch: pytest.MonkeyPatch) -> None:
    folder, _ = made
    samples = babbling(1.2, 9)
    padded = emissions(folder, "openvino", samples)
    monkeypatch.setattr(graph_module, "MIN_STEP", 64)
    monkeypatch.setattr(graph_module, "MAX_STEP", 64)
    more = emissions(folder, "openvino", samples)
    monkeypatch.setattr(graph_module, "padded_length", lambda samples, framing: samples)
    alone = emissions(folder, "openvino", samples)
    for other in (more, alone):  # another order of summation may change the rounding to one of the 256 steps
        assert np.median(np.abs(other - padded)) < 0.1
        assert (other.argmax(axis=1) == padded.argmax(axis=1)).mean() >= 0.95


def test_a_model_without_the_form_is_quantized_as_it_is(
    checkpoints: Path, calibration: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(openvino_files, "has_openvino_form", lambda model: False)
    folder = shutil.copytree(by_optimum("cahya_like", checkpoints), tmp_path / "artifact")
    counts = make_openvino_int8(built("cahya_like", checkpoints), folder, ctc_settings(folder), calibration)
    assert counts["Convolution"] == 6
    warm_up(ctc_recognizer(folder, "openvino"), open_artifact(folder))


def test_a_strided_adapter_stays(checkpoints: Path, calibration: str, tmp_path: Path) -> None:
    """The adapter halves the number of frames. Without it, there would be twice as many."""
    shape = "wav2vec2 with strided adapter"
    folder = shutil.copytree(served(shape, checkpoints), tmp_path / "artifact")
    (folder / MANIFEST_NAME).unlink()
    make_openvino_int8(built(shape, checkpoints), folder, ctc_settings(folder), calibration)
    check_lengths(ctc_recognizer(folder, "openvino"))
    samples = babbling(2.5, 3)
    expected, actual = (emissions(folder, backend, samples) for backend in ("pytorch", "openvino"))
    assert (actual.argmax(axis=1) == expected.argmax(axis=1)).mean() >= AGREEMENT


@pytest.mark.parametrize(("groups", "is_kept"), [(8, True), (4, True), (2, False)])
def test_narrow_groups_stay_in_float32(groups: int, is_kept: bool) -> None:
    """32 channels in 2 groups are 16 per group, the smallest number that AMX computes correctly in bfloat16."""
    torch.manual_seed(3)
    group_norm = {"feat_extract_norm": "group", "do_stable_layer_norm": False, "conv_bias": False}
    config = Wav2Vec2Config(**(TINY_CONFIG | group_norm | {"num_conv_pos_embedding_groups": groups}))
    model = Wav2Vec2ForCTC(config).eval()
    (positions,) = (node for node in read_form(model).get_ops() if node.get_type_name() == "GroupConvolution")
    assert has_narrow_groups(positions) is is_kept


def test_weights_of_large_models_lie_beside_what_openvino_reads(
    checkpoints: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = []

    def saving(model: ModelProto, path: Path) -> None:
        save(model, path)
        sizes.append(path.stat().st_size)

    monkeypatch.setattr(openvino_files, "save", saving)
    source = built("layer_norm_like", checkpoints)
    samples = babbling(1.0, 4)[np.newaxis]
    results = []
    for most in (MOST_WEIGHTS_BYTES, 1_000):
        monkeypatch.setattr(onnx_files, "MOST_WEIGHTS_BYTES", most)
        with exporting():
            graph = read_form(AutoModelForCTC.from_pretrained(source, dtype=torch.float32))
        compiled = CORE.compile_model(graph, "CPU")
        results.append(compiled({"input_values": samples, "lengths": np.array([samples.shape[1]])})[0])
    assert sizes[1] < 0.7 * sizes[0]
    np.testing.assert_array_equal(*results)


def export(monkeypatch: pytest.MonkeyPatch, checkpoints: Path, out: Path, *options: str) -> dict[str, Any]:
    arguments = ["--checkpoint_dir", str(built("cahya_like", checkpoints)), "--onnx_dir", str(out)]
    arguments += ["--eval_manifest", str(clips(checkpoints) / MANIFEST)]
    monkeypatch.setattr(sys, "argv", ["export.py", *arguments, "--allow_unproven", *options])
    with exporting():
        main()
    manifest: dict[str, Any] = json.loads((out / MANIFEST_NAME).read_text(encoding="utf-8"))
    return manifest


def test_export_makes_proves_and_removes_it(
    checkpoints: Path, calibration: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = export(monkeypatch, checkpoints, tmp_path, "--openvino", "--calibration", calibration)
    for name in (OPENVINO_INT8, OPENVINO_INT8_WEIGHTS):
        assert manifest["files"][name]["sha256"] == sha256_of(tmp_path / name)
    checks = {(check["backend"], check["name"]): check for check in manifest["proofs"]["checks"]}
    assert checks["openvino", "argmax_agreement"]["measured"] >= AGREEMENT

    weights = tmp_path / OPENVINO_INT8_WEIGHTS
    content = bytearray(weights.read_bytes())
    content[len(content) // 2] ^= 1
    weights.write_bytes(content)
    with pytest.raises(UnprovenError, match=r"model_openvino_int8\.bin .*sha256"):
        ctc_recognizer(tmp_path, "openvino")

    manifest = export(monkeypatch, checkpoints, tmp_path)
    assert OPENVINO_INT8 not in manifest["files"]
    assert not weights.exists()
    warm_up(ctc_recognizer(tmp_path, "openvino"), open_artifact(tmp_path))


def test_without_calibration_data_the_message_says_so(
    checkpoints: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(SystemExit, match=r"there is no manifest nowhere\.jsonl"):
        export(monkeypatch, checkpoints, tmp_path, "--openvino", "--calibration", "nowhere.jsonl")
    assert not (tmp_path / MANIFEST_NAME).exists()
