import json
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import ModelProto, TensorProto, helper, numpy_helper
from onnxruntime import InferenceSession

from app.families.whisper.checkpoint import load_checkpoint
from app.families.whisper.graphs import ENCODER, FEATURES_INPUT, LOG_WEIGHTS_INPUT, POSITIONS_INPUT
from app.runtimes.onnx import OnnxGraph
from scripts.exporting.block_weights import INT8_ACTIVATIONS, product_by_block
from scripts.exporting.integer_ranges import BLOCK
from scripts.exporting.onnx_files import count_operators, restore_halves
from scripts.exporting.quantization import names_matching, quantize
from scripts.exporting.whisper_graphs import ZERO_POINT, quantize_blocks, quantize_encoder, trace_whisper
from tests.reference import session_on_one_thread
from tests.whisper_checkpoints import make_whisper, whisper_artifact


@pytest.mark.parametrize(("outputs", "inputs"), [(3, 64), (5, 32), (2, 80), (1, 1)])
def test_blocks_are_off_by_half_a_step_at_most(outputs: int, inputs: int) -> None:
    weight = np.random.default_rng(inputs).normal(0, 0.1, (outputs, inputs)).astype(np.float32)
    blocks, scales = quantize_blocks(weight)
    assert blocks.dtype == np.uint8
    assert blocks.shape == (outputs, -(-inputs // BLOCK), BLOCK)
    restored = (scales * (blocks.astype(np.float32) - ZERO_POINT)).reshape(outputs, -1)
    assert (np.abs(restored[:, :inputs] - weight) <= np.repeat(scales[:, :, 0], BLOCK, 1)[:, :inputs] / 2 + 1e-7).all()
    assert (restored[:, inputs:] == 0).all()


def test_a_block_of_zeros_stays_zero() -> None:
    blocks, scales = quantize_blocks(np.zeros((2, 64), np.float32))
    assert (blocks == ZERO_POINT).all()
    assert (scales == 1).all()


def test_the_embedding_is_stored_once(checkpoints: Path) -> None:
    folder = whisper_artifact(checkpoints)
    vocabulary = json.loads((folder / "config.json").read_text(encoding="utf-8"))["vocab_size"]
    for name in ("decoder.onnx", "decoder_int8.onnx"):
        graph = onnx.load(folder / name).graph
        restore_halves(graph)
        large = [tensor.name for tensor in graph.initializer if vocabulary in tensor.dims]
        stored = [name for name in large if "scales" not in name]
        assert len(stored) == 1, stored


def test_an_output_layer_of_its_own_is_kept(checkpoints: Path) -> None:
    graph = onnx.load(whisper_artifact(checkpoints, tied=False) / "decoder.onnx").graph
    restore_halves(graph)
    size = max(tensor.dims[0] for tensor in graph.initializer if len(tensor.dims) == 2)
    matrices = [numpy_helper.to_array(tensor) for tensor in graph.initializer if list(tensor.dims)[:1] == [size]]
    assert len(matrices) == 2
    assert not np.allclose(matrices[0], matrices[1])


def test_all_products_of_int8_are_quantized(checkpoints: Path) -> None:
    folder = whisper_artifact(checkpoints)
    encoder, decoder = (count_operators(folder / f"{name}_int8.onnx") for name in ("encoder", "decoder"))
    assert "MatMul" not in encoder
    assert encoder["MatMulInteger"] == 2 * 3 + 2, "three in each layer, and cross-attention of each decoder layer"
    assert encoder["MatMulIntegerToFloat"] == 2, "the last product of each layer has activations by row"
    assert {"MatMul", "Gemm"}.isdisjoint(decoder)
    assert decoder["MatMulNBits"] == 2 * 6 + 1, "six in each layer, and the output"
    assert decoder["GatherBlockQuantized"] == 1


def test_a_few_huge_activations_do_not_coarsen_the_rows_without_them(checkpoints: Path) -> None:
    """As in real checkpoints: a hidden unit is huge in a few rows, and hardly counts in the output of its layer."""
    model = load_checkpoint(make_whisper(checkpoints))
    layer = model.model.encoder.layers[0]
    with torch.no_grad():
        layer.fc1.weight[0] *= 300
        layer.fc1.bias[0] = -layer.fc1.weight[0].norm()
        layer.fc2.weight[:, 0] = 0
    exact = trace_whisper(model, ())[ENCODER]
    feed = {
        FEATURES_INPUT: np.random.default_rng(2).normal(0, 1, (1, 80, 400)).astype(np.float32),
        POSITIONS_INPUT: np.arange(200),
        LOG_WEIGHTS_INPUT: np.zeros(200, np.float32),
    }
    errors = []
    for quantize_it in (quantize, quantize_encoder):
        int8 = ModelProto()
        int8.CopyFrom(exact)
        assert quantize_it(int8) == 2 * 4 + 2
        expected, found = (session_on_one_thread(graph).run(["cross_value_1"], feed)[0] for graph in (exact, int8))
        errors.append(np.linalg.norm(found - expected) / np.linalg.norm(expected))
    assert errors[1] < errors[0] / 2


def test_a_product_that_is_kept_in_float_is_not_quantized_by_row(checkpoints: Path) -> None:
    encoder = trace_whisper(load_checkpoint(make_whisper(checkpoints)), ())[ENCODER]
    kept = names_matching([encoder], ["*layers.1/feed_forward/contract*"])
    assert quantize_encoder(encoder, kept) == 2 * 4 + 2 - 1
    assert [node.name for node in encoder.graph.node if node.op_type == "MatMul"] == list(kept)


def test_int8_is_smaller(checkpoints: Path) -> None:
    folder = whisper_artifact(checkpoints)
    fp32, int8 = ((folder / f"decoder{suffix}.onnx").stat().st_size for suffix in ("", "_int8"))
    assert int8 < 0.6 * fp32


@pytest.mark.parametrize("sign_bias", [0.5, 0.9], ids=["random signs", "sums that would saturate 16 bits"])
@pytest.mark.parametrize("rows", [1, 5])
def test_products_by_block_are_exact_on_this_cpu_and_rows_are_independent(rows: int, sign_bias: float) -> None:
    """ONNX Runtime's kernel against the same product in integers. 8-bit weights would saturate some CPUs' kernels."""
    random = np.random.default_rng(1)
    weight, row = (
        np.where(random.random(shape) < sign_bias, 1, -1).astype(np.float32) * random.uniform(0.9, 1, shape)
        for shape in ((48, 256), (1, 256))
    )
    blocks, scales = quantize_blocks(weight.astype(np.float32))
    exact = helper.make_node("MatMul", ["x", "weight"], ["y"])
    node = product_by_block(exact, "blocks", "scales", (48, 256), 8, INT8_ACTIVATIONS)
    graph = helper.make_graph(
        [node],
        "product",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, 256])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None, 48])],
        [numpy_helper.from_array(blocks, "blocks"), numpy_helper.from_array(scales[:, :, 0], "scales")],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=8)
    session = InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    others = random.normal(0, 100, (rows - 1, 256))
    product = session.run(None, {"x": np.concatenate([row, others]).astype(np.float32)})[0][0]
    parts = row.astype(np.float32).reshape(-1, BLOCK)
    step = np.abs(parts).max(axis=1, keepdims=True) / 127
    sums = (np.rint(parts / step)[np.newaxis] * (blocks.astype(np.float64) - ZERO_POINT)).sum(axis=2)
    expected = (sums * scales[:, :, 0] * step[np.newaxis, :, 0]).sum(axis=1)
    np.testing.assert_allclose(product, expected, rtol=1e-4, atol=1e-3)


def test_onnx_runtime_loads_the_graphs_without_a_warning(checkpoints: Path, capfd: pytest.CaptureFixture[str]) -> None:
    folder = whisper_artifact(checkpoints)
    capfd.readouterr()
    for name in ("encoder", "decoder", "encoder_int8", "decoder_int8"):
        OnnxGraph(folder / f"{name}.onnx", threads=1)
    assert capfd.readouterr().err == ""
