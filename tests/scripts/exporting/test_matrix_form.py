import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import HubertConfig, PretrainedConfig, PreTrainedModel, SEWDConfig, Wav2Vec2Config, WavLMConfig

from app.families.ctc.settings import read_framing
from scripts.exporting.matrix_form import GroupNormProduct, MatrixForm, PositionalProduct, has_matrix_form, patches
from tests.checkpoints import TINY, babbling, tiny_model

SAME = 1e-5
"""Largest difference from the transformers model, relative to its largest logit: only rounding errors."""
LENGTHS = (400, 401, 719, 720, 1_040, 1_360, 1_680, 5_000, 16_000, 50_000)
"""In samples: one frame, the last length before a second frame, two to five frames, and up to three seconds."""


def noise(samples: int, seed: int = 1) -> Tensor:
    """A normalized clip, shape (samples,), float32."""
    values = torch.from_numpy(babbling(samples / 16_000 + 0.01, seed)[:samples])
    return (values - values.mean()) / values.std()


def logits_of(model: PreTrainedModel, samples: Tensor) -> Tensor:
    """Logits of transformers for one clip, shape (samples,) -> (frames, vocabulary)."""
    with torch.inference_mode():
        logits: Tensor = model(samples[None]).logits[0]
    return logits


def can_compute(model: PreTrainedModel, length: int) -> bool:
    return read_framing(model.config.to_dict()).frames(length) > 0


def assert_same(actual: Tensor, expected: Tensor) -> None:
    assert actual.shape == expected.shape
    assert (actual - expected).abs().max() <= SAME * expected.abs().max()


def assert_forms_agree(model: PreTrainedModel, lengths: tuple[int, ...] = LENGTHS) -> None:
    """Compare with transformers, in all these lengths that the model can compute."""
    form = MatrixForm(model).eval()
    for length in [length for length in lengths if can_compute(model, length)]:
        samples = noise(length)
        with torch.inference_mode():
            (logits,) = form(samples[None], torch.tensor([length]))
        assert_same(logits, logits_of(model, samples))


@pytest.mark.parametrize(("family", "norm"), TINY)
def test_it_computes_what_transformers_computes(family: str, norm: str) -> None:
    assert_forms_agree(tiny_model(family, norm))


@pytest.mark.parametrize("kernel", [1, 7, 16, 31, 32, 33, 64, 65, 128])
def test_positions_of_any_reach(kernel: int) -> None:
    """Fewer taps than a block, whole blocks, and some more; odd and even ones."""
    assert kernel in (32, 64, 128) or kernel % PositionalProduct.TAPS
    assert_forms_agree(tiny_model("wav2vec2", "layer", num_conv_pos_embeddings=kernel), (400, 16_000))


@pytest.mark.parametrize("kernel", [16, 31, 64, 65, 128])
@pytest.mark.parametrize("factor", [1, 2, 3, 5, 40])
def test_squeezed_positions_of_any_reach(kernel: int, factor: int) -> None:
    """With whole blocks and some more, in clips whose number of frames is a multiple of the factor, or not."""
    model = tiny_model("sew", "layer", num_conv_pos_embeddings=kernel, squeeze_factor=factor)
    assert_forms_agree(model, tuple(400 + 320 * (frames - 1) for frames in (factor, 5, 11, 40, 41, 42, 50, 99)))


def test_squeezed_features_may_need_no_projection() -> None:
    """Those of equal width have none in transformers, and a width of their own needs one."""
    for last, projections in ((32, 0), (24, 1)):
        model = tiny_model("sew", "group", conv_dim=[32] * 12 + [last])
        assert len([name for name, _ in model.named_modules() if name == "sew.feature_projection"]) == projections
        assert_forms_agree(model, (1_360, 16_000))


@pytest.mark.parametrize(
    "options",
    [
        {"feat_extract_norm": "group", "do_stable_layer_norm": True},
        {"feat_extract_norm": "layer", "do_stable_layer_norm": False},
        {"conv_bias": True, "feat_extract_norm": "group"},
        {"conv_bias": False, "feat_extract_norm": "layer"},
        {"hidden_act": "relu", "feat_extract_activation": "gelu_new"},
        {"conv_kernel": [10, 4, 3, 1, 5, 2, 3], "conv_stride": [4, 2, 2, 1, 3, 2, 1], "conv_dim": [8] * 6 + [32]},
    ],
    ids=str,
)
def test_every_setting_counts(options: dict[str, Any]) -> None:
    assert_forms_agree(tiny_model("wav2vec2", "layer", **options), (1_500, 16_000))


