"""Compute the long convolutions of a model by Fourier transforms, which makes training on CPUs faster.

The positional convolution of wav2vec2 and similar models has a long kernel and many groups. On a CPU it takes a large
share of a training step; by Fourier transforms it takes half of that time or less.
"""

from functools import partial

import torch
from scipy.fft import next_fast_len
from torch import Tensor, nn
from torch.nn import functional

LONG_KERNEL = 32
"""Convolutions with at least this many taps, and stride 1, are computed by Fourier transforms."""


def fourier_convolution(convolution: nn.Conv1d, frames: Tensor, weight: Tensor | None = None) -> Tensor:
    """`convolution(frames)`, computed by the convolution theorem.

    (batch, channels, time) -> (batch, channels', time'). The spectrum of the kernel is conjugated, because the
    convolutions of neural networks are correlations. Computed in float32; the result has the dtype of `frames`. Stride
    and dilation must be 1, and the padding must be a number of zeros. weight: instead of the convolution's own.
    """
    padding = convolution.padding[0]
    assert isinstance(padding, int)
    weight = convolution.weight if weight is None else weight
    kernel, groups = convolution.kernel_size[0], convolution.groups
    batch, channels, time = frames.shape
    size = next_fast_len(time + 2 * padding, real=True)
    with torch.autocast(frames.device.type, enabled=False):
        spectra = torch.fft.rfft(functional.pad(frames.float(), (padding, padding)), n=size)
        kernels = torch.fft.rfft(weight.float(), n=size).conj()
        products = torch.matmul(  # for every frequency and group: (batch, channels) @ (channels, channels')
            spectra.view(batch, groups, channels // groups, -1).permute(3, 1, 0, 2),
            kernels.view(groups, -1, channels // groups, kernels.shape[-1]).permute(3, 0, 2, 1),
        )
        summed: Tensor = torch.fft.irfft(products.permute(2, 1, 3, 0).reshape(batch, -1, spectra.shape[-1]), n=size)
        summed = summed[..., : time + 2 * padding - kernel + 1]
        if convolution.bias is not None:
            summed = summed + convolution.bias[:, None]
    return summed.to(frames.dtype)


def convolve_by_fourier(model: nn.Module) -> int:
    """Make the long convolutions of a model use `fourier_convolution`. Returns their number.

    The weights keep their names and parametrizations.
    """
    long = [
        module
        for module in model.modules()
        if isinstance(module, nn.Conv1d)
        and module.kernel_size[0] >= LONG_KERNEL
        and module.stride == module.dilation == (1,)
        and module.padding_mode == "zeros"
        and not isinstance(module.padding, str)
    ]
    for convolution in long:
        convolution.forward = partial(fourier_convolution, convolution)  # type: ignore[method-assign]  # of this module alone
    return len(long)
