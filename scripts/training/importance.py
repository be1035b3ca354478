"""How important the parts of a CTC model are: its layers, feed-forward units and convolution channels.

`make_student` keeps the most important ones. Weights alone give an estimate (`importance_of_weights`); a few batches of
speech with texts give a better one (`importance`).
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import PreTrainedModel

from scripts.training.distillation import ctc_per_letter, evenly_spaced

Batch = Mapping[str, Tensor]
"""Inputs of a CTC model, as `Collator` makes them: `input_values`, `attention_mask`, `labels`."""


@dataclass(frozen=True)
class Importance:
    """Importance of the parts of a model. Only comparisons within one tensor have a meaning.

    feed_forward: of each layer's units, shape (units,), float32. conv_channels: of each convolution's channels, shape
    (channels,), float32. layers: indices of all layers, the least important first; None if that is not known.
    """

    feed_forward: tuple[Tensor, ...]
    conv_channels: tuple[Tensor, ...]
    layers: tuple[int, ...] | None = None

    def kept_layers(self, count: int) -> list[int]:
        """Indices of the layers to keep, ascending: the most important ones, or evenly spaced ones, see above."""
        if self.layers is None:
            return evenly_spaced(count, len(self.feed_forward))
        return sorted(self.layers[len(self.layers) - count :])

    def save(self, path: Path) -> None:
        """Write it to a file in the format safetensors."""
        tensors = {f"feed_forward.{index}": values for index, values in enumerate(self.feed_forward)}
        tensors |= {f"conv_channels.{index}": values for index, values in enumerate(self.conv_channels)}
        if self.layers is not None:
            tensors["layers"] = torch.tensor(self.layers)
        save_file({name: values.cpu().contiguous() for name, values in tensors.items()}, path)

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a file that `save` wrote."""
        tensors = load_file(path)
        layers = tensors.pop("layers", None)
        feed_forward, conv_channels = (
            tuple(tensors[f"{part}.{index}"] for index in range(sum(name.startswith(part) for name in tensors)))
            for part in ("feed_forward", "conv_channels")
        )
        return cls(feed_forward, conv_channels, layers=None if layers is None else tuple(layers.tolist()))


def most_important(values: Tensor, count: int) -> Tensor:
    """Indices of the `count` largest values, ascending. values: shape (parts,). Returns shape (count,), int64."""
    return values.topk(count).indices.sort().values


@torch.no_grad()
def importance_of_weights(model: PreTrainedModel) -> Importance:
    """Importance by the norms of weights: of those that make a value, times those that read it.

    A norm after a convolution cancels the scale of its weights: there, the weight of the norm counts instead.
    """
    body: Any = model.base_model
    feed_forward = tuple(
        layer.feed_forward.intermediate_dense.weight.norm(dim=1) * layer.feed_forward.output_dense.weight.norm(dim=0)
        for layer in body.encoder.layers
    )
    convolutions = list(body.feature_extractor.conv_layers)
    projection = body.feature_projection
    read = [layer.conv.weight.norm(dim=(0, 2)) for layer in convolutions[1:]]
    read.append(projection.projection.weight.norm(dim=0) * projection.layer_norm.weight.abs())
    conv_channels = tuple(_made(layer) * outgoing for layer, outgoing in zip(convolutions, read, strict=True))
    return Importance(_float(feed_forward), _float(conv_channels))


def _made(layer: Any) -> Tensor:
    """Norms of the weights that make the channels of a convolution, shape (channels,)."""
    norm = getattr(layer, "layer_norm", None)
    weights: Tensor = layer.conv.weight.norm(dim=(1, 2))
    if isinstance(norm, nn.GroupNorm):  # it scales each channel by itself
        weights = torch.ones_like(weights)
    return weights if norm is None else weights * torch.hypot(norm.weight, norm.bias)


def _float(values: Sequence[Tensor]) -> tuple[Tensor, ...]:
    return tuple(value.detach().float() for value in values)


