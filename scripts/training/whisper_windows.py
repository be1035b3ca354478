"""Lets transformers' Whisper train on windows with condensed silence, as the service computes them.

transformers accepts windows of 30 s only. `Windows` replaces the encoder's `forward` by one that takes the positions of
a layout (`app/families/whisper/padding.py`), and adds the log-weights of the positions to the attention scores of the
encoder and of cross-attention. The weights of the model keep their names.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import WhisperForConditionalGeneration
from transformers.modeling_outputs import BaseModelOutput

from app.families.whisper.padding import Layout, full_layout


class Windows:
    """The layout of a model's windows: full, except inside `with windows.laid_out(layout)`."""

    def __init__(self, model: WhisperForConditionalGeneration) -> None:
        self._encoder = model.get_encoder()
        self._encoder.forward = self._encode
        self._layout = full_layout(model.config.max_source_positions)
        for layer in model.get_decoder().layers:
            layer.encoder_attn.register_forward_pre_hook(self._weigh, with_kwargs=True)

    @contextmanager
    def laid_out(self, layout: Layout) -> Iterator[None]:
        """Compute windows of this layout: `input_features` have two frames for each of its positions."""
        before, self._layout = self._layout, layout
        try:
            yield
        finally:
            self._layout = before

    def _log_weights(self, states: Tensor) -> Tensor | None:
        """What is added to the attention scores, shape (1, 1, 1, positions), float32; None if that is 0."""
        if self._layout.is_full:
            return None
        return torch.from_numpy(self._layout.log_weights).to(states.device)[None, None, None]

    def _encode(self, input_features: Tensor, *_: Any, **__: Any) -> BaseModelOutput:
        """The encoder's `forward`, with its dropout and LayerDrop.

        input_features: shape (clips, mel bins, frames). Returns hidden states of shape (clips, frames / 2, width).
        Other arguments of transformers' encoder are ignored; none of them changes the hidden states in training.
        """
        encoder = self._encoder
        hidden = functional.gelu(encoder.conv1(input_features))
        hidden = functional.gelu(encoder.conv2(hidden)).permute(0, 2, 1)
        positions = torch.from_numpy(self._layout.positions).to(hidden.device)
        hidden = hidden + encoder.embed_positions.weight[positions]
        hidden = functional.dropout(hidden, p=encoder.dropout, training=encoder.training)
        weights = self._log_weights(hidden)
        for layer in encoder.layers:
            # LayerDrop: A. Fan et al., "Reducing transformer depth on demand with structured dropout", 2019.
            if encoder.training and torch.rand([]) < encoder.layerdrop:
                continue
            hidden = layer(hidden, weights, layer_head_mask=None)[0]
        return BaseModelOutput(last_hidden_state=encoder.layer_norm(hidden))

    def _weigh(
        self, _: nn.Module, arguments: tuple[Any, ...], named: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Called before each cross-attention: add the log-weights, as an attention mask."""
        return arguments, named | {"attention_mask": self._log_weights(named["key_value_states"])}
