"""Better first weights for a student: least squares make its layers compute what the teacher's layers compute.

A student is cut out of its teacher (`scripts.training.students`). What is cut out is missing in the outputs of the
layers that remain, and the error grows from layer to layer. `reconstruct` goes through the student from its input to
its output, and solves the weights of one linear layer after the other anew, so that it comes as near as possible to the
teacher's values, from the student's own inputs, with the errors that they already have (Y. He, X. Zhang, J. Sun,
"Channel Pruning for Accelerating Very Deep Neural Networks", ICCV 2017). It needs a few minutes of speech, no texts and
no gradients. In this order:

- **Convolutions**, and the projection behind them, if channels are cut: the values before norm and activation.
- **Attention**, its output projection: the sum of residual and attention.
- **Feed-forward**, its second layer: the sum of residual and feed-forward. If layers are left out behind this one, it
  is that of the last one of them, so that one layer stands for several.
- **The head**: the logits.

The units and channels to keep are chosen by the same error (`LeastSquares.most_important`), not by gradients.
"""

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from scripts.training.least_squares import LeastSquares

FRAMES_OF_A_CONVOLUTION = 40_000
"""Most frames for the least squares of one convolution. The first ones have thousands of frames per second."""


@torch.no_grad()
def reconstruct(
    student: PreTrainedModel, teacher: PreTrainedModel, layers: Sequence[int], clips: Sequence[Tensor]
) -> None:
    """Choose units and channels of a student anew, and solve its weights, as above.

    student: a CTC model with the teacher's layers of the indices `layers`, and fewer units or channels; it changes.
    clips: inputs of the models, each of shape (samples,), float32. Raises ValueError if there is no clip.
    """
    if not clips:
        raise ValueError("a student is reconstructed from at least one clip")
    modes = student.training, teacher.training
    student.eval()
    teacher.eval()
    try:
        inputs = [clip[None].to(teacher.device, teacher.dtype) for clip in clips]
        features = _front_end(student, teacher, inputs)
        _encoder(student, teacher, layers, features)
    finally:
        student.train(modes[0])
        teacher.train(modes[1])


def _front_end(student: Any, teacher: Any, clips: Sequence[Tensor]) -> list[tuple[Tensor, Tensor]]:
    """Solve the convolutions and the projection. Returns the projected features of each clip: teacher's, student's.

    Each of shape (1, frames, width). A convolution of the student is that of the teacher until it is cut. The outputs
    of two convolutions are kept for all clips.
    """
    wanted = _Chain(teacher.base_model)
    own = _Chain(copy.deepcopy(teacher.base_model))
    wanted_hidden = own_hidden = [clip[:, None] for clip in clips]
    differs = False
    for index, width in enumerate(student.config.conv_dim):
        before = own_hidden
        wanted_hidden = [wanted.convolution(index, hidden) for hidden in wanted_hidden]
        own_hidden = [own.convolution(index, hidden) for hidden in before] if differs else wanted_hidden
        if width < teacher.config.conv_dim[index]:
            differs = True
            own.keep(
                index, _sums(own, wanted, index, own_hidden, wanted_hidden).most_important(own.weight(index), width)
            )
            own_hidden = [own.convolution(index, hidden) for hidden in before]
        if differs:
            own.change(index, *_sums(own, wanted, index, own_hidden, wanted_hidden).change())
    for part in ("feature_extractor", "feature_projection"):
        getattr(student.base_model, part).load_state_dict(getattr(own.model, part).state_dict())
    last = len(student.config.conv_dim) - 1
    return [
        (wanted.outputs(last, wanted.inputs(last, wants)), own.outputs(last, own.inputs(last, has)))
        for wants, has in zip(wanted_hidden, own_hidden, strict=True)
    ]


