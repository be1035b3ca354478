"""What makes a step of training faster or worth more, without changing what is computed or learned.

- `convolve_by_fourier`: on CPUs, the positional convolution of wav2vec2 and its kin, with its long kernel and its many
  groups, is a good part of a step as a convolution, and about half of that or less by Fourier transforms.
- `MuonAndAdamW`: each step brings a model trained from scratch further than AdamW's.
"""

from functools import partial
from typing import Any

import torch
from scipy.fft import next_fast_len
from torch import Tensor, nn
from torch.nn import functional

LONG_KERNEL = 32
"""From so many taps on, a convolution with stride 1 is made by Fourier transforms."""


def fourier_convolution(convolution: nn.Conv1d, frames: Tensor) -> Tensor:
    """What `convolution(frames)` gives, by the convolution theorem.

    (batch, channels, time) -> (batch, channels', time'). The kernel is conjugated, as "convolutions" of neural networks
    are correlations. Computed in float32; the result has the dtype of `frames`. Stride and dilation must be 1, padding
    a number of zeros.
    """
    padding = convolution.padding[0]
    assert isinstance(padding, int)
    kernel, groups = convolution.kernel_size[0], convolution.groups
    batch, channels, time = frames.shape
    size = next_fast_len(time + 2 * padding, real=True)
    with torch.autocast(frames.device.type, enabled=False):
        spectra = torch.fft.rfft(functional.pad(frames.float(), (padding, padding)), n=size)
        kernels = torch.fft.rfft(convolution.weight.float(), n=size).conj()
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
    """Let the long convolutions of a model be computed by `fourier_convolution`; returns how many there are.

    Their weights stay where they are, under their names, with their parametrizations.
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
        convolution.forward = partial(fourier_convolution, convolution)  # type: ignore[method-assign]
    return len(long)


class MuonAndAdamW(torch.optim.Optimizer):
    """Muon for the matrices inside a model, AdamW for all else: convolutions, norms, biases and the CTC head.

    Muon makes the steps of all directions of a matrix equally long (K. Jordan et al., "Muon: an optimizer for hidden
    layers in neural networks", 2024). Its steps are scaled to the size of AdamW's, so one learning rate serves both (J.
    Liu et al., "Muon is scalable for LLM training", 2025).
    """

    def __init__(self, model: nn.Module, lr: float, weight_decay: float) -> None:
        matrices: list[nn.Parameter] = []
        others: list[nn.Parameter] = []
        for name, parameter in model.named_parameters():
            if parameter.requires_grad:
                inside = parameter.ndim == 2 and not name.startswith("lm_head")
                (matrices if inside else others).append(parameter)
        self.parts: tuple[torch.optim.Optimizer, ...] = (
            torch.optim.Muon(matrices, lr=lr, weight_decay=weight_decay, adjust_lr_fn="match_rms_adamw"),
            torch.optim.AdamW(others, lr=lr, weight_decay=0.0),
        )
        super().__init__(self._groups(), {})

    def _groups(self) -> list[dict[str, Any]]:
        return [group for part in self.parts for group in part.param_groups]

    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """One step with the gradients that are there; `closure` is not supported and must be None."""
        assert closure is None
        for part in self.parts:
            part.step()

    def state_dict(self) -> dict[str, Any]:
        return {"parts": [part.state_dict() for part in self.parts]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        for part, state in zip(self.parts, state_dict["parts"], strict=True):
            part.load_state_dict(state)
        self.param_groups = self._groups()  # loading made new ones, and the learning rate is set in them
