import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, numpy_helper
from optimum.onnxruntime import ORTModelForSpeechSeq2Seq
from transformers import WhisperProcessor, pipeline

from app.artifacts import MANIFEST_NAME, ArtifactError
from app.families.whisper.optimum_graphs import DECODER_MODEL, DECODER_WITH_PAST, ENCODER_MODEL, MERGED_DECODER
from app.families.whisper.recognizer import WhisperRecognizer
from app.models import check_proofs, load_recognizer, open_model, warm_up
from app.recognizer import Samples
from app.runtimes.onnx import OnnxGraph
from app.runtimes.registry import OPTIMUM_INT8, REFERENCE, onnx_fp32_file
from scripts.export import export
from scripts.exporting.artifact_folder import copy_settings
from scripts.exporting.ctc_exporter import CtcExporter
from scripts.exporting.exporter import Layout, Options
from scripts.exporting.graph_export import Quantization
from scripts.exporting.integer_ranges import EXACT_MAX_INT8, WeightBits
from scripts.exporting.onnx_files import count_operators
from scripts.exporting.optimum_layout import OPTIMUM_GRAPHS
from scripts.exporting.proofs import FP32_BACKEND, OTHERS, ROUNDED
from scripts.exporting.whisper_exporter import WhisperExporter
from scripts.exporting.whisper_proofs import generate, tokens_of
from tests.checkpoints import RANDOM_WER, exporting
from tests.once import made_once
from tests.optimum_whisper import optimum_folder, quantized_by_optimum
from tests.whisper_checkpoints import make_whisper

MIN_TOKENS = 5
"""Fewer tokens would show little."""
LARGE = 4_096
"""Elements of a tensor that is stored in half precision, even if its values were small."""


@pytest.fixture(autouse=True)
def words_are_no_measure(monkeypatch: pytest.MonkeyPatch) -> None:
    """Random weights give random words, and INT8 others: only the float32 files are compared."""
    monkeypatch.setattr(WhisperExporter, "limits", {**WhisperExporter.limits, OTHERS: ()})


def run(checkpoints: Path, folder: Path, **options: Any) -> Mapping[str, Any]:
    """Export the tiny checkpoint, proven on one sample. Returns the manifest."""
    defaults: dict[str, Any] = {"eval_limit": 1, "max_reference_wer": RANDOM_WER}
    with exporting(), pytest.MonkeyPatch.context() as patch:
        patch.setattr("scripts.export.find_spec", lambda _: None)  # as if OpenVINO were not installed
        export(str(make_whisper(checkpoints)), folder, Options(**(defaults | options)))
    manifest: dict[str, Any] = json.loads((folder / MANIFEST_NAME).read_text(encoding="utf-8"))
    return manifest


def in_layout_of_optimum(checkpoints: Path) -> Path:
    """The artifact that `--layout optimum` makes, proven on one sample. Not to be changed."""
    return made_once(
        checkpoints / "artifacts" / "whisper-optimum", lambda path: run(checkpoints, path, layout="optimum")
    )


def recognizer_of(folder: Path, backend: str) -> WhisperRecognizer:
    recognizer = load_recognizer(open_model(folder), backend, threads=1)
    assert isinstance(recognizer, WhisperRecognizer)
    return recognizer


def clip() -> Samples:
    """Noise of which the tiny checkpoint makes some tokens."""
    return np.random.default_rng(1).normal(0, 0.1, 32_000).astype(np.float32)


def test_all_files_of_optimum_are_made_and_proven(checkpoints: Path) -> None:
    folder = in_layout_of_optimum(checkpoints)
    names = {path.name for path in folder.glob("*.onnx")}
    assert names == {f"{graph}{end}" for graph in OPTIMUM_GRAPHS for end in (".onnx", OPTIMUM_INT8)}
    manifest = json.loads((folder / MANIFEST_NAME).read_text(encoding="utf-8"))
    proven = {(proof["backend"], proof["name"]) for proof in manifest["proofs"]["checks"] if proof["passed"]}
    assert {(FP32_BACKEND, "max_difference"), (FP32_BACKEND, "generate_agreement"), (REFERENCE, "wer")} <= proven
    assert "ORTQuantizer" in manifest["quantization"]["method"]
    assert manifest["quantization"]["operators"]["MatMulInteger"] > 0
    assert manifest["condensed_silence"] is False
    for backend in ("onnx", "onnx_int8"):
        warm_up(recognizer_of(folder, backend), open_model(folder).artifact)
    check_proofs(open_model(folder), "onnx")