@pytest.mark.parametrize("padding", [0.0, 1.0, 1e4], ids=["zeros", "garbage", "loud garbage"])
@pytest.mark.parametrize(("family", "norm"), TINY)
def test_clips_of_a_batch_are_as_each_alone(family: str, norm: str, padding: float) -> None:
    """Whatever the samples past their ends are."""
    model = tiny_model(family, norm)
    form = MatrixForm(model).eval()
    lengths = [length for length in (16_000, 400, 720, 1_040, 31_000, 15_999, 2_000) if can_compute(model, length)]
    batch = padding * torch.randn(len(lengths), max(lengths), generator=torch.Generator().manual_seed(0))
    clips = [noise(length, seed) for seed, length in enumerate(lengths)]
    for row, clip in zip(batch, clips, strict=True):
        row[: len(clip)] = clip
    with torch.inference_mode():
        together = form(batch, torch.tensor(lengths))
    frames = form.frame_counts(torch.tensor(lengths))
    for logits, count, clip in zip(together, frames, clips, strict=True):
        assert_same(logits[:count], logits_of(model, clip))


@pytest.mark.parametrize(("kernel", "stride"), [(10, 5), (3, 2), (2, 2), (4, 2), (1, 1), (3, 1), (7, 3), (2, 3)])
def test_patches_are_what_a_convolution_sees(kernel: int, stride: int) -> None:
    for time in range(kernel, kernel + 2 * stride + 3):
        frames = torch.randn(2, time, 4)
        expected = frames.unfold(1, kernel, stride).transpose(2, 3).flatten(2)
        torch.testing.assert_close(patches(frames, kernel, stride), expected, rtol=0, atol=0)


@pytest.mark.parametrize(
    "options",
    [{}, {"conv_kernel": [10, 4, 3, 1, 5, 2, 3], "conv_stride": [4, 2, 2, 1, 3, 2, 1]}],
    ids=["published", "other"],
)
def test_frames_are_those_of_the_settings(options: dict[str, Any]) -> None:
    model = tiny_model("wav2vec2", "group", **options)
    form, framing = MatrixForm(model), read_framing(model.config.to_dict())
    first = form.first
    assert form.front_end.hop * first.stride == framing.hop
    assert (form.front_end.receptive_field - 1) * first.stride + first.kernel == framing.receptive_field
    lengths = torch.arange(framing.receptive_field, framing.receptive_field + 3 * framing.hop)
    assert form.frame_counts(lengths).tolist() == [framing.frames(int(length)) for length in lengths]


@pytest.mark.parametrize(("family", "norm"), TINY)
def test_the_model_stays_as_it_is(family: str, norm: str) -> None:
    model = tiny_model(family, norm)
    before = copy.deepcopy(model.state_dict())
    MatrixForm(model).eval()(noise(2_000)[None], torch.tensor([2_000]))
    after = model.state_dict()
    assert after.keys() == before.keys()
    assert all(torch.equal(after[name], before[name]) for name in before)


@pytest.mark.parametrize(
    "config",
    [
        Wav2Vec2Config(add_adapter=True),
        Wav2Vec2Config(adapter_attn_dim=8),
        HubertConfig(conv_pos_batch_norm=True),
        HubertConfig(feat_proj_layer_norm=False),
        WavLMConfig(),
        SEWDConfig(),
    ],
    ids=lambda config: config.model_type,
)
def test_models_of_another_shape_have_none(config: PretrainedConfig) -> None:
    assert not has_matrix_form(config)


def test_models_of_another_shape_are_refused() -> None:
    model = tiny_model("hubert", "group", conv_pos_batch_norm=True)
    with pytest.raises(ValueError, match="hubert checkpoints of this shape have no matrix form"):
        MatrixForm(model)


@pytest.mark.parametrize(
    ("scale", "offset"), [(1.0, 0.0), (1e-3, 0.0), (1.0, 30.0), (30.0, -3.0)], ids=["plain", "quiet", "offset", "loud"]
)
def test_the_folded_norm_is_as_exact_as_the_norm(scale: float, offset: float) -> None:
    """Compared with double precision, also for audio that is not normalized: at most four times the error of torch."""
    torch.manual_seed(0)
    convolution, norm = nn.Conv1d(1, 32, 10, 5, bias=False), nn.GroupNorm(32, 32)
    samples = (scale * noise(32_000) + offset)[None]
    with torch.inference_mode():
        seen, weight = GroupNormProduct(convolution, norm)(samples, torch.tensor([samples.shape[1]]))
        folded = seen @ weight
        by_torch = norm(convolution(samples[:, None])).transpose(1, 2)
        exact = norm.double()(convolution.double()(samples[:, None].double())).transpose(1, 2)
    worst = max(float((by_torch - exact).abs().max()), 1e-6 * float(exact.abs().max()))
    assert (folded - exact).abs().max() <= 4 * worst
