"""Train a CTC model with the rounding of its INT8 file, so that its weights learn to bear it.

`scripts/exporting/quantization.py` rounds weights and activations of the products of a model. `FakeQuantization` makes
the products of a PyTorch model compute with the same integers:

- Weights are signed, of 7 or 8 bits, with one scale per output channel.
- Activations are bytes. Those of the front end have a scale for each row of a product, which is the input of one frame;
  all others have one scale and zero point for each clip, from the range of its own frames, without padding.
- Not rounded: the first convolution, and the products within attention.
- With 4 bits, linear layers have weights with a scale for each block of inputs, and activations in float32; the other
  products have 7 bits.

Rounding has no gradient, so the gradient passes it as if it were not there (Y. Bengio et al., "Estimating or
propagating gradients through stochastic neurons", 2013). It does not pass through the scales.

The weights of the model keep their names and stay float32; only `forward` of some modules is replaced. So checkpoints
are those of the model itself.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import PreTrainedModel

from scripts.exporting.integer_ranges import (
    BLOCK,
    GELU_MINIMUM,
    GELU_ZERO_POINT,
    LARGEST_WEIGHT,
    LOWEST,
    MAX_UINT8,
    LayerBits,
)
from scripts.exporting.matrix_form import PositionalProduct, has_matrix_form, is_inside
from scripts.exporting.squeezed_frames import projection_of, squeeze_factor
from scripts.training.fourier_convolution import LONG_KERNEL, fourier_convolution


class FakeQuantization:
    """Replaces the products of a model, until `remove` is called.

    bits: of the weights. Raises ValueError if the INT8 file of such a model is computed in another way: it has no
    matrix form, or its front end has no GELU.
    """

    def __init__(self, model: PreTrainedModel, bits: LayerBits) -> None:
        if not has_matrix_form(model.config) or model.config.feat_extract_activation != "gelu":
            raise ValueError(f"--quantize_bits is not possible for {model.config.model_type} models of this shape")
        self._limit = LARGEST_WEIGHT[7 if bits == 4 else bits]
        self._squeeze = squeeze_factor(model.config)
        self._frames: Tensor | None = None
        self._hook = model.register_forward_pre_hook(self._count_frames, with_kwargs=True)
        self._replaced: list[tuple[nn.Module, Any]] = []
        body: Any = model.base_model
        for layer in list(body.feature_extractor.conv_layers)[1:]:
            self._replace(layer.conv, self._convolution)
        self._replace(body.encoder.pos_conv_embed.conv, self._positional_convolution)
        # The export multiplies the weights of the queries by this, and half-precision scales are rounded behind it.
        scaling = {id(layer.attention.q_proj): float(layer.attention.scaling) for layer in body.encoder.layers}
        layers = nn.ModuleList([body.encoder.layers])
        if hasattr(body.encoder, "upsample"):
            layers.append(body.encoder.upsample)
        outer = nn.ModuleList([projection_of(model), model.get_submodule("lm_head")])
        for parts, forward in ((layers, self._squeezed_linear), (outer, self._linear)):
            for module in parts.modules():
                if isinstance(module, nn.Linear):
                    in_blocks = partial(linear_in_blocks, factor=scaling.get(id(module), 1.0))
                    self._replace(module, in_blocks if bits == 4 else forward)

    def remove(self) -> None:
        """Let the model compute as before."""
        self._hook.remove()
        for module, forward in self._replaced:
            if forward is None:
                del module.forward
            else:
                module.forward = forward
        self._replaced.clear()

    def _replace(self, module: nn.Module, forward: Any) -> None:
        self._replaced.append((module, vars(module).get("forward")))
        module.forward = partial(in_float32, partial(forward, module))  # of this module alone

    def _count_frames(
        self, model: Any, arguments: tuple[Any, ...], named: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Called before the model: note the number of frames of each clip."""
        mask = named.get("attention_mask")
        self._frames = None if mask is None else model._get_feat_extract_output_lengths(mask.sum(dim=1))
        return arguments, named

    def _linear(self, layer: nn.Linear, inputs: Tensor) -> Tensor:
        """(clips, time, inputs) -> (clips, time, outputs)."""
        return self._product(layer, inputs, self._frames)

    def _squeezed_linear(self, layer: nn.Linear, inputs: Tensor) -> Tensor:
        """The same, for a layer that has a frame for each `squeeze_factor` frames."""
        return self._product(layer, inputs, None if self._frames is None else self._frames // self._squeeze)

    def _product(self, layer: nn.Linear, inputs: Tensor, frames: Tensor | None) -> Tensor:
        values, scale = round_clips(inputs, frames)
        weight, scales = round_weight(layer.weight, self._limit)
        product = functional.linear(values, weight) * (scale * scales[:, 0])
        return product if layer.bias is None else product + layer.bias

    def _convolution(self, layer: nn.Conv1d, inputs: Tensor) -> Tensor:
        """(clips, channels, time) -> (clips, channels', time'), as a product of patches with a scale for each."""
        patches = inputs.unfold(2, layer.kernel_size[0], layer.stride[0]).transpose(1, 2).flatten(start_dim=2)
        values, scale = round_rows(patches)
        weight, scales = round_weight(layer.weight.flatten(start_dim=1), self._limit)
        product = functional.linear(values, weight) * scale * scales[:, 0]
        return (product if layer.bias is None else product + layer.bias).transpose(1, 2)

    def _positional_convolution(self, layer: nn.Conv1d, inputs: Tensor) -> Tensor:
        """(clips, channels, time) -> (clips, channels, time')."""
        values, scale = round_clips(inputs.transpose(1, 2), self._frames)
        frames = (values * scale).transpose(1, 2)
        weight = rounded_taps(layer.weight, self._limit, layer.stride[0])
        if layer.kernel_size[0] >= LONG_KERNEL and layer.stride == (1,) and frames.device.type == "cpu":
            return fourier_convolution(layer, frames, weight)
        return functional.conv1d(frames, weight, layer.bias, layer.stride, layer.padding[0], groups=layer.groups)


def in_float32(forward: Callable[[Tensor], Tensor], inputs: Tensor) -> Tensor:
    """`forward(inputs)` without autocast: in float32, sums of integers are exact up to 2^24, in fp16 they overflow."""
    with torch.autocast(inputs.device.type, enabled=False):
        return forward(inputs.float())


def linear_in_blocks(layer: nn.Linear, inputs: Tensor, factor: float) -> Tensor:
    """(clips, time, inputs) -> (clips, time, outputs), with weights of 4 bits. factor: see `round_blocks`."""
    return functional.linear(inputs, round_blocks(layer.weight, factor), layer.bias)


def passing(rounded: Tensor, exact: Tensor) -> Tensor:
    """The values of `rounded`, with the gradient of `exact`."""
    return exact + (rounded - exact).detach()


def round_weight(weight: Tensor, limit: int) -> tuple[Tensor, Tensor]:
    """`quantize_weight` of the export: integers from -limit to limit, and the scale of each output channel.

    weight: shape (outputs, inputs), float32. Returns float32 of the shapes (outputs, inputs), (outputs, 1). A channel
    of zeros has the scale 1.
    """
    scale = weight.detach().abs().amax(dim=1, keepdim=True) / limit
    scale = torch.where(scale == 0, 1.0, scale)
    exact = weight / scale
    return passing(exact.round().clamp(-limit, limit), exact), scale


def round_blocks(weight: Tensor, factor: float = 1.0) -> Tensor:
    """The weights with the 4-bit rounding of `scripts.exporting.four_bit_weights`.

    weight: shape (outputs, inputs), float32. factor: by which the export multiplies them before. Returns the same
    shape.
    """
    inputs = weight.shape[1]
    blocks = functional.pad(weight * factor, (0, -inputs % BLOCK)).unflatten(1, (-1, BLOCK))
    known = blocks.detach()
    scale = (known.gather(2, known.abs().argmax(dim=2, keepdim=True)) / LOWEST).half().float()
    scale = torch.where(scale == 0, 1.0, scale)
    exact = blocks / scale
    rounded = passing(exact.round().clamp(LOWEST, -LOWEST - 1), exact)
    return (rounded * scale).flatten(start_dim=1)[:, :inputs] / factor


def rounded_taps(weight: Tensor, limit: int, stride: int = 1) -> Tensor:
    """The weights of a positional convolution with the rounding of its export, which computes it in blocks of taps.

    weight: shape (outputs, inputs, taps), float32. Returns the same shape. Each output channel has a scale for each
    block of `PositionalProduct.taps_of(stride)` taps.
    """
    taps = PositionalProduct.taps_of(stride)
    parts = [
        (rounded * scale).view_as(part)
        for part in weight.split(taps, dim=2)
        for rounded, scale in [round_weight(part.flatten(start_dim=1), limit)]
    ]
    return torch.cat(parts, dim=2)


def round_clips(inputs: Tensor, frames: Tensor | None) -> tuple[Tensor, Tensor]:
    """ONNX's DynamicQuantizeLinear, for each clip: bytes minus their zero point, from -255 to 255, and the scales.

    inputs: shape (clips, time, width), float32. frames: number of frames of each clip, shape (clips,), or None for all;
    the others are rounded with the same scale, and can be clipped. Returns float32 of the shapes (clips, time, width)
    and (clips, 1, 1).
    """
    known = inputs.detach()
    if frames is not None:  # the range of a clip always has a zero in it
        known = known.masked_fill(~is_inside(frames, inputs.shape[1])[..., None], 0.0)
    low, high = known.amin(dim=(1, 2), keepdim=True).clamp(max=0), known.amax(dim=(1, 2), keepdim=True).clamp(min=0)
    scale = (high - low) / MAX_UINT8
    scale = torch.where(scale == 0, 1.0, scale)
    zero = (-low / scale).round().clamp(0, MAX_UINT8)
    exact = inputs / scale
    return passing((exact.round() + zero).clamp(0, MAX_UINT8) - zero, exact), scale


def round_rows(inputs: Tensor) -> tuple[Tensor, Tensor]:
    """Integers as bytes minus `GELU_ZERO_POINT`, and the scale of each row.

    inputs: outputs of a GELU, shape (clips, rows, width), float32. Returns float32 of the shapes (clips, rows, width)
    and (clips, rows, 1).
    """
    top = inputs.detach().amax(dim=2, keepdim=True)
    scale = (top * (1 / (MAX_UINT8 - GELU_ZERO_POINT))).clamp(min=-GELU_MINIMUM / GELU_ZERO_POINT)
    exact = inputs / scale
    rounded = (exact.round() + GELU_ZERO_POINT).clamp(0, MAX_UINT8) - GELU_ZERO_POINT
    return passing(rounded, exact), scale