def importance(model: PreTrainedModel, batches: Sequence[Batch], *, order_layers: bool = True) -> Importance:
    """Importance by the loss on some batches, which need texts.

    - Units and channels: the expected square of the change of a clip's loss if the value is left out, in first order:
      the square of the gradient by a factor of 1 at that value, mean over clips (P. Molchanov et al., "Importance
      estimation for neural network pruning", 2019).
    - Layers (order_layers): the layer without which the loss is lowest is left out, then the next one, until one is
      left. With n layers, that computes the loss n (n + 1) / 2 - 1 times, so it is done on one batch, in the middle.

    The model stays as it is, and computes without dropout and SpecAugment. Raises ValueError if there is no batch.
    """
    if not batches:
        raise ValueError("importance is measured on at least one batch")
    training = model.training
    model.eval()
    try:
        values = _gated_importance(model, batches)
        layers = _order_of_layers(model, batches[len(batches) // 2 :][:1]) if order_layers else None
    finally:
        model.train(training)
    return Importance(*values, layers=layers)


def _gated_importance(
    model: PreTrainedModel, batches: Sequence[Batch]
) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
    body: Any = model.base_model
    sums: list[Tensor | int] = [0] * (len(body.encoder.layers) + len(body.feature_extractor.conv_layers))
    clips = 0
    for batch in batches:
        with _gates(model) as gates:
            loss = _loss(model, batch)
            for index, gradient in enumerate(torch.autograd.grad(loss, gates)):
                sums[index] = sums[index] + gradient.float().square().sum(dim=0)
        clips += len(batch["input_values"])
    means = tuple(torch.as_tensor(total) / clips for total in sums)
    convolutions = len(body.feature_extractor.conv_layers)
    return means[convolutions:], means[:convolutions]


@contextmanager
def _gates(model: PreTrainedModel) -> Iterator[list[Tensor]]:
    """Factors of 1 at the outputs of all convolutions, then of all feed-forward units, each of shape (clips, parts).

    The list fills when the model computes.
    """
    body: Any = model.base_model
    gates: list[Tensor] = []

    def gate(clips: int, parts: int, like: Tensor) -> Tensor:
        gates.append(torch.ones(clips, parts, device=like.device, dtype=like.dtype, requires_grad=True))
        return gates[-1]

    def channels(_: nn.Module, __: Any, output: Tensor) -> Tensor:
        return output * gate(output.shape[0], output.shape[1], output)[:, :, None]

    def units(_: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return (inputs[0] * gate(inputs[0].shape[0], inputs[0].shape[2], inputs[0])[:, None],)

    hooks = [layer.register_forward_hook(channels) for layer in body.feature_extractor.conv_layers]
    hooks += [layer.feed_forward.output_dense.register_forward_pre_hook(units) for layer in body.encoder.layers]
    try:
        with torch.enable_grad():
            yield gates
    finally:
        for hook in hooks:
            hook.remove()


@torch.no_grad()
def _order_of_layers(model: PreTrainedModel, batches: Sequence[Batch]) -> tuple[int, ...]:
    encoder: Any = model.base_model.encoder
    layers = encoder.layers
    remaining, dropped = list(range(len(layers))), list[int]()
    try:
        while len(remaining) > 1:
            losses = {}
            for left_out in remaining:
                encoder.layers = nn.ModuleList(layers[index] for index in remaining if index != left_out)
                losses[left_out] = sum(float(_loss(model, batch)) for batch in batches)
            least = min(losses, key=losses.__getitem__)
            remaining.remove(least)
            dropped.append(least)
    finally:
        encoder.layers = layers
    return (*dropped, *remaining)


def _loss(model: PreTrainedModel, batch: Batch) -> Tensor:
    """The CTC loss, summed over the clips; a clip whose letters cannot be aligned has none."""
    inputs = {name: values.to(model.device) for name, values in batch.items()}
    labels = inputs.pop("labels")
    body: Any = model
    frames = body._get_feat_extract_output_lengths(inputs["attention_mask"].sum(dim=1))
    loss = ctc_per_letter(body(**inputs).logits, frames, labels, body.config.pad_token_id)
    return loss * (labels >= 0).sum().clamp(min=1)
