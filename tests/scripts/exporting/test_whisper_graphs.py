import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from scripts.exporting.onnx_files import count_operators, restore_halves
from scripts.exporting.whisper_graphs import BLOCK, ZERO_POINT, quantize_blocks
from tests.whisper_checkpoints import whisper_artifact


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
    assert encoder["MatMulInteger"] == 2 * 4 + 2, "four in each layer, and cross-attention of each decoder layer"
    assert {"MatMul", "Gemm"}.isdisjoint(decoder)
    assert decoder["MatMulNBits"] == 2 * 6 + 1, "six in each layer, and the output"
    assert decoder["GatherBlockQuantized"] == 1


def test_int8_is_smaller(checkpoints: Path) -> None:
    folder = whisper_artifact(checkpoints)
    fp32, int8 = ((folder / f"decoder{suffix}.onnx").stat().st_size for suffix in ("", "_int8"))
    assert int8 < 0.6 * fp32
