"""What SEW does around its transformer layers, for the forms that are exported.

SEW (F. Wu et al., "Performance-Efficiency Trade-offs in Unsupervised Pre-training for Speech Recognition", 2021)
computes its layers at a lower frame rate. The mean of each s frames, s being the `squeeze_factor`, is one frame for the
layers. The positional convolution has the stride s. Behind the layers, a linear layer with s times as many outputs
gives s frames again, so a model has as many frames as wav2vec2.

If the number of frames is no multiple of s, the last ones, fewer than s, have no frame in the layers. transformers
appends zeros for them, so their logits are the bias of the head. The forms do the same at the end of each clip.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import PreTrainedModel


def squeeze_factor(config: Any) -> int:
    """The number of frames for which the layers have one; 1 for models that are not squeezed."""
    return int(getattr(config, "squeeze_factor", 1))


def squeezed(frames: Tensor, factor: int) -> Tensor:
    """The means of each `factor` frames: (batch, time, channels) -> (batch, time // factor, channels)."""
    if factor == 1:
        return frames
    batch, channels = frames.shape[0], int(frames.shape[2])
    whole = torch.div(frames.shape[1], factor, rounding_mode="trunc") * factor
    return frames[:, :whole].reshape(batch, -1, factor, channels).mean(dim=2)


class Projection(nn.Module):
    """SEW's layer norm of the features and, if they have another width than the layers, the projection."""

    def __init__(self, body: Any) -> None:
        super().__init__()
        self.layer_norm = body.layer_norm
        self.projection = body.feature_projection if body.project_features else nn.Identity()

    def forward(self, frames: Tensor) -> Tensor:
        """(batch, time, features) -> (batch, time, channels)."""
        projected: Tensor = self.projection(self.layer_norm(frames))
        return projected


def projection_of(model: PreTrainedModel) -> nn.Module:
    """The module between the convolutions and the encoder of a wav2vec2, HuBERT or SEW model."""
    body: Any = model.base_model
    return Projection(body) if model.config.model_type == "sew" else body.feature_projection


class Upsampling(nn.Module):
    """The linear layer behind SEW's layers, with its activation. Shares the weights of the model's `upsample`."""

    def __init__(self, upsample: Any) -> None:
        super().__init__()
        self.factor = int(upsample.squeeze_factor)
        self.projection, self.activation = upsample.projection, upsample.activation

    def forward(self, frames: Tensor, inside: Tensor | None, time: int) -> Tensor:
        """(batch, time // factor, channels) -> (batch, time, channels).

        inside: which frames belong to a clip, bool (batch, time // factor), or None for all. The frames of others, and
        those for which there are none, are zero.
        """
        batch, channels = frames.shape[0], int(frames.shape[2])
        wide = self.activation(self.projection(frames))
        if inside is not None:
            wide = wide * inside[..., None].to(wide.dtype)
        upsampled: Tensor = wide.reshape(batch, -1, channels)
        if self.factor > 1:
            upsampled = functional.pad(upsampled, (0, 0, 0, self.factor - 1))[:, :time]
        return upsampled


def upsampling_of(model: PreTrainedModel) -> Upsampling | None:
    """The module behind the layers of a SEW model; None for other models."""
    body: Any = model.base_model
    return Upsampling(body.encoder.upsample) if model.config.model_type == "sew" else None
