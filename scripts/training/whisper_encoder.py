"""Lets the encoder of transformers' Whisper take windows of any length.

transformers accepts 30 s only, although nothing in the model needs it: a shorter window has the first positions.
"""

from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from transformers import WhisperForConditionalGeneration
from transformers.modeling_outputs import BaseModelOutput
from transformers.models.whisper.modeling_whisper import WhisperEncoder


def encode(encoder: WhisperEncoder, input_features: Tensor, *_: Any, **__: Any) -> BaseModelOutput:
    """`encoder(input_features)` for any even number of frames, with its dropout and LayerDrop.

    input_features: shape (clips, mel bins, frames). Returns hidden states of shape (clips, frames / 2, width). Other
    arguments of transformers' encoder are ignored; none of them changes the hidden states in training.
    """
    hidden = functional.gelu(encoder.conv1(input_features))
    hidden = functional.gelu(encoder.conv2(hidden)).permute(0, 2, 1)
    hidden = hidden + encoder.embed_positions.weight[: hidden.shape[1]]
    hidden = functional.dropout(hidden, p=encoder.dropout, training=encoder.training)
    for layer in encoder.layers:
        # LayerDrop: A. Fan et al., "Reducing transformer depth on demand with structured dropout", 2019.
        if encoder.training and torch.rand([]) < encoder.layerdrop:
            continue
        hidden = layer(hidden, None, layer_head_mask=None)[0]
    return BaseModelOutput(last_hidden_state=encoder.layer_norm(hidden))


def take_any_length(model: WhisperForConditionalGeneration) -> None:
    """Make the model's encoder use `encode`. The weights keep their names."""
    encoder = model.get_encoder()
    encoder.forward = partial(encode, encoder)
