import json
import os
import shutil
import sys
from collections.abc import Callable, Iterable
from datetime import date
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import soundfile
import torch
from onnx import numpy_helper
from safetensors.torch import load_file
from transformers import AutoConfig, PreTrainedModel

from app.artifacts import MANIFEST_NAME, ArtifactError, UnprovenError, open_artifact, sha256_of
from app.evidence import EVIDENCE_FILE
from app.families.ctc import GRAPH
from app.families.ctc.decoding import Emissions
from app.files import LFS_POINTER
from app.models import warm_up
from app.runtimes.registry import BACKENDS, openvino_int8_file
from app.settings import BUNDLED_MODEL
from scripts.export import export, main
from scripts.exporting import onnx_files
from scripts.exporting.artifact_folder import revision_of
from scripts.exporting.graph_export import Quantization, export_fp32, quantize_to
from scripts.exporting.onnx_files import count_operators, store_rounded
from scripts.exporting.proofs import LIMITS, OTHERS, QUANTIZED
from scripts.exporting.quantization import Feed
from tests.checkpoints import (
    RANDOM_WER,
    RATE_HZ,
    SHAPES,
    babbling,
    built,
    clips,
    exported,
    exporting,
    options,
    products_in_matrix_form,
    write_eval_manifest,
)
from tests.once import made_once
from tests.recognizers import ctc_recognizer, ctc_settings
from tests.reference import AGREEMENT, SAME, integer_products


def run(monkeypatch: pytest.MonkeyPatch, checkpoint: Path, out: Path, eval_folder: Path, *options: str) -> None:
    arguments = ["--checkpoint_dir", str(checkpoint), "--onnx_dir", str(out)]
    arguments += ["--eval_manifest", str(eval_folder / "manifest.jsonl")]
    with monkeypatch.context() as patch, exporting():
        patch.setattr(sys, "argv", ["export.py", *arguments, *options])
        # As if OpenVINO were not installed: `exported` proves the artifacts on it, and no other test needs that.
        patch.setattr("scripts.export.find_spec", lambda _: None)
        main()


def manifest_of(artifact: Path) -> dict[str, Any]:
    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    text = (artifact / MANIFEST_NAME).read_text(encoding="utf-8")
    manifest: dict[str, Any] = json.loads(text, parse_constant=refuse)
    return manifest


@pytest.fixture
def eval_folder(tmp_path: Path, checkpoints: Path) -> Path:
    """A copy of the clips that tests may change."""
    return shutil.copytree(clips(checkpoints), tmp_path / "eval_folder")


@pytest.fixture(autouse=True)
def words_are_no_measure(monkeypatch: pytest.MonkeyPatch) -> None:
    """Random weights give random words, and INT8 others. For these tiny models only frames are compared, loosely."""
    monkeypatch.setattr("scripts.export.MAX_REFERENCE_WER", RANDOM_WER)
    monkeypatch.setitem(LIMITS, OTHERS, (QUANTIZED[0]._replace(value=AGREEMENT["onnx_int8"]),))


@pytest.mark.parametrize("shape", SHAPES)
def test_every_shape_of_checkpoint_becomes_an_artifact(shape: str, checkpoints: Path) -> None:
    artifact = open_artifact(exported(shape, checkpoints))
    assert artifact.name == f"test-{shape}"
    assert ctc_settings(artifact.folder).vocabulary == ctc_settings(built(shape, checkpoints)).vocabulary
    for backend in ("onnx", "onnx_int8"):
        warm_up(ctc_recognizer(artifact.folder, backend), artifact)


