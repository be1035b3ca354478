"""wav2vec2, HuBERT and SEW in the form that OpenVINO computes fastest, which is quantized to INT8.

OpenVINO has fast INT8 convolutions, so they stay convolutions. It is slow at the group norm after the first one, over
the largest tensor of the model (3200 frames per second), with a change of layout before and after. `OpenVinoForm`
computes the same emissions from the same weights, with two differences:

- **The group norm is a scale and a shift** that follow from a clip's samples (`ClipNorm`). The large tensor is scaled,
  activated and quantized in one pass, in the layout of the convolutions.
- **Clips have lengths**: a second input gives the number of samples of each clip, and padding does not change the
  result. OpenVINO generates code for every input length, so clips are best padded to a few lengths.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import PreTrainedModel

from scripts.exporting.matrix_form import FAMILIES, frame_counts, is_inside
from scripts.exporting.squeezed_frames import projection_of, squeeze_factor, squeezed, upsampling_of

MASKED = torch.finfo(torch.float32).min
"""Added to the attention scores of padding, so that they are zero after the softmax."""


def has_openvino_form(model: PreTrainedModel) -> bool:
    """Whether a CTC model can be converted to this form."""
    config = model.config
    return (
        config.model_type in FAMILIES
        and config.feat_extract_norm in ("group", "layer")
        and config.conv_kernel[0] % config.conv_stride[0] == 0
        and not getattr(config, "add_adapter", False)
        and getattr(config, "adapter_attn_dim", None) is None
        and not getattr(config, "conv_pos_batch_norm", False)
    )


def patch_sums(samples: Tensor, lengths: Tensor, kernel: int, stride: int) -> Tensor:
    """Sums over time of the inputs of a one-channel convolution at each step, and of the products of each two inputs.

    Samples (batch, samples), lengths in samples (batch,) -> (batch, kernel + 1, kernel + 1): the sum of p p^T over all
    patches of a clip, without its padding, where p is the `kernel` samples of a patch followed by a 1. The last row and
    the last column are the sums of the samples. The kernel must be a whole number of strides, as it is in every model
    of these families.
    """
    chunks = samples.shape[1] // stride
    steps = chunks - kernel // stride + 1
    by_row = samples[:, : chunks * stride].view(-1, chunks, stride)
    by_column = torch.stack([samples[:, index : chunks * stride : stride] for index in range(stride)], dim=1)
    inside = is_inside(frame_counts(lengths, kernel, stride), steps).to(samples.dtype)
    one = torch.ones_like(inside)
    shifts = [slice(shift, shift + steps) for shift in range(kernel // stride)]
    rows = torch.cat([*(by_row[:, shift] for shift in shifts), one[:, :, None]], dim=2)
    columns = torch.cat([*(by_column[:, :, shift] for shift in shifts), one[:, None]], dim=1)
    return (columns * inside[:, None]) @ rows


class ClipNorm(nn.Module):
    """The group norm after the first convolution, as a scale and a shift for each clip and channel.

    The norm has one group per channel: channel c of the convolution is centred and scaled by its own mean and variance
    over time. The convolution is linear, so both follow from its input patches. With its weights w(c), n patches p(t),
    and sums over the positions i and j in a patch,

        mean(c) = sum of w(c, i) S(i) / n                             S(i) = sum over t of p(t, i)
        variance(c) = sum of w(c, i) w(c, j) Q(i, j) / n - mean(c)^2  Q(i, j) = sum over t of p(t, i) p(t, j)

        scale(c) = gamma(c) / sqrt(variance(c) + epsilon)             shift(c) = beta(c) - mean(c) scale(c)

    so products of the 121 values of `patch_sums` with constant weights replace the passes over (channels, time). They
    are written as convolutions, because OpenVINO then gives scale and shift the layout of the convolution that they
    apply to. Each takes all sums, because slices of them would be rounded to bfloat16.

    The level of the clip, which is the mean of its samples, is subtracted first and added to mean(c) again; otherwise Q
    would be large numbers with small differences. A bias of the convolution is part of its mean, and so cancelled.
    """

    def __init__(self, convolution: nn.Conv1d, norm: nn.GroupNorm) -> None:
        super().__init__()
        self.kernel, self.stride, self.epsilon = convolution.kernel_size[0], convolution.stride[0], norm.eps
        weight = convolution.weight.detach()[:, 0]  # (channels, kernel)
        squares = functional.pad(weight[:, :, None] * weight[:, None, :], (0, 1, 0, 1))
        self.quadratic = nn.Parameter(squares.flatten(1)[:, :, None])
        self.linear = nn.Parameter(functional.pad(weight[:, :, None], (self.kernel, 0, 0, 1)).flatten(1)[:, :, None])
        self.of_level = nn.Parameter(weight.sum(dim=1)[:, None, None])
        self.bias = convolution.bias
        self.gamma = nn.Parameter(norm.weight.detach()[:, None].clone())
        self.beta = nn.Parameter(norm.bias.detach()[:, None].clone())

    def forward(self, samples: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Samples (batch, samples), lengths in samples (batch,) -> scale and shift, each (batch, channels, 1)."""
        own = is_inside(lengths, samples.shape[1]).to(samples.dtype)
        level = (samples * own).sum(dim=1, keepdim=True) / lengths[:, None].to(samples.dtype)
        sums = patch_sums(samples - level, lengths, self.kernel, self.stride)
        count = frame_counts(lengths, self.kernel, self.stride)[:, None, None].to(samples.dtype)
        sums = sums.reshape(-1, (self.kernel + 1) ** 2, 1)
        mean = functional.conv1d(sums, self.linear) / count
        variance = functional.relu(functional.conv1d(sums, self.quadratic) / count - mean * mean)
        scale = self.gamma / torch.sqrt(variance + self.epsilon)
        mean = mean + functional.conv1d(level[:, :, None], self.of_level, self.bias)
        return scale, self.beta - mean * scale


