from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional
from transformers import AutoModelForCTC, HubertConfig, HubertForCTC, PreTrainedModel, Wav2Vec2Config, Wav2Vec2ForCTC

from app.families.ctc.settings import read_framing
from scripts.exporting.matrix_form import frame_counts
from scripts.exporting.openvino_form import ClipNorm, OpenVinoForm, has_openvino_form, patch_sums
from tests.checkpoints import SHAPES, babbling, built

SAME = 1e-8
"""Largest difference of logits from the transformers model, in float64, so that only the formulas can differ."""
TINY: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "conv_dim": [16] * 7,
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 4,
}


def load(shape: str, folder: Path) -> PreTrainedModel:
    model: PreTrainedModel = AutoModelForCTC.from_pretrained(built(shape, folder), dtype=torch.float32)
    model.eval()
    return model


def hubert() -> PreTrainedModel:
    torch.manual_seed(5)
    model = HubertForCTC(HubertConfig(**TINY))
    model.eval()
    return model


def biased() -> PreTrainedModel:
    """A group norm after a convolution with a bias, which the norm cancels."""
    torch.manual_seed(6)
    model = Wav2Vec2ForCTC(Wav2Vec2Config(**TINY, conv_bias=True))
    model.eval()
    with torch.no_grad():
        model.get_parameter("wav2vec2.feature_extractor.conv_layers.0.conv.bias").normal_(std=3.0)
    return model


@pytest.fixture(
    params=[*SHAPES, "sew", "sew, layers of wav2vec2", hubert, biased],
    ids=lambda made: made if isinstance(made, str) else made.__name__,
)
def make(request: pytest.FixtureRequest, checkpoints: Path) -> Callable[[], PreTrainedModel]:
    """Makes a new copy of the model, because the form changes its argument."""
    return (lambda: load(request.param, checkpoints)) if isinstance(request.param, str) else request.param


@torch.inference_mode()
def test_clips_of_any_lengths_together_are_what_transformers_computes_of_each(
    make: Callable[[], PreTrainedModel],
) -> None:
    least = read_framing(make().config.to_dict()).min_frames
    durations_s = (1.0, 0.025 + 0.02 * (least - 1), 2.3, 0.31, 0.33)
    clips = [babbling(duration_s, seed) * 3 for seed, duration_s in enumerate(durations_s)]
    lengths = torch.tensor([len(clip) for clip in clips])
    batch = torch.zeros(len(clips), 40_000, dtype=torch.float64)  # longer than the longest
    for row, clip in zip(batch, clips, strict=True):
        row[: len(clip)] = torch.from_numpy(clip)
    together = OpenVinoForm(make().double())(batch, lengths)
    model = make().double()
    for clip, logits in zip(clips, together, strict=True):
        expected = model(torch.from_numpy(clip)[None].double()).logits[0]
        torch.testing.assert_close(logits[: len(expected)], expected, atol=SAME, rtol=0)


@torch.inference_mode()
@pytest.mark.parametrize("hertz", [20.0, 400.0, 7_900.0])
def test_the_norm_follows_from_the_patches(hertz: float) -> None:
    """Also for a tone, whose neighbouring samples are nearly equal, so that variances are small differences."""
    torch.manual_seed(7)
    convolution, norm = nn.Conv1d(1, 24, 10, 5, bias=False), nn.GroupNorm(24, 24)
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    time = torch.arange(4_003) / 16_000
    samples = torch.sin(2 * torch.pi * hertz * time) + 0.3 + 1e-3 * torch.randn(len(time))
    scale, shift = ClipNorm(convolution, norm)(samples[None], torch.tensor([len(samples)]))
    actual = convolution(samples[None, None]) * scale + shift
    expected = norm(convolution(samples[None, None]))
    torch.testing.assert_close(actual, expected, atol=2e-3, rtol=0)


@pytest.mark.parametrize("own", [300, 1_999])
def test_sums_are_those_of_a_clips_own_patches(own: int) -> None:
    samples = babbling(0.2, seed=8)[:2_003].astype(np.float64)
    sums = patch_sums(torch.from_numpy(samples)[None], torch.tensor([own]), kernel=10, stride=5)
    seen = np.lib.stride_tricks.sliding_window_view(samples[:own], 10)[::5]
    seen = np.column_stack([seen, np.ones(len(seen))])
    np.testing.assert_allclose(sums[0], seen.T @ seen, atol=1e-9)


@torch.inference_mode()
def test_silence_is_zero_to_every_convolution_that_is_quantized(checkpoints: Path) -> None:
    form = OpenVinoForm(load("small", checkpoints))
    seen: list[torch.Tensor] = []
    for convolution in form.convolutions:
        convolution.get_submodule("layer.conv").register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    form(torch.zeros(1, 4_000), torch.tensor([4_000]))
    assert len(seen) == 6
    for frames in seen:
        torch.testing.assert_close(frames, torch.zeros_like(frames), atol=1e-6, rtol=0)


@pytest.mark.parametrize(("kernel", "stride"), [(10, 5), (3, 2), (2, 2)])
def test_frame_counts_are_those_of_the_convolutions(kernel: int, stride: int) -> None:
    for length in range(kernel, 40):
        made = functional.conv1d(torch.zeros(1, 1, length), torch.zeros(1, 1, kernel), stride=stride).shape[2]
        assert int(frame_counts(torch.tensor(length), kernel, stride)) == made


@pytest.mark.parametrize(
    "changed", [{"conv_stride": [4, 2, 2, 2, 2, 2, 2]}, {"adapter_attn_dim": 16}, {"add_adapter": True}]
)
def test_other_models_have_no_such_form(changed: dict[str, Any]) -> None:
    model = Wav2Vec2ForCTC(Wav2Vec2Config(**TINY, **changed))
    assert not has_openvino_form(model)
    with pytest.raises(ValueError, match="no form for OpenVINO"):
        OpenVinoForm(model)
