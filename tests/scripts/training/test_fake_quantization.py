"""Compares fake quantization with the files of `export.py`, operator by operator and as a whole."""

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from onnx import ModelProto, numpy_helper, parser
from torch import Tensor, nn
from transformers import AutoModelForCTC, PreTrainedModel

from app.families.ctc.recognizer import zero_mean_unit_variance
from scripts.exporting import four_bit_weights
from scripts.exporting.graph_export import Quantization, export_int8
from scripts.exporting.integer_ranges import LARGEST_WEIGHT, LayerBits, WeightBits
from scripts.exporting.matrix_form import PositionalProduct
from scripts.exporting.quantization import quantize, quantize_weight
from scripts.speech.data import DataError
from scripts.training.batches import Collator
from scripts.training.fake_quantization import (
    FakeQuantization,
    passing,
    round_blocks,
    round_clips,
    round_rows,
    round_weight,
    rounded_taps,
)
from scripts.training.fourier_convolution import convolve_by_fourier
from scripts.training.squeeze import leave_out_rest
from tests.checkpoints import babbling, built, exported, exporting
from tests.saturation import run_model
from tests.scripts.test_train import run
from tests.speech import FEATURES, write_clips

SHAPES = ("small", "cahya_like", "layer_norm_like", "hubert, layer norm", "sew", "sew, layers of wav2vec2")
BITS: tuple[WeightBits, ...] = (7, 8)
CLIP = babbling(1.3, seed=5)


def product(weight: Tensor, by_row: bool, bits: WeightBits) -> ModelProto:
    """The INT8 form of `x @ weight`, as the export makes it. weight: shape (inputs, outputs)."""
    inputs, outputs = weight.shape
    model: ModelProto = parser.parse_model(
        f"""
        <ir_version: 9, opset_import: ["" : 17, "com.microsoft" : 1]>
        one (float[1, time, {inputs}] x) => (float[1, time, {outputs}] y) {{ [product] y = MatMul (x, weight) }}
        """
    )
    model.graph.initializer.append(numpy_helper.from_array(weight.numpy(), "weight"))
    assert quantize(model, bits=bits, by_row=["product"] if by_row else []) == 1
    return model


@pytest.mark.parametrize("bits", BITS)
def test_a_linear_layer_computes_what_its_export_computes(bits: WeightBits) -> None:
    torch.manual_seed(0)
    layer, frames = nn.Linear(40, 24, bias=False), torch.randn(1, 30, 40) + 0.5
    values, scale = round_clips(frames, None)
    weight, scales = round_weight(layer.weight, LARGEST_WEIGHT[bits])
    found = nn.functional.linear(values, weight) * (scale * scales[:, 0])
    exact = run_model(product(layer.weight.detach().T.contiguous(), False, bits), {"x": frames.numpy()}, False)
    np.testing.assert_allclose(found.detach().numpy(), exact, rtol=1e-6, atol=1e-6)
    assert np.abs(layer(frames).detach().numpy() - exact).max() > 1e-3, "rounding makes a difference"


def test_sums_stay_exact_under_autocast(checkpoints: Path) -> None:
    model, _ = fake("small", checkpoints, 7)
    frames = torch.randn(1, 30, 32, generator=torch.Generator().manual_seed(0))
    layer = model.get_submodule("wav2vec2.encoder.layers.0.feed_forward.intermediate_dense")
    with torch.no_grad():
        exact = layer(frames)
        with torch.autocast("cpu", torch.float16):
            assert torch.equal(layer(frames), exact)


@pytest.mark.parametrize("quiet", [1.0, 0.01])
def test_rows_compute_what_their_export_computes(quiet: float) -> None:
    """Seven bits, because the operator of ONNX Runtime may saturate with eight."""
    torch.manual_seed(0)
    weight, rows = torch.randn(40, 24), nn.functional.gelu(torch.randn(1, 30, 40) * 2) * quiet
    values, scale = round_rows(rows)
    integers, scales = round_weight(weight.T, LARGEST_WEIGHT[7])
    found = nn.functional.linear(values, integers) * scale * scales[:, 0]
    session = onnxruntime.InferenceSession(product(weight, True, 7).SerializeToString())
    np.testing.assert_allclose(found.numpy(), session.run(None, {"x": rows.numpy()})[0], rtol=1e-5, atol=1e-5 * quiet)


