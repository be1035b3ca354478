"""wav2vec2 and HuBERT as matrix products: the form that is exported to ONNX.

The stock graph of these models spends most of its time in one-dimensional convolutions, which CPU runtimes compute
slowly (in INT8 slower than in float), and has no input for the length of a clip, so clips of different lengths cannot
share a batch. `MatrixForm` computes the same emissions from the same weights, with two differences:

- **Convolutions are products.** A convolution of kernel k and stride s over channel-last frames is the product of
  patches, k neighbouring frames laid side by side, with a (k * channels, channels') matrix; the patches are views and
  byte copies of the frames (`patches`). So INT8 kernels for matrix products compute nearly everything.
- **Clips know their lengths.** Norms over time take a clip's own frames only, frames past its end are zero before the
  positional convolution, and attention does not look at them. So what comes out for a clip does not depend on the
  clips beside it.

The group norm after the first convolution is folded into its weights, for each clip anew: see `GroupNormProduct`.

`MatrixForm` consists of three parts, so that an export may run the middle one piece by piece:

    samples -> FirstProduct -> patches, weights -> FrontEnd -> frames -> Encoder -> logits
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

FAMILIES = ("wav2vec2", "hubert")
"""The `model_type`s of transformers that have this form."""


def has_matrix_form(config: Any) -> bool:
    """Whether a checkpoint with this transformers config can be brought to the matrix form."""
    return (
        config.model_type in FAMILIES
        and not getattr(config, "add_adapter", False)
        and getattr(config, "adapter_attn_dim", None) is None
        and not getattr(config, "conv_pos_batch_norm", False)
        and getattr(config, "feat_proj_layer_norm", True)
        and config.feat_extract_norm in ("group", "layer")
    )


def patches(frames: Tensor, kernel: int, stride: int) -> Tensor:
    """What a convolution sees at each step: (batch, time, channels) -> (batch, time', kernel * channels).

    time' = (time - kernel) // stride + 1. Where the kernel is made of whole strides they are laid side by side, each a
    view of the frames; otherwise frames are gathered one by one.
    """
    batch, time = frames.shape[:2]
    channels = int(frames.shape[2])  # in a trace the others are computed, which takes operators
    whole, rest = divmod(kernel, stride)
    if rest:
        first = torch.arange(0, time - (kernel - 1), stride, device=frames.device)
        seen = first[:, None] + torch.arange(kernel, device=frames.device)[None, :]
        return frames.index_select(1, seen.reshape(-1)).reshape(batch, -1, kernel * channels)
    steps: Any = torch.div(time - kernel, stride, rounding_mode="trunc") + 1
    parts = [
        frames[:, stride * index : stride * (index + steps)].reshape(batch, -1, stride * channels)
        for index in range(whole)
    ]
    return torch.cat(parts, dim=-1) if whole > 1 else parts[0]


def frame_counts(lengths: Tensor, kernel: int, stride: int) -> Tensor:
    """Frames that a convolution without padding gives for clips of so many frames. Integer, any shape."""
    return torch.div(lengths - kernel, stride, rounding_mode="trunc") + 1


def is_inside(lengths: Tensor, time: int) -> Tensor:
    """True for the frames that are a clip's own: (batch,) -> bool (batch, time)."""
    return torch.arange(time, device=lengths.device)[None, :] < lengths[:, None]


def as_product(convolution: nn.Conv1d) -> Tensor:
    """The (kernel * channels, channels') matrix that patches are multiplied with."""
    return convolution.weight.detach().permute(2, 1, 0).reshape(-1, convolution.out_channels).contiguous()


class FirstProduct(nn.Module):
    """The first convolution as patches and the weights to multiply them with; the bias is a row of the weights."""

    def __init__(self, convolution: nn.Conv1d) -> None:
        super().__init__()
        self.kernel, self.stride = convolution.kernel_size[0], convolution.stride[0]
        self.weight = nn.Parameter(as_product(convolution))
        self.bias = convolution.bias

    def forward(self, samples: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Samples (batch, samples), their number (batch,) -> patches (batch, time, kernel + 1), weights.

        The weights have the shape (batch, kernel + 1, channels). Patches end in a 1, for the bias.
        """
        seen = patches(samples[..., None], self.kernel, self.stride)
        weight = self.weights(seen, frame_counts(lengths, self.kernel, self.stride))
        return torch.cat((seen, torch.ones_like(seen[..., :1])), dim=-1), weight

    def weights(self, seen: Tensor, lengths: Tensor) -> Tensor:
        """Weights and bias, shape (batch, kernel + 1, channels), for patches (batch, time, kernel).

        lengths: how many patches are each clip's own, shape (batch,).
        """
        bias = self.bias if self.bias is not None else torch.zeros_like(self.weight[0])
        return torch.cat((self.weight, bias[None])).expand(seen.shape[0], -1, -1)


class GroupNormProduct(FirstProduct):
    """The first convolution of a model with `feat_extract_norm: group`, its norm folded into the weights.

    The norm has a group per channel: channel c of the product of the patches p(t), shape (kernel,), with the weights
    w(c) is shifted and scaled by its own mean and variance over time. Both follow from the patches alone, for the
    product is linear: with m the mean of the patches and C their (kernel, kernel) covariance,

        mean(c) = w(c) . m        variance(c) = w(c) C w(c)

        norm(c) = gamma(c) (w(c) . p(t) - mean(c)) / sqrt(variance(c) + epsilon) + beta(c)
                = w'(c) . p(t) + b'(c)

    so instead of three passes over (time, channels) there is one product, with weights made for this clip. m and C are
    taken over the clip's own patches. A bias of the convolution is taken away by the norm.

    They are computed in float64: neighbouring samples of speech are nearly equal, so for a filter of high frequencies
    w C w is a small difference of large terms, and in float32 its error reaches the logits.
    """

    def __init__(self, convolution: nn.Conv1d, norm: nn.GroupNorm) -> None:
        super().__init__(convolution)
        self.norm = norm

    def weights(self, seen: Tensor, lengths: Tensor) -> Tensor:
        """Weights and bias, made for each clip; shapes as in `FirstProduct.weights`."""
        exact = seen.double()
        count = lengths[:, None, None].double()
        inside = is_inside(lengths, seen.shape[1])[..., None].double()
        mean = (exact * inside).sum(dim=1, keepdim=True) / count
        centered = (exact - mean) * inside
        covariance = centered.transpose(1, 2) @ centered / count
        rows = self.weight.T.double()
        variance = (rows @ covariance * rows).sum(dim=2)[:, None]
        weight = self.weight.double() * (self.norm.weight * torch.rsqrt(variance + self.norm.eps))
        return torch.cat((weight, self.norm.bias - mean @ weight), dim=1).to(seen.dtype)


class Product(nn.Module):
    """A convolution as the product of patches."""

    def __init__(self, convolution: nn.Conv1d) -> None:
        super().__init__()
        self.kernel, self.stride = convolution.kernel_size[0], convolution.stride[0]
        self.weight, self.bias = nn.Parameter(as_product(convolution)), convolution.bias

    def forward(self, frames: Tensor) -> Tensor:
        """(batch, time, channels) -> (batch, time', channels')."""
        product = patches(frames, self.kernel, self.stride) @ self.weight
        return product if self.bias is None else product + self.bias


class FrontEnd(nn.Module):
    """The convolutions, from the patches of the first on; each followed by its layer norm, if any, and a GELU."""

    def __init__(self, convolutions: list[nn.Conv1d], norms: list[nn.Module], activation: nn.Module) -> None:
        super().__init__()
        self.products = nn.ModuleList(Product(convolution) for convolution in convolutions[1:])
        self.norms = nn.ModuleList(norms)
        self.activation = activation
        self.steps = [(layer.kernel_size[0], layer.stride[0]) for layer in convolutions[1:]]

    @property
    def hop(self) -> int:
        """Patches from one frame to the next."""
        return math.prod(stride for _, stride in self.steps)

    @property
    def receptive_field(self) -> int:
        """Patches that one frame is made of."""
        field = 1
        for kernel, stride in reversed(self.steps):
            field = (field - 1) * stride + kernel
        return field

    def forward(self, seen: Tensor, weight: Tensor) -> Tensor:
        """Patches (batch, time, kernel + 1), weights (batch, kernel + 1, channels) -> (batch, time', channels')."""
        frames: Tensor = self.activation(self.norms[0](seen @ weight))
        for product, norm in zip(self.products, list(self.norms)[1:], strict=True):
            frames = self.activation(norm(product(frames)))
        return frames


class PositionalProduct(nn.Module):
    """The grouped convolution over time that tells frames apart, as one product per group.

    With all taps side by side, patches would be `kernel` times as large as the frames. So only `TAPS` taps at a time
    are laid side by side, and the product gives what each block of taps contributes, for all blocks at once:

        y(t) = sum over blocks b of P_b(t + b * TAPS),    P_b(t) = sum over taps k of W(b * TAPS + k) x(t + k)
    """

    TAPS = 32

    def __init__(self, convolution: nn.Conv1d) -> None:
        super().__init__()
        self.kernel, self.groups = convolution.kernel_size[0], convolution.groups
        self.blocks = -(-self.kernel // self.TAPS)
        weight = convolution.weight.detach()  # (channels', channels / groups, kernel)
        weight = functional.pad(weight, (0, self.blocks * self.TAPS - self.kernel))
        weight = weight.view(self.groups, -1, weight.shape[1], self.blocks, self.TAPS)
        self.width = weight.shape[1]
        # (group, tap, channel; block, channel')
        self.weight = nn.Parameter(
            weight.permute(0, 4, 2, 3, 1).reshape(self.groups, -1, self.blocks * self.width).contiguous()
        )
        bias = convolution.bias
        self.bias = nn.Parameter(torch.zeros(convolution.out_channels)) if bias is None else bias

    def forward(self, frames: Tensor) -> Tensor:
        """(batch, time, channels), zero past each clip's end -> the same shape."""
        batch, time, channels = frames.shape
        before, reach = self.kernel // 2, self.blocks * self.TAPS
        padded = functional.pad(frames, (0, 0, before, reach - before))
        by_group = padded.view(batch, -1, self.groups, channels // self.groups).transpose(1, 2)
        starts = torch.arange(time + reach - self.TAPS, device=frames.device)
        seen = (starts[:, None] + torch.arange(self.TAPS, device=frames.device)).flatten()
        gathered = by_group.index_select(2, seen).reshape(batch, self.groups, -1, self.weight.shape[1])
        products = gathered @ self.weight
        parts = [
            products[:, :, block * self.TAPS : block * self.TAPS + time, block * self.width : (block + 1) * self.width]
            for block in range(self.blocks)
        ]
        return sum(parts[1:], parts[0]).transpose(1, 2).reshape(batch, time, channels) + self.bias


AttentionFunction = Callable[[Tensor, Tensor, Tensor, Tensor | None, int], Tensor]
"""Queries, keys, values, each (batch, time, channels), a mask (batch, 1, 1, time) to be added to the scores or None,
and the number of heads -> (batch, time, channels)."""


def attend(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, heads: int) -> Tensor:
    """softmax(query key^T + mask) value for each head; the queries are scaled already."""
    batch, time, channels = query.shape
    query, key, value = (part.view(batch, time, heads, -1).transpose(1, 2) for part in (query, key, value))
    scores = query @ key.transpose(2, 3)
    if mask is not None:
        scores = scores + mask
    return (functional.softmax(scores, dim=-1) @ value).transpose(1, 2).reshape(batch, time, channels)


class Attention(nn.Module):
    """Self-attention of one layer. The scale 1 / sqrt(channels of a head) goes into the weights of the queries."""

    def __init__(self, attention: Any, function: AttentionFunction) -> None:
        super().__init__()
        self.heads, self.function = attention.num_heads, function
        self.query, self.key, self.value = copy.deepcopy(attention.q_proj), attention.k_proj, attention.v_proj
        self.out = attention.out_proj
        with torch.no_grad():
            self.query.weight.mul_(attention.scaling)
            self.query.bias.mul_(attention.scaling)

    def forward(self, frames: Tensor, mask: Tensor | None) -> Tensor:
        """(batch, time, channels), mask to be added to the scores (batch, 1, 1, time) -> (batch, time, channels)."""
        attended = self.function(self.query(frames), self.key(frames), self.value(frames), mask, self.heads)
        projected: Tensor = self.out(attended)
        return projected


class Encoder(nn.Module):
    """Everything after the convolutions: projection, positions, transformer layers and head."""

    def __init__(self, model: PreTrainedModel, attention: AttentionFunction) -> None:
        super().__init__()
        body: Any = model.base_model
        self.projection = body.feature_projection
        self.positions = PositionalProduct(body.encoder.pos_conv_embed.conv)
        self.activation = ACT2FN[model.config.feat_extract_activation]
        self.norm = body.encoder.layer_norm
        self.norm_first = bool(model.config.do_stable_layer_norm)
        self.layers = body.encoder.layers
        self.attentions = nn.ModuleList(Attention(layer.attention, attention) for layer in self.layers)
        self.head = model.lm_head

    def forward(self, frames: Tensor, lengths: Tensor | None) -> Tensor:
        """(batch, time, channels), own frames of each clip (batch,) or None for all -> logits (batch, time, tokens)."""
        frames = self.projection(frames)
        frames = frames[0] if isinstance(frames, tuple) else frames  # wav2vec2 also gives what it normalized
        mask = None
        if lengths is not None:
            inside = is_inside(lengths, frames.shape[1])
            frames = frames * inside[..., None].to(frames.dtype)
            mask = torch.where(inside, 0.0, torch.finfo(frames.dtype).min)[:, None, None, :]
        frames = frames + self.activation(self.positions(frames))
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
        logits: Tensor = self.head(frames)
        return logits


class MatrixForm(nn.Module):
    """A CTC model of transformers in the matrix form; they share weights.

    Weight norm must be removed before (`scripts.exporting.onnx_files.remove_weight_norm`).
    Raises ValueError if the model has no such form (`has_matrix_form`).
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
        """(batch, samples) float32, (batch,) int64 samples of each -> logits (batch, time, tokens).

        What lies past the end of a clip may be any finite numbers. Only a clip's own frames mean something,
        `Framing.frames(length)` of them.
        """
        frames = self.front_end(*self.first(input_values, lengths))
        logits: Tensor = self.encoder(frames, self.frame_counts(lengths))
        return logits

    def frame_counts(self, lengths: Tensor) -> Tensor:
        """Frames of clips of so many samples, (batch,)."""
        for kernel, stride in ((self.first.kernel, self.first.stride), *self.front_end.steps):
            lengths = frame_counts(lengths, kernel, stride)
        return lengths
