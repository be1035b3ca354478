"""The matrix form of wav2vec2, HuBERT and SEW, which is exported to ONNX: convolutions are matrix products.

The stock graph of these models spends most of its time in one-dimensional convolutions, which CPU runtimes compute
slowly (in INT8 more slowly than in float). It has no input for the length of a clip, so clips of different lengths
cannot share a batch. `MatrixForm` computes the same emissions from the same weights, with two differences:

- **Convolutions are products.** A convolution with kernel k and stride s over channel-last frames is the product of
  patches (k neighbouring frames, concatenated) with a (k * channels, channels') matrix. The patches are views and byte
  copies of the frames (`patches`). INT8 kernels for matrix products then compute nearly everything.
- **Clips have lengths.** Norms over time use only a clip's own frames, frames past its end are zero before the
  positional convolution, and attention masks them. The result of a clip does not depend on the other clips of the
  batch.

The group norm after the first convolution is folded into its weights, separately for each clip: see `GroupNormProduct`.

`MatrixForm` consists of three parts, so that an export can run the middle one piece by piece:

    samples -> FirstProduct -> patches, weights -> FrontEnd -> frames -> Encoder -> logits

The layers of SEW take one squeezed frame for several frames: see `scripts/exporting/squeezed_frames.py`.
"""

import copy
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import PreTrainedModel
from transformers.activations import ACT2FN

from scripts.exporting.squeezed_frames import projection_of, squeeze_factor, squeezed, upsampling_of

FAMILIES = ("wav2vec2", "hubert", "sew")
"""The values of `model_type` in transformers that have this form."""


def has_matrix_form(config: Any) -> bool:
    """Whether a checkpoint with this transformers config can be converted to the matrix form."""
    return (
        config.model_type in FAMILIES
        and not getattr(config, "add_adapter", False)
        and getattr(config, "adapter_attn_dim", None) is None
        and not getattr(config, "conv_pos_batch_norm", False)
        and getattr(config, "feat_proj_layer_norm", True)
        and config.feat_extract_norm in ("group", "layer")
    )


def patches(frames: Tensor, kernel: int, stride: int) -> Tensor:
    """The input of a convolution at each step: (batch, time, channels) -> (batch, time', kernel * channels).

    time' = (time - kernel) // stride + 1. If the kernel is a whole number of strides, patches are concatenations of
    views of the frames. Otherwise frames are gathered one by one.
    """
    batch, time = frames.shape[:2]
    channels = int(frames.shape[2])  # a constant: in a trace, the other dimensions are computed by operators
    whole, rest = divmod(kernel, stride)
    if rest:
        first = torch.arange(0, time - (kernel - 1), stride, device=frames.device)
        taps = first[:, None] + torch.arange(kernel, device=frames.device)[None, :]
        return frames.index_select(1, taps.reshape(-1)).reshape(batch, -1, kernel * channels)
    steps: Any = torch.div(time - kernel, stride, rounding_mode="trunc") + 1
    parts = [
        frames[:, stride * index : stride * (index + steps)].reshape(batch, -1, stride * channels)
        for index in range(whole)
    ]
    return torch.cat(parts, dim=-1) if whole > 1 else parts[0]


def frame_counts(lengths: Tensor, kernel: int, stride: int) -> Tensor:
    """Number of output frames of a convolution without padding, for these numbers of input frames (integers)."""
    return torch.div(lengths - kernel, stride, rounding_mode="trunc") + 1


def is_inside(lengths: Tensor, time: int) -> Tensor:
    """True for frames before the end of each clip: (batch,) -> bool (batch, time)."""
    return torch.arange(time, device=lengths.device)[None, :] < lengths[:, None]


def as_product(convolution: nn.Conv1d) -> Tensor:
    """The weights of a convolution as the (kernel * channels, channels') matrix that patches are multiplied by."""
    return convolution.weight.detach().permute(2, 1, 0).reshape(-1, convolution.out_channels).contiguous()