def files_in(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("shape", SHAPES)
def test_only_what_serving_needs_is_in_it(shape: str, checkpoints: Path) -> None:
    names = files_in(exported(shape, checkpoints))
    needed = {"config.json", "preprocessor_config.json", "vocab.json", "tokenizer_config.json"}
    assert needed | {"model.onnx", "model_int8.onnx", MANIFEST_NAME} <= names
    assert names <= needed | {
        *("model.onnx", "model_int8.onnx", MANIFEST_NAME, "added_tokens.json", "special_tokens_map.json"),
        *(EVIDENCE_FILE.format(number) for number in range(4)),
        *("alphabet.json", "language_model/attrs.json", "language_model/ngrams.arpa", "language_model/unigrams.txt"),
    }


@pytest.mark.parametrize("shape", SHAPES)
def test_the_manifest_describes_every_file(shape: str, checkpoints: Path) -> None:
    folder = exported(shape, checkpoints)
    files = manifest_of(folder)["files"]
    assert files.keys() == files_in(folder) - {MANIFEST_NAME}
    for name, described in files.items():
        assert described == {"sha256": sha256_of(folder / name), "bytes": (folder / name).stat().st_size}


@pytest.mark.parametrize("shape", SHAPES)
def test_the_manifest_says_what_was_proven(shape: str, checkpoints: Path) -> None:
    manifest = manifest_of(exported(shape, checkpoints))
    assert manifest["source"] == str(built(shape, checkpoints))
    assert manifest["revision"] is None
    assert date.fromisoformat(manifest["created"]) >= date(2025, 1, 1)
    proofs = manifest["proofs"]
    fp32, int8 = (proofs["parity"][backend] for backend in ("onnx", "onnx_int8"))
    assert (fp32["against"], int8["against"]) == ("pytorch", "onnx")
    assert fp32["clips"] == int8["clips"] == 2
    assert fp32["max_difference"] < 1e-4
    assert fp32["argmax_agreement"] == fp32["text_equality"] == 1.0
    same, least_agreement = SAME["onnx_int8"], AGREEMENT["onnx_int8"]
    assert 1e-4 < int8["max_difference"] < same
    assert int8["argmax_agreement"] >= least_agreement
    checks = {(check["backend"], check["name"]): check for check in proofs["checks"]}
    assert checks["onnx", "max_difference"]["passed"]
    assert checks["onnx", "max_difference"]["measured"] == fp32["max_difference"]
    agreement = checks["onnx_int8", "argmax_agreement"]
    limits = {"measured": int8["argmax_agreement"], "limit": agreement["limit"], "bound": "at least"}
    assert agreement | limits | {"passed": agreement["measured"] >= agreement["limit"]} == agreement
    assert proofs["proven"] == all(check["passed"] for check in proofs["checks"])
    ((name, backends),) = proofs["accuracy"].items()
    assert name == str(clips(checkpoints) / "manifest.jsonl")
    assert backends.keys() == manifest["latency"]["median_s"].keys() == set(BACKENDS)
    assert backends["onnx"] == backends["pytorch"]
    assert backends["onnx"]["wer"]["rate"] > 0.5, "random weights do not recognize anything"
    assert manifest["latency"]["clip_s"] == 10.0
    assert manifest["latency"]["cpu"]
    operators = count_operators(exported(shape, checkpoints) / "model_int8.onnx")
    products = products_in_matrix_form(AutoConfig.from_pretrained(built(shape, checkpoints)))
    assert integer_products(manifest["quantization"]["operators"]) == integer_products(operators) == products
    assert manifest["quantization"]["method"] == (
        f"dynamic, MatMul, signed weights of 7 bits per channel: {products} products"
    )
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
        ctc_recognizer(folder, "onnx" if name == "model.onnx" else "onnx_int8")


def test_the_command_prints_the_path_of_the_artifact(
    checkpoints: Path,
    eval_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "new" / "artifact"
    run(monkeypatch, built("small", checkpoints), out, eval_folder, "--name", "my model")
    assert manifest_of(out)["name"] == open_artifact(out).name == "my model"
    assert f"ASR_MODEL_DIR={out} make serve" in capsys.readouterr().out


def test_weights_that_are_too_many_for_one_file_are_described_too(
    checkpoints: Path,
    eval_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(onnx_files, "MOST_WEIGHTS_BYTES", 1_000)
    out = tmp_path / "out"
    run(monkeypatch, built("cahya_like", checkpoints), out, eval_folder)
    printed, files = capsys.readouterr().out, manifest_of(out)["files"]
    for name, backend in (("model.onnx", "onnx"), ("model_int8.onnx", "onnx_int8")):
        weights = f"{name}_data"
        assert files[weights]["bytes"] > 0.2 * files[name]["bytes"]
        assert f"{name}: {(files[name]['bytes'] + files[weights]['bytes']) / 1e6:.1f} MB" in printed
        open_artifact(out).check_proofs(backend)
        (out / weights).write_bytes((out / weights).read_bytes()[::-1])
        with pytest.raises(UnprovenError, match=f"{weights} is not the file"):
            ctc_recognizer(out, backend)


@pytest.fixture(scope="module")
def large(checkpoints: Path) -> Path:
    """An artifact with external weights, as for models above 2 GB. Tests must not change it."""

    def make(folder: Path) -> None:
        with pytest.MonkeyPatch.context() as patch, exporting():
            patch.setattr(onnx_files, "MOST_WEIGHTS_BYTES", 1_000)
            export(str(built("cahya_like", checkpoints)), folder, options(checkpoints, openvino=True))

    return made_once(checkpoints / "large" / "artifact", make)


@cache
def heard_by(backend: str, large: Path) -> Emissions:
    """The emissions of a backend for a clip, from that artifact."""
    return ctc_recognizer(large, backend).emissions([babbling(0.5, 1)])[0]


class TestLinkedFolders:
    """Artifacts with external weights (as for models above 2 GB), in folders of links."""

    @staticmethod
    def as_the_hubs_cache(large: Path, folder: Path) -> Path:
        """snapshots/<commit>/model.onnx -> ../../blobs/<sha256>"""
        snapshot, blobs = folder / "snapshots" / "0a1b2c", folder / "blobs"
        snapshot.mkdir(parents=True)
        blobs.mkdir()
        for name in files_in(large):
            blob, link = blobs / sha256_of(large / name), snapshot / name
            shutil.copyfile(large / name, blob)
            link.parent.mkdir(exist_ok=True)
            link.symlink_to(os.path.relpath(blob, link.parent))
        return snapshot

    @staticmethod
    def as_a_kubernetes_volume(large: Path, folder: Path) -> Path:
        """model.onnx -> ..data/model.onnx, ..data -> ..2026_07_01"""
        shutil.copytree(large, folder / "..2026_07_01")
        (folder / "..data").symlink_to("..2026_07_01")
        for path in large.iterdir():
            (folder / path.name).symlink_to(Path("..data") / path.name)
        return folder

    @staticmethod
    def by_hard_links(large: Path, folder: Path) -> Path:
        copy = shutil.copytree(large, folder / "copy")
        return shutil.copytree(copy, folder / "linked", copy_function=os.link)

    @staticmethod
    def as_a_linked_folder(large: Path, folder: Path) -> Path:
        (folder / "linked").symlink_to(large)
        return folder / "linked"

    LAYOUTS = (as_the_hubs_cache, as_a_kubernetes_volume, by_hard_links, as_a_linked_folder)

    @pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.__name__)
    @pytest.mark.parametrize("backend", ["onnx", "onnx_int8", "openvino"])
    def test_they_are_served(
        self, backend: str, layout: Callable[[Path, Path], Path], large: Path, tmp_path: Path
    ) -> None:
        assert (large / "model.onnx_data").stat().st_size > 1_000
        recognizer = ctc_recognizer(layout(large, tmp_path), backend)
        recognizer.decoder()  # reads the language model
        (actual,) = recognizer.emissions([babbling(0.5, 1)])
        np.testing.assert_array_equal(actual, heard_by(backend, large))

    @pytest.mark.parametrize("link", [os.symlink, os.link])
    def test_weights_that_a_runtime_refuses_are_one_line(
        self, link: Callable[[Path, Path], None], large: Path, checkpoints: Path, tmp_path: Path
    ) -> None:
        """Older artifacts store the weights of the loop externally too."""
        folder = shutil.copytree(exported("cahya_like", checkpoints), tmp_path / "artifact")
        (folder / MANIFEST_NAME).unlink()
        model = onnx.load(folder / "model.onnx")
        onnx.save(model, folder / "model.onnx", save_as_external_data=True, location="model.onnx_data")
        ctc_recognizer(folder, "onnx")
        (folder / "model.onnx_data").rename(tmp_path / "weights")
        link(tmp_path / "weights", folder / "model.onnx_data")
        with pytest.raises(
            ArtifactError, match=r"^[^\n]*cannot load[^\n]*model\.onnx_data: weights that are links; [^\n]*cp -rL"
        ):
            ctc_recognizer(folder, "onnx")

    def test_openvino_does_not_leave_the_folder(self, large: Path, tmp_path: Path) -> None:
        """OpenVINO reads INT8 from the hub's cache, but not FP32, which has external weights."""
        folder = self.as_the_hubs_cache(large, tmp_path)
        (folder / openvino_int8_file(GRAPH)).unlink()
        with pytest.raises(ArtifactError, match=r"^[^\n]*cannot load[^\n]*model\.onnx_data, [^\n]*cp -rL"):
            ctc_recognizer(folder, "openvino")

    @pytest.mark.parametrize("name", ["model.onnx", "model.onnx_data", "vocab.json"])
    def test_a_git_lfs_pointer_is_one_line(self, name: str, large: Path, tmp_path: Path) -> None:
        folder = shutil.copytree(large, tmp_path / "artifact")
        (folder / name).write_bytes(LFS_POINTER + b"\noid sha256:" + b"0" * 64 + b"\nsize 1\n")
        with pytest.raises(ArtifactError, match=rf"^{name} in .*artifact is a Git LFS pointer.*git lfs pull"):
            ctc_recognizer(folder, "onnx")


def test_the_checkpoint_can_be_in_the_artifact(
    checkpoints: Path, eval_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(monkeypatch, built("cahya_like", checkpoints), tmp_path / "out", eval_folder, "--with_checkpoint")
    artifact = open_artifact(tmp_path / "out")
    assert {value.dtype for value in load_file(artifact.folder / "model.safetensors").values()} == {torch.float16}
    assert ctc_settings(artifact.folder).vocabulary == ctc_settings(built("cahya_like", checkpoints)).vocabulary
    assert "model.safetensors" in artifact.manifest["files"]
    speech = [babbling(1.0, seed=8)]
    by_torch, by_onnx = (
        ctc_recognizer(artifact.folder, backend).emissions(speech)[0] for backend in ("pytorch", "onnx")
    )
    np.testing.assert_allclose(by_onnx, by_torch, atol=1e-4)


def test_a_checkpoint_folder_can_become_an_artifact_in_place(
    checkpoints: Path, eval_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = shutil.copytree(built("cahya_like", checkpoints), tmp_path / "both")
    run(monkeypatch, folder, folder, eval_folder)
    artifact = open_artifact(folder)
    assert artifact.file("vocab.json").read_bytes() == (built("cahya_like", checkpoints) / "vocab.json").read_bytes()
    assert ctc_recognizer(folder, "pytorch").emissions([babbling(0.5, 1)])[0].shape[1] == 40


def spoil_onnx(model: PreTrainedModel, path: Path) -> None:
    """Export another model than the checkpoint."""
    with torch.no_grad():
        model.get_parameter("lm_head.bias")[3] += 0.01
    export_fp32(model, path)


def spoil_int8(_: PreTrainedModel, fp32: Path, path: Path, *__: Quantization | Iterable[Feed]) -> int:
    """Store a model with negated logits."""
    proto = onnx.load(fp32)
    (head,) = [item for item in proto.graph.initializer if list(item.dims) == [32, 40]]
    head.CopyFrom(numpy_helper.from_array(-numpy_helper.to_array(head), head.name))
    onnx.save(proto, path)
    return 0


SPOILED = [
    ("export_fp32", spoil_onnx, "max_difference of onnx is 0.01"),
    ("export_int8", spoil_int8, "argmax_agreement of onnx_int8 is 0"),
]


def add_silence(eval_folder: Path) -> None:
    soundfile.write(eval_folder / "silence.wav", np.zeros(RATE_HZ), RATE_HZ)
    soundfile.write(eval_folder / "short.wav", babbling(0.01, 1), RATE_HZ)
    write_eval_manifest(eval_folder, {"silence.wav": "", "one.wav": "bir iki", "short.wav": "", "two.flac": "üç"})


@pytest.mark.parametrize(("step", "spoiled", "message"), SPOILED)
@pytest.mark.parametrize("silence", [False, True], ids=["speech", "with a silent clip"])
def test_a_failed_proof_ends_the_command_without_a_manifest(
    step: str,
    spoiled: Any,
    message: str,
    silence: bool,
    checkpoints: Path,
    eval_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if silence:
        add_silence(eval_folder)
    folder = shutil.copytree(exported("cahya_like", checkpoints), tmp_path / "artifact")
    monkeypatch.setattr(f"scripts.exporting.ctc_exporter.{step}", spoiled)
    with pytest.raises(SystemExit, match=f"export failed: .*{message}.*, must be at") as exit_:
        run(monkeypatch, built("cahya_like", checkpoints), folder, eval_folder)
    assert exit_.value.code != 0
    assert not (folder / MANIFEST_NAME).exists(), "not even that of an earlier export"


@pytest.mark.parametrize(("step", "spoiled", "message"), SPOILED)
def test_a_failed_proof_can_be_recorded_in_the_manifest(
    step: str,
    spoiled: Any,
    message: str,
    checkpoints: Path,
    eval_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(f"scripts.exporting.ctc_exporter.{step}", spoiled)
    run(monkeypatch, built("cahya_like", checkpoints), tmp_path / "out", eval_folder, "--allow_unproven")
    assert manifest_of(tmp_path / "out")["proofs"]["proven"] is False
    printed = capsys.readouterr()
    assert f"FAILED: {message}" in printed.out
    assert "UNPROVEN" in printed.err
    assert f"ASR_ALLOW_UNPROVEN=true ASR_MODEL_DIR={tmp_path / 'out'}" in printed.out
    for backend in ("onnx", "onnx_int8"):
        with pytest.raises(UnprovenError, match=message):
            open_artifact(tmp_path / "out").check_proofs(backend)


def test_a_reference_that_understands_nothing_proves_nothing(
    checkpoints: Path, eval_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    message = r"export failed: wer of pytorch is \S+, must be at most 0\.5; .*--eval_manifest.*--max_reference_wer"
    with pytest.raises(SystemExit, match=message):
        run(monkeypatch, built("cahya_like", checkpoints), tmp_path / "out", eval_folder, "--max_reference_wer", "0.5")
    assert not (tmp_path / "out" / MANIFEST_NAME).exists()


@pytest.mark.parametrize("rate", ["50", "0", "-1", "nan", "half"])
def test_an_invalid_word_error_rate_is_refused(
    rate: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With a percentage, every proof would pass."""
    with pytest.raises(SystemExit):
        run(monkeypatch, Path("checkpoint"), Path("out"), Path("eval_folder"), f"--max_reference_wer={rate}")
    assert f"{rate} is not a word error rate above 0 and at most 1 (0.5 is 50 %)" in capsys.readouterr().err


def test_a_checkpoint_without_its_head_is_refused_before_anything_is_changed(
    checkpoints: Path, eval_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = shutil.copytree(built("cahya_like", checkpoints), tmp_path / "checkpoint")
    weights = torch.load(folder / "pytorch_model.bin")
    torch.save({name: value for name, value in weights.items() if "lm_head" not in name}, folder / "pytorch_model.bin")
    artifact = shutil.copytree(exported("cahya_like", checkpoints), tmp_path / "artifact")
    before = {path: path.read_bytes() for path in artifact.rglob("*") if path.is_file()}
    with pytest.raises(SystemExit, match=r"^export failed: .*needs lm_head\.bias, lm_head\.weight.*train\.py$"):
        run(monkeypatch, folder, artifact, eval_folder, "--with_checkpoint", "--allow_unproven")
    assert {path: path.read_bytes() for path in artifact.rglob("*") if path.is_file()} == before


def test_a_model_that_cannot_run_is_named(
    checkpoints: Path, eval_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = exported("small", checkpoints) / "model_int8.onnx"  # of another vocabulary
    monkeypatch.setattr(
        "scripts.exporting.ctc_exporter.export_int8", lambda _, __, path, *___: shutil.copyfile(other, path)
    )
    with pytest.raises(SystemExit, match="export failed: onnx_int8: the model gave emissions of shape"):
        run(monkeypatch, built("cahya_like", checkpoints), tmp_path / "out", eval_folder, "--allow_unproven")
    assert not (tmp_path / "out" / MANIFEST_NAME).exists()


def test_silent_and_very_short_clips_prove_nothing_and_break_nothing(
    checkpoints: Path, eval_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_silence(eval_folder)
    run(monkeypatch, built("cahya_like", checkpoints), tmp_path / "out", eval_folder)
    parity = manifest_of(tmp_path / "out")["proofs"]["parity"]["onnx"]
    assert parity["clips"] == 4
    assert 0 < parity["max_difference"] < 1e-4


def test_several_sets_and_the_first_clips_of_each(
    checkpoints: Path, eval_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sets = [
        str(eval_folder / "manifest.jsonl"),
        str(shutil.copyfile(eval_folder / "manifest.jsonl", eval_folder / "more.jsonl")),
    ]
    options = ("--eval_limit", "1", "--eval_manifest", *sets)
    run(monkeypatch, built("small", checkpoints), tmp_path / "out", eval_folder, *options)
    proofs = manifest_of(tmp_path / "out")["proofs"]
    assert {name: figures["onnx"]["clips"] for name, figures in proofs["accuracy"].items()} == dict.fromkeys(sets, 1)
    assert proofs["parity"]["onnx_int8"]["clips"] == 2


class TestFp16:
    def test_the_fp32_file_shrinks_and_computes_nearly_the_same(
        self, checkpoints: Path, eval_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        run(monkeypatch, built("layer_norm_like", checkpoints), tmp_path / "out", eval_folder, "--fp16")
        exact = exported("layer_norm_like", checkpoints)
        sizes = [(folder / "model.onnx").stat().st_size for folder in (tmp_path / "out", exact)]
        assert sizes[0] < 0.8 * sizes[1]  # the nodes are a larger share of a tiny model than of a real one
        proofs = manifest_of(tmp_path / "out")["proofs"]
        assert proofs["proven"] is True
        assert 1e-4 < proofs["parity"]["onnx"]["max_difference"] < 0.1
        assert (tmp_path / "out" / "model_int8.onnx").read_bytes() == (exact / "model_int8.onnx").read_bytes()


class TestQuantization:
    def test_static(
        self, checkpoints: Path, eval_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        add_silence(eval_folder)  # these clips are skipped in calibration
        checkpoint = built("cahya_like", checkpoints)
        run(monkeypatch, checkpoint, tmp_path / "out", eval_folder, "--quantization", "static", "--allow_unproven")
        manifest = manifest_of(tmp_path / "out")
        products = products_in_matrix_form(AutoConfig.from_pretrained(checkpoint))
        assert manifest["quantization"]["method"] == (
            f"static, MatMul, signed weights of 7 bits per channel: {products} products"
        )
        assert integer_products(manifest["quantization"]["operators"]) == products
        operators = count_operators(tmp_path / "out" / "model_int8.onnx")
        assert operators["QuantizeLinear"] > 0
        assert "DynamicQuantizeLinear" not in operators

    def test_products_can_stay_in_float_and_weights_can_have_eight_bits(
        self, checkpoints: Path, eval_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        checkpoint, out = built("cahya_like", checkpoints), tmp_path / "out"
        run(
            monkeypatch, checkpoint, out, eval_folder, "--keep_float", "*/head/*", "*/positions/*", "--weight_bits", "8"
        )
        products = products_in_matrix_form(AutoConfig.from_pretrained(checkpoint)) - 2
        assert manifest_of(out)["quantization"]["method"] == (
            "dynamic, MatMul, signed weights of 8 bits per channel, in float: */head/* */positions/*: "
            f"{products} products"
        )
        assert integer_products(count_operators(out / "model_int8.onnx")) == products

    @pytest.mark.parametrize("method", ["dynamic", "static"])
    def test_a_pattern_that_matches_nothing_is_an_error(
        self, method: str, checkpoints: Path, eval_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        options = ("--keep_float", "*/tail/*", "--quantization", method)
        message = r"export failed: no product matches \*/tail/\*; there are .*head/MatMul"
        with pytest.raises(SystemExit, match=message):
            run(monkeypatch, built("cahya_like", checkpoints), tmp_path / "out", eval_folder, *options)
        assert not (tmp_path / "out" / MANIFEST_NAME).exists()

    def test_without_audio_to_calibrate_on_the_message_says_so(
        self, checkpoints: Path, eval_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        soundfile.write(eval_folder / "silence.wav", np.zeros(RATE_HZ), RATE_HZ)
        silent = eval_folder / "silent.jsonl"
        silent.write_text(json.dumps({"audio": "silence.wav", "text": ""}) + "\n", encoding="utf-8")
        options = ("--quantization", "static", "--calibration", str(silent))
        with pytest.raises(SystemExit, match="export failed: there is nothing to calibrate on"):
            run(monkeypatch, built("cahya_like", checkpoints), tmp_path / "out", eval_folder, *options)
        (eval_folder / "silence.wav").write_bytes(b"RIFF")
        with pytest.raises(SystemExit, match=r"export failed: .*silent\.jsonl"):
            run(monkeypatch, built("cahya_like", checkpoints), tmp_path / "out", eval_folder, *options)


class TestAdopt:
    """`--adopt`: existing files stay unchanged, missing ones are added, and all are proven."""

    @pytest.fixture
    def foreign(self, checkpoints: Path, tmp_path: Path) -> Path:
        """The output of another exporter: the FP32 model and the settings."""
        folder = shutil.copytree(exported("cahya_like", checkpoints), tmp_path / "foreign")
        for name in (MANIFEST_NAME, "model_int8.onnx", "added_tokens.json"):
            (folder / name).unlink()
        return folder

    def test_a_foreign_export_becomes_an_artifact(
        self, foreign: Path, checkpoints: Path, eval_folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        before = (foreign / "model.onnx").read_bytes()
        run(monkeypatch, built("cahya_like", checkpoints), foreign, eval_folder, "--adopt")
        assert (foreign / "model.onnx").read_bytes() == before
        assert (foreign / "added_tokens.json").is_file()
        artifact = open_artifact(foreign)
        for backend in ("onnx", "onnx_int8"):
            artifact.check_proofs(backend)
            warm_up(ctc_recognizer(foreign, backend), artifact)

    def test_both_models_stay_as_they_are(
        self, foreign: Path, checkpoints: Path, eval_folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        quantize_to(onnx.load(foreign / "model.onnx"), foreign / "model_int8.onnx", Quantization(keep=("*/products*",)))
        before = [(foreign / name).read_bytes() for name in ("model.onnx", "model_int8.onnx")]
        run(monkeypatch, built("cahya_like", checkpoints), foreign, eval_folder, "--adopt")
        assert [(foreign / name).read_bytes() for name in ("model.onnx", "model_int8.onnx")] == before
        assert manifest_of(foreign)["quantization"]["method"] == "unknown: adopted as it was"

    def test_the_model_of_another_checkpoint_is_detected(
        self, foreign: Path, checkpoints: Path, eval_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        checkpoint = shutil.copytree(built("cahya_like", checkpoints), tmp_path / "trained on")
        weights = torch.load(checkpoint / "pytorch_model.bin")
        weights["lm_head.bias"][3] += 0.01
        torch.save(weights, checkpoint / "pytorch_model.bin")
        with pytest.raises(SystemExit, match=r"max_difference of onnx is 0\.01"):
            run(monkeypatch, checkpoint, foreign, eval_folder, "--adopt")
        assert not (foreign / MANIFEST_NAME).exists()

    def test_without_a_model_there_is_nothing_to_adopt(
        self, foreign: Path, checkpoints: Path, eval_folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (foreign / "model.onnx").unlink()
        with pytest.raises(SystemExit, match=r"export failed: there is no model\.onnx"):
            run(monkeypatch, built("cahya_like", checkpoints), foreign, eval_folder, "--adopt")

    def test_weights_in_half_precision_are_quantized_too(
        self, foreign: Path, checkpoints: Path, eval_folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        store_rounded(foreign / "model.onnx")
        run(monkeypatch, built("cahya_like", checkpoints), foreign, eval_folder, "--adopt", "--fp16")
        products = products_in_matrix_form(AutoConfig.from_pretrained(foreign))
        assert integer_products(manifest_of(foreign)["quantization"]["operators"]) == products

    def test_rounded_weights_are_adopted_if_they_are_said_to_be(
        self, foreign: Path, checkpoints: Path, eval_folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        store_rounded(foreign / "model.onnx")
        before = (foreign / "model.onnx").read_bytes()
        checkpoint = built("cahya_like", checkpoints)
        with pytest.raises(SystemExit, match="max_difference of onnx"):
            run(monkeypatch, checkpoint, foreign, eval_folder, "--adopt")
        run(monkeypatch, checkpoint, foreign, eval_folder, "--adopt", "--fp16")
        assert (foreign / "model.onnx").read_bytes() == before
        assert manifest_of(foreign)["proofs"]["proven"] is True


def test_a_trained_model_proves_itself_on_the_samples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The bundled model with its own checkpoint, compared with every limit. INT8 is exported again."""
    monkeypatch.undo()
    folder = shutil.copytree(BUNDLED_MODEL, tmp_path / "model")
    (folder / "model_int8.onnx").unlink()
    before = manifest_of(folder)
    command = ["export.py", "--adopt", "--checkpoint_dir", str(folder), "--onnx_dir", str(folder)]
    monkeypatch.setattr(sys, "argv", command)
    with exporting():
        main()
    manifest = manifest_of(folder)
    for key in ("name", "source", "revision", "format"):
        assert manifest[key] == before[key]
    assert manifest["proofs"]["proven"] is True
    assert {(check["backend"], check["name"]) for check in manifest["proofs"]["checks"]} == {
        ("pytorch", "wer"),
        ("onnx", "max_difference"),
        ("onnx", "text_equality"),
        ("onnx_int8", "argmax_agreement"),
        ("onnx_int8", "wer_increase_lower_bound"),
        ("openvino", "argmax_agreement"),
        ("openvino", "wer_increase_lower_bound"),
        ("onnx_int8", "language_model_wer_increase_lower_bound"),
        ("openvino", "language_model_wer_increase_lower_bound"),
    }
    assert manifest["proofs"]["accuracy"]["samples"]["onnx_int8"]["cer"]["rate"] <= 0.05


@pytest.mark.parametrize(
    ("folder", "commit"),
    [
        ("hub/models--cahya--wav2vec2-base-turkish/snapshots/0a1b2c", "0a1b2c"),
        ("models/checkpoint", None),
        ("snapshots", None),
    ],
)
def test_the_hubs_commit_is_that_of_the_snapshot(folder: str, commit: str | None) -> None:
    assert revision_of(Path(folder)) == commit


@pytest.mark.parametrize("content", [None, b"", b"RIFF\x00\x00\x00\x00WAVEbroken"], ids=["none", "empty", "broken"])
def test_without_audio_to_compare_on_the_message_says_so(
    content: bytes | None, checkpoints: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    eval_folder = tmp_path / "eval_folder"
    eval_folder.mkdir()
    write_eval_manifest(eval_folder, {"clip.wav": "bir"})
    if content is not None:
        (eval_folder / "clip.wav").write_bytes(content)
    with pytest.raises(SystemExit, match=r"export failed: .*eval_folder"):
        run(monkeypatch, built("cahya_like", checkpoints), tmp_path / "out", eval_folder)
    assert not (tmp_path / "out" / MANIFEST_NAME).exists()


def test_a_checkpoint_without_a_tokenizer_cannot_be_exported(
    checkpoints: Path, eval_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = shutil.copytree(built("cahya_like", checkpoints), tmp_path / "checkpoint")
    (folder / "vocab.json").unlink()
    with pytest.raises(SystemExit, match=r"export failed: vocab\.json is missing"):
        run(monkeypatch, folder, tmp_path / "out", eval_folder)