@pytest.mark.parametrize("end", ["", "_quantized"], ids=["float32", "quantized"])
@pytest.mark.parametrize("merged", [True, False], ids=["merged", "split"])
def test_optimum_and_transformers_load_the_folder(end: str, merged: bool, checkpoints: Path) -> None:
    folder = in_layout_of_optimum(checkpoints)
    files = {"encoder_file_name": f"{ENCODER_MODEL}{end}.onnx"}
    files["decoder_file_name"] = f"{MERGED_DECODER if merged else DECODER_MODEL}{end}.onnx"
    if not merged:
        files["decoder_with_past_file_name"] = f"{DECODER_WITH_PAST}{end}.onnx"
    by_default = merged and not end
    model = ORTModelForSpeechSeq2Seq.from_pretrained(folder, use_merged=merged, **({} if by_default else files))
    processor = WhisperProcessor.from_pretrained(folder)
    recognize: Any = pipeline(  # type: ignore[call-overload]  # it takes models of optimum too
        "automatic-speech-recognition",
        model=model,
        tokenizer=processor.tokenizer,  # type: ignore[attr-defined]
        feature_extractor=processor.feature_extractor,  # type: ignore[attr-defined]
    )
    samples = clip()
    assert recognize(samples.copy(), generate_kwargs={"language": "tr", "max_new_tokens": 60})["text"]
    if not end:
        recognizer = recognizer_of(folder, "onnx")
        tokens = tokens_of(recognizer, samples, "tr", timestamps=False)
        assert len(tokens) > MIN_TOKENS
        assert generate(model, recognizer, samples, "tr", timestamps=False) == tokens


def test_a_folder_that_was_only_quantized_is_adopted_and_proven(checkpoints: Path, tmp_path: Path) -> None:
    names = [f"{ENCODER_MODEL}_quantized", f"{MERGED_DECODER}_quantized"]
    folder = optimum_folder(checkpoints, tmp_path / "model", names)
    before = {path.name: path.read_bytes() for path in folder.glob("*.onnx")}
    manifest = run(checkpoints, folder, adopt=True, fp16=True, allow_unproven=True)
    after = {path.name: path.read_bytes() for path in folder.glob("*.onnx")}
    assert {name: after[name] for name in before} == before
    assert after.keys() - before.keys() == {f"{ENCODER_MODEL}.onnx", f"{MERGED_DECODER}.onnx"}
    proofs = {proof["name"]: proof for proof in manifest["proofs"]["checks"] if proof["backend"] == FP32_BACKEND}
    assert proofs["max_difference"]["passed"]
    assert proofs["max_difference"]["limit"] == ROUNDED[0].value
    assert manifest["quantization"]["method"] == "unknown: adopted as it was"
    warm_up(recognizer_of(folder, "onnx_int8"), open_model(folder).artifact)


def make(checkpoints: Path, folder: Path, **options: Any) -> dict[str, Any]:
    """Make the ONNX files without proving them. Returns the manifest's entry on quantization."""
    exporter = WhisperExporter()
    checkpoint = make_whisper(checkpoints)
    folder.mkdir(exist_ok=True)
    copy_settings(checkpoint, folder, exporter.settings_files, keep=True)
    with exporting():
        return exporter.make(exporter.load(checkpoint), folder, Options(**options), {})