class FirstProduct(nn.Module):
    """The first convolution, as patches and the weights to multiply them by. The bias is a row of the weights."""

    def __init__(self, convolution: nn.Conv1d) -> None:
        super().__init__()
        self.kernel, self.stride = convolution.kernel_size[0], convolution.stride[0]
        self.weight = nn.Parameter(as_product(convolution))
        self.bias = convolution.bias

    def forward(self, samples: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Samples (batch, samples), lengths in samples (batch,) -> patches (batch, time, kernel + 1), weights.

        The weights have the shape (batch, kernel + 1, channels). Each patch ends with a 1, for the bias.
        """
        inputs = patches(samples[..., None], self.kernel, self.stride)
        weight = self.weights(inputs, frame_counts(lengths, self.kernel, self.stride))
        return torch.cat((inputs, torch.ones_like(inputs[..., :1])), dim=-1), weight

    def weights(self, inputs: Tensor, lengths: Tensor) -> Tensor:
        """Weights and bias, shape (batch, kernel + 1, channels), for patches (batch, time, kernel).

        lengths: the number of patches of each clip, shape (batch,).
        """
        bias = self.bias if self.bias is not None else torch.zeros_like(self.weight[0])
        return torch.cat((self.weight, bias[None])).expand(inputs.shape[0], -1, -1)


class GroupNormProduct(FirstProduct):
    """The first convolution of a model with `feat_extract_norm: group`, with the norm folded into its weights.

    The norm has one group per channel: channel c of the product of the patches p(t), shape (kernel,), with the weights
    w(c) is shifted and scaled by its own mean and variance over time. The product is linear, so both follow from the
    patches alone. With m the mean of the patches and C their (kernel, kernel) covariance,

        mean(c) = w(c) . m        variance(c) = w(c) C w(c)

        norm(c) = gamma(c) (w(c) . p(t) - mean(c)) / sqrt(variance(c) + epsilon) + beta(c)
                = w'(c) . p(t) + b'(c)

    so one product with weights for this clip replaces three passes over (time, channels). m and C are taken over the
    patches of the clip, without its padding. A bias of the convolution is cancelled by the norm.

    m and C are computed in float64: neighbouring samples of speech are nearly equal, so w C w of a high-pass filter is
    a small difference of large terms, and in float32 its error reaches the logits.
    """

    def __init__(self, convolution: nn.Conv1d, norm: nn.GroupNorm) -> None:
        super().__init__(convolution)
        self.norm = norm

    def weights(self, inputs: Tensor, lengths: Tensor) -> Tensor:
        """Weights and bias of each clip. Shapes as in `FirstProduct.weights`."""
        exact = inputs.double()
        count = lengths[:, None, None].double()
        inside = is_inside(lengths, inputs.shape[1])[..., None].double()
        mean = (exact * inside).sum(dim=1, keepdim=True) / count
        centered = (exact - mean) * inside
        covariance = centered.transpose(1, 2) @ centered / count
        rows = self.weight.T.double()
        variance = (rows @ covariance * rows).sum(dim=2)[:, None]
        weight = self.weight.double() * (self.norm.weight * torch.rsqrt(variance + self.norm.eps))
        return torch.cat((weight, self.norm.bias - mean @ weight), dim=1).to(inputs.dtype)


class Product(nn.Module):
    """A convolution as a product of patches and weights."""

    def __init__(self, convolution: nn.Conv1d) -> None:
        super().__init__()
        self.kernel, self.stride = convolution.kernel_size[0], convolution.stride[0]
        self.weight, self.bias = nn.Parameter(as_product(convolution)), convolution.bias

    def forward(self, frames: Tensor) -> Tensor:
        """(batch, time, channels) -> (batch, time', channels')."""
        product = patches(frames, self.kernel, self.stride) @ self.weight
        return product if self.bias is None else product + self.bias


class FrontEnd(nn.Module):
    """The convolutions, from the patches of the first one on. A layer norm, if any, and a GELU follow each."""

    def __init__(self, convolutions: list[nn.Conv1d], norms: list[nn.Module], activation: nn.Module) -> None:
        super().__init__()
        self.products = nn.ModuleList(Product(convolution) for convolution in convolutions[1:])
        self.norms = nn.ModuleList(norms)
        self.activation = activation
        self.steps = [(layer.kernel_size[0], layer.stride[0]) for layer in convolutions[1:]]

    @property
    def hop(self) -> int:
        """Number of patches from one frame to the next."""
        return math.prod(stride for _, stride in self.steps)

    @property
    def receptive_field(self) -> int:
        """Number of patches that one frame depends on."""
        field = 1
        for kernel, stride in reversed(self.steps):
            field = (field - 1) * stride + kernel
        return field

    def forward(self, inputs: Tensor, weight: Tensor) -> Tensor:
        """Patches (batch, time, kernel + 1), weights (batch, kernel + 1, channels) -> (batch, time', channels')."""
        frames: Tensor = self.activation(self.norms[0](inputs @ weight))
        for product, norm in zip(self.products, list(self.norms)[1:], strict=True):
            frames = self.activation(norm(product(frames)))
        return frames


class PositionalProduct(nn.Module):
    """The positional convolution, which is grouped, as one product per group.

    Patches with all taps would be `kernel` times as large as the frames. So patches have only some taps, and the
    product gives the contribution of each block of taps, for all blocks at once:

        y(t) = sum over blocks b of P_b(t + b * taps),    P_b(t) = sum over taps k of W(b * taps + k) x(t + k)

    If the convolution has a stride, which SEW's has, y and P_b are computed at its multiples only.
    """

    TAPS = 32

    @classmethod
    def taps_of(cls, stride: int) -> int:
        """The number of taps of a block: a whole number of strides, at most `TAPS` if the stride is not above that."""
        return max(1, cls.TAPS // stride) * stride

    def __init__(self, convolution: nn.Conv1d) -> None:
        super().__init__()
        self.kernel, self.groups = convolution.kernel_size[0], convolution.groups
        self.stride = convolution.stride[0]
        self.taps = self.taps_of(self.stride)
        self.blocks = -(-self.kernel // self.taps)
        weight = convolution.weight.detach()  # (channels', channels / groups, kernel)
        weight = functional.pad(weight, (0, self.blocks * self.taps - self.kernel))
        weight = weight.view(self.groups, -1, weight.shape[1], self.blocks, self.taps)
        self.width = weight.shape[1]
        # (group, tap, channel; block, channel')
        self.weight = nn.Parameter(
            weight.permute(0, 4, 2, 3, 1).reshape(self.groups, -1, self.blocks * self.width).contiguous()
        )
        bias = convolution.bias
        self.bias = nn.Parameter(torch.zeros(convolution.out_channels)) if bias is None else bias

    def forward(self, frames: Tensor) -> Tensor:
        """(batch, time, channels), zero past the end of each clip -> (batch, time // stride, channels)."""
        batch, time, channels = frames.shape
        before, reach, step = self.kernel // 2, self.blocks * self.taps, self.taps // self.stride
        padded = functional.pad(frames, (0, 0, before, reach - before))
        by_group = padded.view(batch, -1, self.groups, channels // self.groups).transpose(1, 2)
        steps: Any = time if self.stride == 1 else torch.div(time, self.stride, rounding_mode="trunc")
        starts = torch.arange(steps + (self.blocks - 1) * step, device=frames.device)
        starts = starts if self.stride == 1 else starts * self.stride
        taps = (starts[:, None] + torch.arange(self.taps, device=frames.device)).flatten()
        gathered = by_group.index_select(2, taps).reshape(batch, self.groups, -1, self.weight.shape[1])
        products = gathered @ self.weight
        parts = [
            products[:, :, block * step : block * step + steps, block * self.width : (block + 1) * self.width]
            for block in range(self.blocks)
        ]
        return sum(parts[1:], parts[0]).transpose(1, 2).reshape(batch, -1, channels) + self.bias


AttentionFunction = Callable[[Tensor, Tensor, Tensor, Tensor | None, int], Tensor]
"""Queries, keys and values, each (batch, time, channels); a mask (batch, 1, 1, time) that is added to the scores, or
None; and the number of heads -> (batch, time, channels)."""


def attend(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, heads: int) -> Tensor:
    """softmax(query key^T + mask) value, for each head. The queries are already scaled."""
    batch, time, channels = query.shape
    query, key, value = (part.view(batch, time, heads, -1).transpose(1, 2) for part in (query, key, value))
    scores = query @ key.transpose(2, 3)
    if mask is not None:
        scores = scores + mask
    return (functional.softmax(scores, dim=-1) @ value).transpose(1, 2).reshape(batch, time, channels)


class Attention(nn.Module):
    """Self-attention of one layer. The scale 1 / sqrt(channels per head) is folded into the weights of the queries."""

    def __init__(self, attention: Any, function: AttentionFunction) -> None:
        super().__init__()
        self.heads, self.function = attention.num_heads, function
        self.query, self.key, self.value = copy.deepcopy(attention.q_proj), attention.k_proj, attention.v_proj
        self.out = attention.out_proj
        with torch.no_grad():
            self.query.weight.mul_(attention.scaling)
            self.query.bias.mul_(attention.scaling)

    def forward(self, frames: Tensor, mask: Tensor | None) -> Tensor:
        """(batch, time, channels), mask that is added to the scores (batch, 1, 1, time) -> (batch, time, channels)."""
        attended = self.function(self.query(frames), self.key(frames), self.value(frames), mask, self.heads)
        projected: Tensor = self.out(attended)
        return projected


class Encoder(nn.Module):
    """Everything after the front end: projection, positional convolution, transformer layers and head."""

    def __init__(self, model: PreTrainedModel, attention: AttentionFunction) -> None:
        super().__init__()
        body: Any = model.base_model
        self.projection = projection_of(model)
        self.squeeze = squeeze_factor(model.config)
        self.positions = PositionalProduct(body.encoder.pos_conv_embed.conv)
        self.activation = ACT2FN[model.config.feat_extract_activation]
        self.norm = body.encoder.layer_norm
        self.norm_first = bool(getattr(model.config, "do_stable_layer_norm", False))  # SEW has no such models
        self.layers = body.encoder.layers
        self.attentions = nn.ModuleList(Attention(layer.attention, attention) for layer in self.layers)
        self.upsampling = upsampling_of(model)
        self.head = model.lm_head

    def forward(self, frames: Tensor, lengths: Tensor | None) -> Tensor:
        """(batch, time, channels), frames of each clip (batch,) or None for all -> logits (batch, time, tokens)."""
        frames = self.projection(frames)
        frames = frames[0] if isinstance(frames, tuple) else frames  # wav2vec2 also returns the normalized input
        time, inside, mask = frames.shape[1], None, None
        if lengths is not None:
            inside = is_inside(lengths, time)
            frames = frames * inside[..., None].to(frames.dtype)
        frames = squeezed(frames, self.squeeze) + self.activation(self.positions(frames))
        if inside is not None:
            inside = inside[:, self.squeeze - 1 :: self.squeeze]  # squeezed frames of nothing but a clip's own frames
            mask = torch.where(inside, 0.0, torch.finfo(frames.dtype).min)[:, None, None, :]
        if not self.norm_first:
            frames = self.norm(frames)
        for attention, layer in zip(self.attentions, self.layers, strict=True):
            if self.norm_first:
                frames = frames + attention(layer.layer_norm(frames), mask)
                frames = frames + layer.feed_forward(layer.final_layer_norm(frames))
            else:
                frames = layer.layer_norm(frames + attention(frames, mask))
                frames = layer.final_layer_norm(frames + layer.feed_forward(frames))
        if self.norm_first:
            frames = self.norm(frames)
        if self.upsampling is not None:
            frames = self.upsampling(frames, inside, time)
        logits: Tensor = self.head(frames)
        return logits


class MatrixForm(nn.Module):
    """A CTC model of transformers in the matrix form. It shares the weights of the model.

    Weight norm must be removed first (`scripts.exporting.onnx_files.remove_weight_norm`). Raises ValueError if the
    model has no such form (`has_matrix_form`).
    """

    def __init__(self, model: PreTrainedModel, attention: AttentionFunction = attend) -> None:
        super().__init__()
        config = model.config
        if not has_matrix_form(config):
            raise ValueError(f"{config.model_type} checkpoints of this shape have no matrix form")
        body: Any = model.base_model
        convolutions = [layer.conv for layer in body.feature_extractor.conv_layers]
        norms = [getattr(layer, "layer_norm", nn.Identity()) for layer in body.feature_extractor.conv_layers]
        if isinstance(norms[0], nn.GroupNorm):
            self.first: FirstProduct = GroupNormProduct(convolutions[0], norms[0])
            norms[0] = nn.Identity()
        else:
            self.first = FirstProduct(convolutions[0])
        self.front_end = FrontEnd(convolutions, norms, ACT2FN[config.feat_extract_activation])
        self.encoder = Encoder(model, attention)

    def forward(self, input_values: Tensor, lengths: Tensor) -> Tensor:
        """(batch, samples) float32, lengths in samples (batch,) int64 -> logits (batch, time, tokens).

        The samples past the end of a clip may be any finite numbers. Only the first `Framing.frames(length)` frames of
        a clip are valid.
        """
        frames = self.front_end(*self.first(input_values, lengths))
        logits: Tensor = self.encoder(frames, self.frame_counts(lengths))
        return logits

    def frame_counts(self, lengths: Tensor) -> Tensor:
        """Number of frames of clips with these lengths in samples, both (batch,)."""
        for kernel, stride in ((self.first.kernel, self.first.stride), *self.front_end.steps):
            lengths = frame_counts(lengths, kernel, stride)
        return lengths
