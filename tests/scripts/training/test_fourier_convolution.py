import pytest
import torch
from torch import nn

from scripts.training.fourier_convolution import convolve_by_fourier, fourier_convolution
from tests.checkpoints import TINY, tiny_model


@pytest.mark.parametrize("kernel", [32, 33, 64])
@pytest.mark.parametrize("groups", [1, 4])
@pytest.mark.parametrize("padding", [0, 32])
@pytest.mark.parametrize("bias", [True, False])
def test_a_fourier_convolution_is_the_convolution(kernel: int, groups: int, padding: int, bias: bool) -> None:
    torch.manual_seed(0)
    convolution = nn.Conv1d(8, 12, kernel, padding=padding, groups=groups, bias=bias)
    frames, other = (torch.randn(3, 8, 90, requires_grad=True) for _ in range(2))
    with torch.no_grad():
        other.copy_(frames)
    direct, transformed = convolution(frames), fourier_convolution(convolution, other)
    torch.testing.assert_close(transformed, direct, rtol=0, atol=1e-5)

    weights = list(convolution.parameters())
    toward = torch.randn_like(direct)
    expected = torch.autograd.grad(direct, [frames, *weights], toward)
    gradients = torch.autograd.grad(transformed, [other, *weights], toward)
    for gradient, right in zip(gradients, expected, strict=True):
        torch.testing.assert_close(gradient, right, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("family", "norm"), [(family, norm) for family, norm in TINY if family != "sew"])
def test_a_model_computes_the_same(family: str, norm: str) -> None:
    model = tiny_model(family, norm, num_conv_pos_embeddings=64)
    samples = torch.randn(2, 9_000, generator=torch.Generator().manual_seed(0))
    names = list(model.state_dict())
    with torch.no_grad():
        before = model(samples).logits
        assert convolve_by_fourier(model) == 1
        torch.testing.assert_close(model(samples).logits, before, rtol=0, atol=1e-4)
    assert list(model.state_dict()) == names


def test_short_and_strided_convolutions_stay() -> None:
    model = nn.Sequential(
        nn.Conv1d(4, 4, 31), nn.Conv1d(4, 4, 64, stride=2), nn.Conv1d(4, 4, 64, padding=8, padding_mode="reflect")
    )
    assert convolve_by_fourier(model) == 0
