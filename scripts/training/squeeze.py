"""Squeeze a CTC model: the same layers at a half or a third of the frame rate, as a SEW model (`squeezed`).

The layers of SEW (F. Wu et al., "Performance-Efficiency Trade-offs in Unsupervised Pre-training for Speech
Recognition", 2021) compute one frame for each `squeeze_factor` frames, and a linear layer behind them gives as many
frames as before. So a squeezed model can learn from the original one frame by frame.

Convolutions, projection, layers and head are those of the original. The new parts begin as what is nearest to it:

- **Positions.** A squeezed frame stands for s frames, so its positional embedding is the mean of theirs. Their
  convolution is linear, so the mean of its outputs at s positions is one convolution, whose weights are the mean of the
  weights, shifted by 0 to s - 1 frames. It has as many taps as the original, so the last s - 1 are left out.
- **Upsampling** repeats each frame s times. SEW has an activation behind that linear layer, which wav2vec2 has not.
  An offset moves all channels to where a GELU is nearly linear, and the head takes it off again: see `Linearized`.
- **The rest**, fewer than s frames at the end of a clip, has no squeezed frame. Its logits are the bias of the head,
  whatever the audio is, so the offset is chosen for which that is a blank.
"""

from typing import Any, NamedTuple

import numpy as np
import torch
from scipy.optimize import linprog
from torch import Tensor, nn
from transformers import PreTrainedModel, SEWConfig, SEWForCTC
from transformers.activations import ACT2FN

from scripts.exporting.matrix_form import is_inside
from scripts.exporting.squeezed_frames import squeeze_factor