def test_what_the_recipe_quantized_in_place_stays_as_it_is(checkpoints: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(in_layout_of_optimum(checkpoints), tmp_path / "model")
    for path in quantized_by_optimum(checkpoints).iterdir():  # it writes settings again, besides the graphs
        shutil.copy(path, folder)
    (folder / MANIFEST_NAME).unlink()
    before = {path.name: path.read_bytes() for path in folder.glob("*.onnx")}
    make(checkpoints, folder, adopt=True)
    assert {path.name: path.read_bytes() for path in folder.glob("*.onnx")} == before
    recognizer_of(folder, "onnx_int8")  # with the settings that optimum wrote


@pytest.mark.parametrize("bits", [7, 8])
def test_the_bits_of_weights_are_those_that_are_asked_for(bits: WeightBits, checkpoints: Path, tmp_path: Path) -> None:
    folder = optimum_folder(checkpoints, tmp_path / "model", [ENCODER_MODEL, DECODER_MODEL])
    make(checkpoints, folder, adopt=True, quantization=Quantization(bits=bits))
    of_recipe = quantized_by_optimum(checkpoints) / f"{ENCODER_MODEL}{OPTIMUM_INT8}"
    largest, largest_of_recipe = (
        max(np.abs(values).max() for values in int8_weights(path))
        for path in (folder / f"{ENCODER_MODEL}{OPTIMUM_INT8}", of_recipe)
    )
    assert largest_of_recipe > EXACT_MAX_INT8
    assert largest == largest_of_recipe if bits == 8 else largest <= EXACT_MAX_INT8


def int8_weights(path: Path) -> list[NDArray[np.int16]]:
    return [
        numpy_helper.to_array(tensor).astype(np.int16)
        for tensor in onnx.load(path).graph.initializer
        if tensor.data_type == TensorProto.INT8
    ]


@pytest.mark.parametrize("layout", ["dikte", "optimum"])
def test_weights_are_stored_in_half_precision(layout: Layout, checkpoints: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    make(checkpoints, folder, layout=layout, fp16=True)
    model = open_model(folder)
    for graph in model.family.graphs:
        proto = onnx.load(folder / onnx_fp32_file(graph))
        types = [tensor.data_type for tensor in proto.graph.initializer if np.prod(tensor.dims) >= LARGE]
        assert types
        assert types.count(TensorProto.FLOAT16) >= 0.9 * len(types)
        OnnxGraph(folder / onnx_fp32_file(graph), threads=1)
    assert count_operators(folder / model.files_of("onnx_int8")[0])["MatMulInteger"] > 0


@pytest.mark.parametrize("files", [[], [DECODER_MODEL], [ENCODER_MODEL, DECODER_WITH_PAST]])
def test_an_incomplete_folder_is_not_adopted(files: list[str], checkpoints: Path, tmp_path: Path) -> None:
    folder = optimum_folder(checkpoints, tmp_path / "model", files)
    with pytest.raises(ArtifactError, match=r"nothing in .* to adopt: neither encoder.onnx and decoder.onnx nor"):
        run(checkpoints, folder, adopt=True)


def test_nodes_stay_in_float_by_name(checkpoints: Path, tmp_path: Path) -> None:
    folder = optimum_folder(checkpoints, tmp_path / "model", [ENCODER_MODEL, DECODER_MODEL])
    entry = make(checkpoints, folder, adopt=True, quantization=Quantization(keep=("/conv*",)))
    path = folder / f"{ENCODER_MODEL}{OPTIMUM_INT8}"
    operators = count_operators(path)
    assert "ConvInteger" not in operators
    assert entry["operators"]["Conv"] == operators["Conv"] == 2
    path.unlink()
    with pytest.raises(ArtifactError, match=r"no node matches nothing\*"):
        make(checkpoints, folder, adopt=True, quantization=Quantization(keep=("nothing*",)))


def test_an_export_in_the_other_layout_replaces_the_first(checkpoints: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    for name in ("encoder.onnx", "decoder.onnx", "encoder_int8.onnx", f"{MERGED_DECODER}_int8.onnx"):
        (folder / name).write_bytes(b"of an earlier export")
    make(checkpoints, folder, layout="optimum")
    assert open_model(folder).family.graphs == (ENCODER_MODEL, MERGED_DECODER)
    assert not (folder / "encoder.onnx").exists()
    assert not (folder / f"{MERGED_DECODER}_int8.onnx").exists()


def test_the_layout_of_optimum_is_only_for_whisper(checkpoints: Path, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="--layout optimum is for Whisper"):
        CtcExporter().make(None, tmp_path, Options(layout="optimum"), {})  # type: ignore[arg-type]