class FirstLayer(nn.Module):
    """The first convolution with its norm and activation. A group norm becomes a scale and a shift."""

    def __init__(self, layer: Any) -> None:
        super().__init__()
        self.layer = layer
        norm = getattr(layer, "layer_norm", None)
        self.norm = ClipNorm(layer.conv, norm) if isinstance(norm, nn.GroupNorm) else None

    def forward(self, samples: Tensor, lengths: Tensor) -> Tensor:
        """Samples (batch, samples), lengths in samples (batch,) -> (batch, channels, time)."""
        if self.norm is None:
            frames: Tensor = self.layer(samples[:, None])
        else:
            scale, shift = self.norm(samples, lengths)
            frames = self.layer.activation(self.layer.conv(samples[:, None]) * scale + shift)
        return frames


class CentredConvolution(nn.Module):
    """One of the other convolutions, on the difference between its input and its input for silence.

    In 8 bits, a step is a 255th of the loudest value. In the first layers, quiet moments and silence differ by only a
    step or two. The norm before the encoder then amplifies the rounding error to full scale, and the positional
    convolution spreads it over half a second in both directions. As a difference, silence is zero, which 8 bits
    represent exactly:

        W x + b = W (x - silence) + (b + W silence)

    There is no padding, so the second term is the same for all frames: a bias.
    """

    def __init__(self, layer: Any, silence: Tensor) -> None:
        super().__init__()
        self.layer = layer
        self.silence = nn.Parameter(silence)  # (channels, 1)
        convolution = layer.conv
        bias = convolution(silence.expand(-1, convolution.kernel_size[0])[None])[0, :, 0]
        convolution.bias = nn.Parameter(bias)

    def forward(self, frames: Tensor) -> Tensor:
        """(batch, channels, time) -> (batch, channels', time')."""
        outputs: Tensor = self.layer(frames - self.silence)
        return outputs


@torch.no_grad()
def silences(extractor: Any) -> list[Tensor]:
    """The output of every convolution but the last for silence, each of shape (channels, 1)."""
    samples = 1
    for layer in reversed(extractor.conv_layers):
        samples = (samples - 1) * layer.conv.stride[0] + layer.conv.kernel_size[0]
    frames = torch.zeros(1, 1, samples, dtype=extractor.conv_layers[0].conv.weight.dtype)
    outputs = []
    for layer in list(extractor.conv_layers)[:-1]:
        frames = layer(frames)
        outputs.append(frames[0, :, :1])
    return outputs


class OpenVinoForm(nn.Module):
    """A CTC model of transformers in this form, for export only. It changes and shares the modules of the model.

    Raises ValueError if the model has no such form (`has_openvino_form`).
    """

    def __init__(self, model: PreTrainedModel) -> None:
        super().__init__()
        if not has_openvino_form(model):
            raise ValueError(f"{model.config.model_type} checkpoints of this shape have no form for OpenVINO")
        model.set_attn_implementation("eager")  # the pattern that OpenVINO fuses
        body: Any = model.base_model
        self.steps = tuple(zip(model.config.conv_kernel, model.config.conv_stride, strict=True))
        self.norm_first = bool(getattr(model.config, "do_stable_layer_norm", False))  # SEW has no such models
        self.squeeze = squeeze_factor(model.config)
        first, *others = body.feature_extractor.conv_layers
        silence = silences(body.feature_extractor)
        self.first = FirstLayer(first)
        self.convolutions = nn.ModuleList(map(CentredConvolution, others, silence))
        self.projection = projection_of(model)
        self.positions = body.encoder.pos_conv_embed
        self.channels_first = model.config.model_type == "sew"  # what the module of the positions takes and gives
        self.norm = body.encoder.layer_norm
        self.layers = body.encoder.layers
        self.upsampling = upsampling_of(model)
        self.head: nn.Module = model.lm_head

    def forward(self, input_values: Tensor, lengths: Tensor) -> Tensor:
        """(batch, samples) float32, zero-padded, lengths in samples (batch,) int64 -> logits (batch, time, tokens).

        Only the first `Framing.frames(length)` frames of a clip are valid.
        """
        hidden = self.first(input_values, lengths)
        for convolution in self.convolutions:
            hidden = convolution(hidden)
        for kernel, stride in self.steps:
            lengths = frame_counts(lengths, kernel, stride)
        frames = self.projection(hidden.transpose(1, 2))
        frames = frames[0] if isinstance(frames, tuple) else frames  # wav2vec2 also returns the normalized input
        inside = is_inside(lengths, frames.shape[1])
        frames = frames * inside[..., None].to(frames.dtype)  # for the positional convolution, padding is zero
        time = frames.shape[1]
        inside = inside[:, self.squeeze - 1 :: self.squeeze]  # squeezed frames of nothing but a clip's own frames
        mask = torch.where(inside, 0.0, MASKED).to(frames.dtype)[:, None, None, :]
        if self.channels_first:
            positions = self.positions(frames.transpose(1, 2)).transpose(1, 2)
            frames = squeezed(frames, self.squeeze)
            frames = frames + positions[:, : frames.shape[1]]  # an odd kernel gives a frame for the rest, too
        else:
            frames = frames + self.positions(frames)
        if not self.norm_first:
            frames = self.norm(frames)
        for layer in self.layers:
            frames = layer(frames, attention_mask=mask)[0]
        if self.norm_first:
            frames = self.norm(frames)
        if self.upsampling is not None:
            frames = self.upsampling(frames, inside, time)
        logits: Tensor = self.head(frames)
        return logits