class _Chain:
    """The convolutions of a model and the projection behind them. Reader i reads the output of convolution i.

    model: its body; the chain changes it.
    """

    def __init__(self, model: Any) -> None:
        self.model = model
        self._convolutions = list(model.feature_extractor.conv_layers)
        self._projection = model.feature_projection

    def reader(self, index: int) -> nn.Conv1d | nn.Linear:
        """The linear layer that reads the output of a convolution."""
        last = index + 1 == len(self._convolutions)
        reader: nn.Conv1d | nn.Linear = self._projection.projection if last else self._convolutions[index + 1].conv
        return reader

    def weight(self, index: int) -> Tensor:
        """The weights of a reader, shape (outputs, inputs); the taps of a channel are neighbours."""
        return self.reader(index).weight.flatten(1)

    def convolution(self, index: int, hidden: Tensor) -> Tensor:
        """The output of a convolution, shape (1, channels, frames), with norm and activation. hidden: its input."""
        output: Tensor = self._convolutions[index](hidden)
        return output

    def inputs(self, index: int, hidden: Tensor, most: int | None = None) -> Tensor:
        """The inputs of a reader, shape (frames, inputs).

        hidden: output of the convolution, shape (1, channels, frames). most: frames, evenly spaced; None for all.
        """
        reader = self.reader(index)
        frames = hidden[0].T
        if isinstance(reader, nn.Conv1d):
            frames = hidden[0].unfold(1, reader.kernel_size[0], reader.stride[0]).transpose(0, 1)
        if most is not None:
            frames = frames[:: 1 + len(frames) // most]
        if isinstance(reader, nn.Conv1d):
            return frames.flatten(1)
        return cast(Tensor, self._projection.layer_norm(frames))

    def outputs(self, index: int, inputs: Tensor) -> Tensor:
        """The outputs of a reader, shape (frames, outputs)."""
        return nn.functional.linear(inputs, self.weight(index), self.reader(index).bias)

    def keep(self, index: int, channels: Tensor) -> None:
        """Cut a convolution down to some of its channels."""
        layer = self._convolutions[index]
        _cut(layer.conv, 0, channels)
        norms = [layer.layer_norm] if hasattr(layer, "layer_norm") else []
        reader = self.reader(index)
        if isinstance(reader, nn.Linear):
            norms.append(self._projection.layer_norm)
        for norm in norms:
            _cut(norm, 0, channels)
            if isinstance(norm, nn.GroupNorm):
                norm.num_groups = norm.num_channels = len(channels)
            else:
                norm.normalized_shape = (len(channels),)
        _cut(reader, 1, channels)

    def change(self, index: int, weight: Tensor, bias: Tensor) -> None:
        """Add to the weights and the bias of a reader. weight: shape (outputs, inputs)."""
        _add(self.reader(index), weight, bias)


def _sums(
    own: _Chain, wanted: _Chain, index: int, own_hidden: Sequence[Tensor], wanted_hidden: Sequence[Tensor]
) -> LeastSquares:
    """The sums of a reader of the front end. The hidden values are those of its convolution, one for each clip."""
    reader = own.reader(index)
    found = _least_squares(reader, own.weight(index).shape[1] // reader.weight.shape[1])
    most = 1 + FRAMES_OF_A_CONVOLUTION // len(own_hidden)
    for has, wants in zip(own_hidden, wanted_hidden, strict=True):
        inputs = own.inputs(index, has, most)
        found.add(inputs, wanted.outputs(index, wanted.inputs(index, wants, most)) - own.outputs(index, inputs))
    return found


def _encoder(student: Any, teacher: Any, layers: Sequence[int], features: Sequence[tuple[Tensor, Tensor]]) -> None:
    """Solve attention, feed-forward and the head. features: projected features of each clip: teacher's, student's."""
    original, own = teacher.base_model.encoder, student.base_model.encoder
    stable = bool(getattr(teacher.config, "do_stable_layer_norm", False))
    wanted = [_embedded(original, clip, stable) for clip, _ in features]
    hidden = [_embedded(own, clip, stable) for _, clip in features]
    ends = [*layers[1:], len(original.layers)]
    begins = [0, *layers[1:]]
    for layer, begin, source, end in zip(own.layers, begins, layers, ends, strict=True):
        sums = [_run(original.layers, begin, source, end, clip, stable) for clip in wanted]
        wanted = [one.output for one in sums]
        _solve(
            layer.attention.out_proj, layer, hidden, [one.after_attention for one in sums], "after_attention", stable
        )
        if not stable:
            layer.final_layer_norm.load_state_dict(original.layers[end - 1].final_layer_norm.state_dict())
        targets = [one.after_feed_forward for one in sums]
        units = layer.feed_forward.output_dense.in_features
        if units < teacher.config.intermediate_size:
            narrow, layer.feed_forward = layer.feed_forward, copy.deepcopy(original.layers[source].feed_forward)
            wide = layer.feed_forward
            found = _sums_of(wide.output_dense, layer, hidden, targets, "after_feed_forward", stable)
            kept = found.most_important(wide.output_dense.weight, units)
            for linear, dimension in ((wide.intermediate_dense, 0), (wide.output_dense, 1)):
                _cut(linear, dimension, kept)
            narrow.load_state_dict(wide.state_dict())
            layer.feed_forward = narrow
        _solve(layer.feed_forward.output_dense, layer, hidden, targets, "after_feed_forward", stable)
        hidden = [layer(clip)[0] for clip in hidden]
    if stable:
        wanted = [original.layer_norm(clip) for clip in wanted]
        hidden = [own.layer_norm(clip) for clip in hidden]
    found = _least_squares(student.lm_head)
    for clip, target in zip(hidden, wanted, strict=True):
        found.add(clip[0], (teacher.lm_head(target) - student.lm_head(clip))[0])
    _add(student.lm_head, *found.change())


def _embedded(encoder: Any, features: Tensor, stable: bool) -> Tensor:
    """The input of the first layer, shape (1, frames, width)."""
    hidden: Tensor = features[None] + encoder.pos_conv_embed(features[None])
    return hidden if stable else encoder.layer_norm(hidden)


class _Sums(NamedTuple):
    """Values of a layer, each of shape (1, frames, width). A sum is that of residual and output, before a norm."""

    after_attention: Tensor
    after_feed_forward: Tensor
    output: Tensor


def _run(layers: Any, begin: int, source: int, end: int, hidden: Tensor, stable: bool) -> _Sums:
    """Compute layers from `begin` to `end`, which is not among them, with the sum after the attention of `source`."""
    for index in range(begin, end):
        sums = _sums_of_layer(layers[index], hidden, stable)
        if index == source:
            after_attention = sums.after_attention
        hidden = sums.output
    return _Sums(after_attention, sums.after_feed_forward, hidden)


def _sums_of_layer(layer: Any, hidden: Tensor, stable: bool) -> _Sums:
    norm = layer.final_layer_norm if stable else layer.layer_norm
    with _inputs_of(norm) as after_attention, _inputs_of(layer.final_layer_norm) as before_norm:
        (output, *_) = layer(hidden)
    return _Sums(after_attention[0], output if stable else before_norm[0], output)


def _solve(linear: nn.Linear, *arguments: Any) -> None:
    """Change a linear layer within a layer; see `_sums_of`."""
    _add(linear, *_sums_of(linear, *arguments).change())


def _sums_of(
    linear: nn.Linear, layer: Any, hidden: Sequence[Tensor], targets: Sequence[Tensor], name: str, stable: bool
) -> LeastSquares:
    """Sums for a linear layer within a layer, so that a field of its `_Sums` becomes that of `targets`.

    hidden: inputs of the layer.
    """
    found = _least_squares(linear)
    for clip, target in zip(hidden, targets, strict=True):
        with _inputs_of(linear) as inputs:
            sums = _sums_of_layer(layer, clip, stable)
        found.add(inputs[0][0], (target - getattr(sums, name))[0])
    return found


@contextmanager
def _inputs_of(module: nn.Module) -> Iterator[list[Tensor]]:
    """A list that gets the input of a module each time that it computes."""
    found: list[Tensor] = []
    hook = module.register_forward_pre_hook(lambda _, inputs: found.append(inputs[0]))
    try:
        yield found
    finally:
        hook.remove()


def _least_squares(linear: nn.Conv1d | nn.Linear, group: int = 1) -> LeastSquares:
    weight = linear.weight.flatten(1)
    return LeastSquares(weight.shape[1], weight.shape[0], bias=linear.bias is not None, group=group)


def _add(linear: nn.Conv1d | nn.Linear, weight: Tensor, bias: Tensor) -> None:
    linear.weight += weight.view_as(linear.weight).to(linear.weight)
    if linear.bias is not None:
        linear.bias += bias.to(linear.bias)


def _cut(module: nn.Module, dimension: int, kept: Tensor) -> None:
    """Leave out a part of the parameters of a module; of its bias, if that has the dimension."""
    for name, value in list(module.named_parameters(recurse=False)):
        if dimension < value.dim():
            setattr(module, name, nn.Parameter(value.index_select(dimension, kept.to(value.device))))
