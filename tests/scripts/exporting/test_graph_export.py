from collections.abc import Iterator
from functools import cache
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from transformers import AutoModelForCTC

from app.artifacts import open_artifact
from app.families.ctc.graph import LENGTHS_INPUT
from app.families.ctc.recognizer import zero_mean_unit_variance
from app.families.ctc.settings import CtcSettings
from app.models import warm_up
from scripts.exporting import onnx_files
from scripts.exporting.graph_export import Quantization, export_fp32, export_int8
from scripts.exporting.onnx_files import count_operators, graphs_of, weights_bytes
from scripts.exporting.quantization import Feed, products_of
from tests.checkpoints import (
    ARCHITECTURES,
    MATRIX_SHAPES,
    babbling,
    built,
    exported,
    exporting,
    products_in_matrix_form,
    sweep,
)
from tests.recognizers import ctc_graph, ctc_recognizer_on, ctc_settings
from tests.reference import integer_products

STATIC = Quantization("static")
CLIPS = [babbling(duration_s, seed) for seed, duration_s in enumerate((1.0, 0.025, 2.3, 0.31, 1.0, 0.33))]
"""The second has one frame, which is too short for SEW; the last two differ by one frame."""
OTHERS = sorted(shape for shape in ARCHITECTURES if shape not in MATRIX_SHAPES)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("forms")


def feeds(settings: CtcSettings) -> Iterator[Feed]:
    for samples in (samples for samples in CLIPS if settings.framing.frames(len(samples))):
        yield {"input_values": zero_mean_unit_variance(samples)[np.newaxis], LENGTHS_INPUT: np.array([len(samples)])}


@cache
def static_file(shape: str, checkpoints: Path, folder: Path) -> Path:
    """The static INT8 of a shape."""
    path = folder / f"{shape}.onnx"
    model = AutoModelForCTC.from_pretrained(built(shape, checkpoints))
    artifact = exported(shape, checkpoints)
    count = export_int8(model, artifact / "model.onnx", path, STATIC, feeds(ctc_settings(artifact)))
    assert count == products_in_matrix_form(model.config)
    return path


@pytest.mark.parametrize("shape", sweep(MATRIX_SHAPES))
def test_clips_of_any_lengths_share_a_batch_in_fp32(shape: str, checkpoints: Path) -> None:
    artifact = exported(shape, checkpoints)
    graph = onnx.load(artifact / "model.onnx").graph
    assert [value.name for value in graph.input] == ["input_values", LENGTHS_INPUT]
    recognizer = ctc_recognizer_on(ctc_settings(artifact), artifact / "model.onnx")
    assert recognizer.batches
    for emissions, samples in zip(recognizer.emissions(CLIPS), CLIPS, strict=True):
        (alone,) = recognizer.emissions([samples])
        assert emissions.shape == alone.shape
        np.testing.assert_allclose(emissions, alone, atol=1e-4, rtol=0)


@pytest.mark.parametrize("shape", sweep(MATRIX_SHAPES))
def test_clips_are_computed_one_by_one_in_dynamic_int8(shape: str, checkpoints: Path) -> None:
    artifact = exported(shape, checkpoints)
    recognizer = ctc_recognizer_on(ctc_settings(artifact), artifact / "model_int8.onnx")
    assert not recognizer.batches
    for emissions, samples in zip(recognizer.emissions(CLIPS), CLIPS, strict=True):
        np.testing.assert_array_equal(emissions, recognizer.emissions([samples])[0])


@pytest.mark.parametrize("shape", sweep(MATRIX_SHAPES))
def test_clips_of_any_lengths_share_a_batch_in_static_int8(shape: str, checkpoints: Path, folder: Path) -> None:
    """Ranges are fixed and integer sums are exact, so nearly all values are equal. A few bytes may differ by one."""
    artifact = exported(shape, checkpoints)
    settings = ctc_settings(artifact)
    recognizer = ctc_recognizer_on(settings, static_file(shape, checkpoints, folder))
    assert recognizer.batches
    exact = ctc_recognizer_on(settings, artifact / "model.onnx")
    least = 0.7 if shape == "sew" else 0.94  # it has 13 convolutions, each of whose ranges is that of all clips
    clips = [samples for samples in CLIPS if settings.framing.frames(len(samples))]
    for emissions, samples in zip(recognizer.emissions(clips), clips, strict=True):
        (alone,) = recognizer.emissions([samples])
        (in_float,) = exact.emissions([samples])
        assert np.abs(emissions - alone).mean() <= 0.05 * np.abs(emissions - in_float).mean()
        assert np.corrcoef(emissions.ravel(), in_float.ravel())[0, 1] >= least