ORIGINALS = ("wav2vec2", "hubert")
"""The values of `model_type` that can be squeezed."""
COPIED_FIELDS = (
    *("vocab_size", "pad_token_id", "bos_token_id", "eos_token_id"),
    *("conv_dim", "conv_kernel", "conv_stride", "conv_bias", "feat_extract_norm", "feat_extract_activation"),
    *("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "hidden_act", "layer_norm_eps"),
    *("num_conv_pos_embeddings", "num_conv_pos_embedding_groups", "initializer_range"),
    *("hidden_dropout", "activation_dropout", "attention_dropout", "feat_proj_dropout", "layerdrop"),
    *("apply_spec_augment", "mask_time_prob", "mask_time_length", "mask_time_min_masks"),
    *("mask_feature_prob", "mask_feature_length", "mask_feature_min_masks"),
    *("ctc_loss_reduction", "ctc_zero_infinity"),
)
"""Fields of the configuration that have the same name and meaning in SEW. `squeeze_factor` is new, `conv_dim` may get
wider (`EXTRA_CHANNELS`), and `final_dropout` is 0, because the offset would be dropped, too."""
EXTRA_CHANNELS = 8
"""SEW has no projection between features and layers of equal width. In that case, the last convolution gets so many
more channels: copies, which the projection begins with ignoring."""
SPREAD, MARGIN = 2.0, 0.5
"""The offset moves a channel so far that its mean less `SPREAD` standard deviations is `MARGIN`. A GELU of normally
distributed values is then linear but for 0.3 % of its variance. Larger offsets are hardly nearer to the original, once
frames are squeezed, and make the logits more sensitive to the weights of the head in training."""
REST_LOGIT = 5.0
"""How far the logit of a blank should be above all others where there is no squeezed frame."""
NODES = 64
"""Number of nodes of the Gauss-Hermite quadrature for means of an activation."""


def squeezed(model: PreTrainedModel, squeeze: int) -> SEWForCTC:
    """A SEW model whose layers compute one frame for each `squeeze` frames of a CTC model, with its weights.

    model: wav2vec2 or HuBERT with a norm behind each layer ("base" models; those with `do_stable_layer_norm` have it in
    front). It is not changed. Raises ValueError if it is another model, or if `squeeze` is below 1.
    """
    config: Any = model.config
    if squeeze < 1:
        raise ValueError(f"a squeeze is a number of frames, 1 or more, not {squeeze}")
    if config.model_type not in ORIGINALS or not _can_be_squeezed(config):
        raise ValueError(f"{config.model_type} models of this shape cannot be squeezed: SEW has no such layers")
    body: Any = model.base_model
    fields = {name: getattr(config, name) for name in COPIED_FIELDS if hasattr(config, name)}
    widened = config.conv_dim[-1] == config.hidden_size
    if widened:
        fields["conv_dim"] = [*config.conv_dim[:-1], config.conv_dim[-1] + EXTRA_CHANNELS]
    student: SEWForCTC = SEWForCTC(SEWConfig(**fields, squeeze_factor=squeeze, final_dropout=0.0))
    student.to(dtype=model.dtype)  # type: ignore[call-arg]  # wrapped there
    own: Any = student.sew
    with torch.no_grad():
        if hasattr(own, "masked_spec_embed") and hasattr(body, "masked_spec_embed"):
            own.masked_spec_embed.copy_(body.masked_spec_embed)
        _copy_features(body, own, EXTRA_CHANNELS if widened else 0)
        for name in ("layers", "layer_norm"):
            own.encoder.get_submodule(name).load_state_dict(body.encoder.get_submodule(name).state_dict())
        original: nn.Conv1d = body.encoder.pos_conv_embed.conv
        own.encoder.pos_conv_embed.conv.weight = shifted_mean(original.weight, squeeze)
        own.encoder.pos_conv_embed.conv.bias.copy_(original.bias)
        linear = Linearized.of(body.encoder.layers[-1].final_layer_norm, model.lm_head, config)
        width = config.hidden_size
        own.encoder.upsample.projection.weight.copy_(torch.eye(width).repeat(squeeze, 1))
        own.encoder.upsample.projection.bias.copy_(linear.offset.repeat(squeeze))
        student.lm_head.weight.copy_(linear.weight)
        student.lm_head.bias.copy_(linear.bias)
    student.train(model.training)
    return student


def _can_be_squeezed(config: Any) -> bool:
    return not (
        getattr(config, "do_stable_layer_norm", False)
        or getattr(config, "add_adapter", False)
        or getattr(config, "adapter_attn_dim", None) is not None
        or getattr(config, "conv_pos_batch_norm", False)
        or not getattr(config, "feat_proj_layer_norm", True)
    )


def _copy_features(body: Any, own: Any, extra: int) -> None:
    """Copy convolutions and projection. extra: number of channels that the last convolution has more."""

    def wider(weight: Tensor) -> Tensor:
        return torch.cat((weight, weight[:extra]))

    convolutions = body.feature_extractor.conv_layers
    for layer, copied in zip(convolutions, own.feature_extractor.conv_layers, strict=True):
        state = layer.state_dict()
        if layer is convolutions[-1]:
            state = {name: wider(weight) for name, weight in state.items()}
        copied.load_state_dict(state)
    norm, projection = body.feature_projection.layer_norm, body.feature_projection.projection
    own.layer_norm.weight.copy_(wider(norm.weight))
    own.layer_norm.bias.copy_(wider(norm.bias))
    own.feature_projection.weight.copy_(nn.functional.pad(projection.weight, (0, extra)))
    own.feature_projection.bias.copy_(projection.bias)


def shifted_mean(weight: Tensor, squeeze: int) -> Tensor:
    """The mean of the weights of a convolution, shifted by 0 to `squeeze` - 1 taps: (outputs, inputs, taps), the same.

    What is shifted past the last tap is left out.
    """
    taps = weight.shape[2]
    shifted = [nn.functional.pad(weight, (index, 0))[..., :taps] for index in range(squeeze)]
    return torch.stack(shifted).mean(dim=0)


class Linearized(NamedTuple):
    """An offset in front of an activation, and a head behind it, which together are the original head.

    offset: shape (width,). weight: of the new head, shape (tokens, width). bias: shape (tokens,). All are float64.

    The outputs h of the last norm have the mean beta and, roughly, the standard deviation gamma, its bias and weight.
    For values x of a normal distribution, the linear function that is nearest to an activation f, in the mean square,
    has the slope E[f(x) (x - E[x])] / var(x) and passes through (E[x], E[f(x)]). The new head applies its inverse.
    """

    offset: Tensor
    weight: Tensor
    bias: Tensor

    @classmethod
    def of(cls, norm: nn.LayerNorm, head: nn.Linear, config: Any) -> "Linearized":
        """norm: of the last layer. head: the original one. config: of the model."""
        activation = ACT2FN[config.feat_extract_activation]
        weight, bias = head.weight.detach().double(), head.bias.detach().double()
        beta, gamma = norm.bias.detach().double(), norm.weight.detach().double().abs().clamp(min=1e-3)
        offset = SPREAD * gamma + MARGIN - beta
        offset = offset + extra_offset(weight, bias, offset, config.pad_token_id)
        nodes, weights = (torch.from_numpy(values) for values in np.polynomial.hermite_e.hermegauss(NODES))
        share = weights / weights.sum()
        values = activation((beta + offset)[:, None] + gamma[:, None] * nodes)
        mean, slope = values @ share, (values * nodes) @ share / gamma
        return cls(offset, weight / slope, bias + weight @ (beta - mean / slope))


def extra_offset(weight: Tensor, bias: Tensor, offset: Tensor, blank: int) -> Tensor:
    """What to add to an offset, so that the head gives a blank for zeros, if an activation is linear. Shape (width,).

    weight, bias: of the original head, shapes (tokens, width), (tokens,). The bias of the new head is b - W offset, so
    the blank is the largest one by `REST_LOGIT` if (w(token) - w(blank)) offset >= REST_LOGIT - b(blank) + b(token) for
    all other tokens. Of all additions that fulfil this and are not negative, it is the one whose largest value is
    smallest; zeros if there is none.
    """
    tokens, width = weight.shape
    others = torch.arange(tokens) != blank
    rows = (weight - weight[blank])[others]
    missing = REST_LOGIT - bias[blank] + bias[others] - rows @ offset  # of the left side of these inequalities
    largest = np.zeros(width + 1)
    largest[-1] = 1.0  # what is minimized: a bound of all
    constraints = np.block([[-rows.numpy(), np.zeros((tokens - 1, 1))], [np.eye(width), -np.ones((width, 1))]])
    found = linprog(largest, constraints, np.concatenate([-missing.numpy(), np.zeros(width)]))
    return torch.zeros_like(offset) if found.x is None else torch.from_numpy(found.x[:-1])


def leave_out_rest(model: PreTrainedModel) -> None:
    """Let a SEW model compute the end of each clip of a batch as it computes the end of a clip alone.

    If a clip has fewer frames than its batch, transformers computes a squeezed frame of its last frames, if they are
    fewer than the squeeze factor, with padding. Alone, as it is served, the clip has no such frame, and zeros instead.
    Without this function, a model would not learn what those zeros give. Other models stay as they are.
    """
    factor = squeeze_factor(model.config)
    if factor == 1:
        return
    counts: list[Tensor | None] = [None]

    def count(model: Any, arguments: tuple[Any, ...], named: dict[str, Any]) -> None:
        mask = named.get("attention_mask")
        counts[0] = None if mask is None else model._get_feat_extract_output_lengths(mask.sum(dim=1)) // factor * factor

    def leave_out(upsampling: nn.Module, inputs: tuple[Tensor, ...], frames: Tensor) -> Tensor:
        own = counts[0]
        return frames if own is None else frames * is_inside(own, frames.shape[1])[..., None].to(frames.dtype)

    body: Any = model.base_model
    model.register_forward_pre_hook(count, with_kwargs=True)
    body.encoder.upsample.register_forward_hook(leave_out)