@pytest.mark.parametrize("limit", LARGEST_WEIGHT.values())
def test_weights_are_those_of_the_export(limit: int) -> None:
    torch.manual_seed(0)
    weight = torch.randn(24, 40)
    weight[3] = 0
    rounded, scale = round_weight(weight, limit)
    expected, scales = quantize_weight(weight.T.numpy(), limit)
    np.testing.assert_array_equal(rounded.numpy().T, expected)
    np.testing.assert_array_equal(scale[:, 0].numpy(), scales)


@pytest.mark.parametrize(("inputs", "factor"), [(32, 1.0), (40, 32**-0.5), (96, 0.125)])
def test_weights_of_4_bits_are_those_of_the_export(inputs: int, factor: float) -> None:
    torch.manual_seed(0)
    weight = torch.randn(24, inputs) * 0.1
    weight[3] = 0
    integers, scale = four_bit_weights.round_blocks((weight * factor).numpy())
    expected = (integers * scale).reshape(24, -1)[:, :inputs]
    np.testing.assert_allclose(round_blocks(weight, factor).numpy() * factor, expected, rtol=1e-6)


@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("taps", [16, 33, 64])
def test_positional_weights_are_those_of_the_export(taps: int, stride: int) -> None:
    torch.manual_seed(0)
    layer = nn.Conv1d(8, 8, taps, padding=taps // 2, groups=2, stride=stride)
    exported_form = PositionalProduct(layer)
    integers, scales = quantize_weight(exported_form.weight.detach().numpy(), LARGEST_WEIGHT[7])
    with torch.no_grad():
        exported_form.weight.copy_(torch.from_numpy(integers * scales))
        layer.weight.copy_(rounded_taps(layer.weight, LARGEST_WEIGHT[7], stride))
    again = PositionalProduct(layer)
    torch.testing.assert_close(again.weight, exported_form.weight, rtol=0, atol=1e-7)


def fake(shape: str, checkpoints: Path, bits: LayerBits) -> tuple[PreTrainedModel, FakeQuantization]:
    model: PreTrainedModel = AutoModelForCTC.from_pretrained(built(shape, checkpoints)).eval()
    return model, FakeQuantization(model, bits)


@pytest.mark.parametrize("shape", SHAPES)
def test_a_model_computes_what_its_int8_file_computes(shape: str, checkpoints: Path) -> None:
    """Float sums differ in their last bits, which turns a few of the bytes that follow by one.

    Behind the 13 convolutions of SEW, these are more than behind 7.
    """
    samples = zero_mean_unit_variance(CLIP)[np.newaxis]
    session = onnxruntime.InferenceSession(exported(shape, checkpoints) / "model_int8.onnx")
    (expected,) = session.run(None, {"input_values": samples})
    model, quantization = fake(shape, checkpoints, 7)
    with torch.no_grad():
        found = model(torch.from_numpy(samples)).logits.numpy()
        quantization.remove()
        exact = model(torch.from_numpy(samples)).logits.numpy()
    most = 0.25  # a turned byte of the front end changes many of the encoder; other rounding is far above this
    assert np.abs(found - expected).mean() < most * np.abs(exact - expected).mean()


@pytest.mark.parametrize("shape", SHAPES)
def test_a_model_computes_what_its_file_with_4_bits_computes(shape: str, checkpoints: Path, tmp_path: Path) -> None:
    """They differ by float noise, and by what a turned byte of the front end causes."""
    samples = zero_mean_unit_variance(CLIP)[np.newaxis]
    path = tmp_path / "model_int8.onnx"
    with exporting():
        export_int8(AutoModelForCTC.from_pretrained(built(shape, checkpoints)), path, path, Quantization(bits=4))
    (expected,) = onnxruntime.InferenceSession(path).run(None, {"input_values": samples})
    model, quantization = fake(shape, checkpoints, 4)
    with torch.no_grad():
        found = model(torch.from_numpy(samples)).logits.numpy()
        quantization.remove()
        exact = model(torch.from_numpy(samples)).logits.numpy()
    assert np.abs(found - expected).mean() < 0.03 * np.abs(exact - expected).mean()


@pytest.mark.parametrize("shape", ["layer_norm_like", "sew, layers of wav2vec2"])
@pytest.mark.parametrize("bits", BITS)
def test_a_clip_does_not_depend_on_its_batch(shape: str, bits: WeightBits, checkpoints: Path) -> None:
    """Not with group norm, which depends on the padding, in transformers."""
    model, _ = fake(shape, checkpoints, bits)
    leave_out_rest(model)
    clips = [{"input_values": babbling(0.4, 1), "labels": []}, {"input_values": 3 * babbling(1.0, 2), "labels": []}]
    with torch.no_grad():
        both, alone = (
            model(batch["input_values"], attention_mask=batch["attention_mask"]).logits
            for batch in (Collator(FEATURES)(clips), Collator(FEATURES)(clips[:1]))
        )
        loud = torch.from_numpy(clips[0]["input_values"])[None]
        unpadded = model(loud).logits
    frames = unpadded.shape[1]
    spread = unpadded.std()
    assert (both[0, :frames] - unpadded[0]).abs().mean() < 0.01 * spread
    assert (alone[0, :frames] - unpadded[0]).abs().mean() < 0.01 * spread


def test_gradients_pass_the_rounding() -> None:
    torch.manual_seed(0)
    exact = torch.randn(5, requires_grad=True)
    passing((3 * exact).round(), 3 * exact).sum().backward()
    assert exact.grad is not None
    assert exact.grad.tolist() == [3.0] * 5


def test_a_model_gets_gradients_close_to_those_without_rounding(checkpoints: Path) -> None:
    model, quantization = fake("layer_norm_like", checkpoints, 8)
    samples, labels = torch.from_numpy(zero_mean_unit_variance(CLIP))[None], torch.tensor([[3, 4, 5, 6]])
    names = [name for name, _ in model.named_parameters()]
    gradients = []
    for _ in range(2):
        model.zero_grad()
        model(samples, labels=labels).loss.backward()
        gradients.append([parameter.grad for _, parameter in model.named_parameters()])
        quantization.remove()
    compared = 0
    for name, rounded, exact in zip(names, *gradients, strict=True):
        if exact is None or not exact.abs().max() > 1e-6:  # SpecAugment's mask; key biases cancel in attention
            continue
        assert rounded is not None, name
        assert nn.functional.cosine_similarity(rounded.flatten(), exact.flatten(), dim=0) > 0.8, name
        compared += 1
    assert compared > 50


def test_removed_it_leaves_no_trace(checkpoints: Path) -> None:
    model: PreTrainedModel = AutoModelForCTC.from_pretrained(built("small", checkpoints)).eval()
    convolve_by_fourier(model)
    samples = torch.from_numpy(zero_mean_unit_variance(CLIP))[None]
    names = list(model.state_dict())
    with torch.no_grad():
        before = model(samples).logits
        quantization = FakeQuantization(model, 7)
        assert not torch.equal(model(samples).logits, before)
        assert list(model.state_dict()) == names
        quantization.remove()
        assert torch.equal(model(samples).logits, before)


def test_a_training_with_rounding_evaluates_the_int8_file(
    checkpoints: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = write_clips(tmp_path, ["bir", "iki", "üç"])
    model = str(built("small", checkpoints))
    arguments = ["--model_name", model, "--dataset_name", str(data), "--output_dir", "out", "--max_steps", "2"]
    installed: list[tuple[PreTrainedModel, int]] = []
    install = FakeQuantization.__init__

    def watch(self: FakeQuantization, model: PreTrainedModel, bits: LayerBits) -> None:
        install(self, model, bits)
        installed.append((model, bits))

    monkeypatch.setattr(FakeQuantization, "__init__", watch)
    run(tmp_path, monkeypatch, *arguments, "--quantize_bits", "7")
    ((trained, bits),) = installed
    assert bits == 7
    assert not trained._forward_pre_hooks, "removed before the model is saved"
    AutoModelForCTC.from_pretrained(tmp_path / "out")
    with pytest.raises(DataError, match="a training with --quantize_bits 7"):
        run(tmp_path, monkeypatch, *arguments)


@pytest.mark.parametrize("shape", ["wavlm, layer norm", "sew-d"])
@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:DeprecationWarning")  # when SEW-D is imported
def test_models_that_are_exported_in_another_way_are_refused(shape: str, checkpoints: Path) -> None:
    with pytest.raises(ValueError, match="--quantize_bits is not possible for"):
        fake(shape, checkpoints, 7)