@pytest.mark.parametrize("shape", sweep(MATRIX_SHAPES))
def test_every_product_with_constant_weights_is_quantized(shape: str, checkpoints: Path) -> None:
    """The number of constant products in the model. The products in attention have no constant weights."""
    path = exported(shape, checkpoints) / "model_int8.onnx"
    model = AutoModelForCTC.from_pretrained(built(shape, checkpoints))
    assert integer_products(count_operators(path)) == products_in_matrix_form(model.config)
    assert [node.name for graph in graphs_of(onnx.load(path).graph) for node in products_of(graph)] == []


def test_kept_products_stay_in_float(checkpoints: Path, tmp_path: Path) -> None:
    fp32, int8 = exported("small", checkpoints) / "model.onnx", tmp_path / "int8.onnx"
    model = AutoModelForCTC.from_pretrained(built("small", checkpoints))
    keep = ("*/head/*", "*/positions/*", "*/products.0/*")
    with exporting():
        count = export_int8(model, fp32, int8, Quantization(keep=keep))
    assert count == integer_products(count_operators(int8)) == products_in_matrix_form(model.config) - 3
    assert sum(len(products_of(graph)) for graph in graphs_of(onnx.load(int8).graph)) == 3


@pytest.mark.parametrize("shape", ["wavlm, group norm", "hubert, batch norm"])
def test_others_are_exported_as_optimum_does_it(shape: str, checkpoints: Path, tmp_path: Path) -> None:
    assert shape in OTHERS
    model = AutoModelForCTC.from_pretrained(built(shape, checkpoints)).eval()
    settings = ctc_settings(built(shape, checkpoints))
    fp32, int8 = tmp_path / "fp32.onnx", tmp_path / "int8.onnx"
    with exporting():
        export_fp32(model, fp32)
    assert [value.name for value in onnx.load(fp32).graph.input] == ["input_values"]
    assert count_operators(fp32)["Conv"] > 0
    assert not ctc_graph(settings, fp32).ragged
    count = export_int8(model, fp32, int8, Quantization())
    assert count == sum(isinstance(module, torch.nn.Linear) for module in model.modules())
    assert not ctc_graph(settings, int8).ragged


@pytest.mark.parametrize("shape", ["small", "wavlm, group norm"])
def test_weights_of_large_models_lie_beside_them(
    shape: str, checkpoints: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onnx_files, "MOST_WEIGHTS_BYTES", 1_000)
    model = AutoModelForCTC.from_pretrained(built(shape, checkpoints)).eval()
    fp32, dynamic, static = (tmp_path / f"{name}.onnx" for name in ("fp32", "dynamic", "static"))
    artifact = open_artifact(exported(shape, checkpoints))
    settings = ctc_settings(artifact.folder)
    with exporting():
        export_fp32(model, fp32)
        counts = (
            export_int8(model, fp32, dynamic, Quantization()),
            export_int8(model, fp32, static, STATIC, feeds(settings)),
        )
    assert counts[0] == counts[1] > 0
    for path, name in ((fp32, "model.onnx"), (dynamic, "model_int8.onnx")):
        apart, whole = (ctc_recognizer_on(settings, file).emissions(CLIPS) for file in (path, artifact.folder / name))
        for emissions, expected in zip(apart, whole, strict=True):
            np.testing.assert_allclose(emissions, expected, atol=1e-4, rtol=0)
    for path in (fp32, dynamic, static):
        assert weights_bytes(onnx.load(path)) > 10_000
        assert Path(f"{path}_data").stat().st_size > 0.5 * weights_bytes(onnx.load(path))
        warm_up(ctc_recognizer_on(settings, path), artifact)


def test_how_int8_is_made_can_be_read() -> None:
    assert str(Quantization()) == "dynamic, MatMul, signed weights of 7 bits per channel"
    assert str(Quantization("static", ("a", "b"), bits=8)) == (
        "static, MatMul, signed weights of 8 bits per channel, in float: a b"
    )
