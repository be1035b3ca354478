from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from transformers import AutoModelForCTC, PreTrainedModel

from scripts.training.batches import Collator
from scripts.training.importance import Importance, importance, importance_of_weights, most_important
from tests.checkpoints import babbling, built
from tests.speech import FEATURES

SHAPES = ("small", "layer_norm_like", "hubert, layer norm")


def loaded(shape: str, checkpoints: Path) -> PreTrainedModel:
    model: PreTrainedModel = AutoModelForCTC.from_pretrained(built(shape, checkpoints), ctc_loss_reduction="sum")
    return model


def batch(*seeds: int) -> dict[str, Tensor]:
    return Collator(FEATURES)(
        [{"input_values": babbling(0.5 + 0.1 * seed, seed), "labels": [3, 4, 5 + seed]} for seed in seeds]
    )


def test_the_most_important_stay_in_their_order() -> None:
    assert most_important(torch.tensor([0.5, 3.0, 1.0, 2.0]), 3).tolist() == [1, 2, 3]


def test_layers_are_evenly_spaced_unless_their_order_is_known() -> None:
    units = (torch.ones(2),) * 6
    assert Importance(units, ()).kept_layers(3) == [0, 2, 5]
    assert Importance(units, ()).kept_layers(1) == [5]
    known = Importance(units, (), layers=(3, 0, 5, 1, 4, 2))
    assert known.kept_layers(2) == [2, 4]
    assert known.kept_layers(6) == list(range(6))


@pytest.mark.parametrize("shape", SHAPES)
def test_parts_that_are_not_read_have_no_importance(shape: str, checkpoints: Path) -> None:
    model = loaded(shape, checkpoints)
    body: Any = model.base_model
    with torch.no_grad():
        body.encoder.layers[1].feed_forward.output_dense.weight[:, 7] = 0
        body.feature_extractor.conv_layers[3].conv.weight[:, 5] = 0  # the channels of the second convolution
        body.feature_projection.projection.weight[:, 2] = 0
    for values in (importance_of_weights(model), importance(model, [batch(0, 1)], order_layers=False)):
        assert [int(units.argmin()) for units in values.feed_forward[1:]] == [7]
        assert values.feed_forward[1][7] == 0 < values.feed_forward[0].min()
        assert values.conv_channels[2][5] == 0
        assert values.conv_channels[0].min() > 0
        assert len(values.conv_channels) == len(body.feature_extractor.conv_layers)
    # The norm behind the last convolution reads every channel, so only the weights say that one is not used.
    assert importance_of_weights(model).conv_channels[-1][2] == 0


def test_a_unit_is_as_important_as_the_loss_changes_with_it(checkpoints: Path) -> None:
    model = loaded("layer_norm_like", checkpoints)
    clips = [batch(0), batch(1)]
    both = importance(model, [batch(0, 1)], order_layers=False)
    found = importance(model, clips, order_layers=False)
    output: Any = model.get_submodule("wav2vec2.encoder.layers.0.feed_forward.output_dense")
    squares = []
    model.double().eval()
    for clip in clips:
        losses = []
        for factor in (0.9, 1.1):  # the loss is float32, so a smaller step would drown in its rounding
            with torch.no_grad():
                before = output.weight.clone()
                output.weight[:, 9] *= factor
                losses.append(model(clip["input_values"].double(), clip["attention_mask"], labels=clip["labels"]).loss)
                output.weight.copy_(before)
        squares.append(float((losses[1] - losses[0]) / 0.2) ** 2)
    assert float(found.feed_forward[0][9]) == pytest.approx(np.mean(squares), rel=1e-2)
    torch.testing.assert_close(both.feed_forward, found.feed_forward, rtol=1e-2, atol=1e-6)


@pytest.mark.parametrize("useless", [0, 1])
def test_a_layer_that_does_nothing_goes_first(useless: int, checkpoints: Path) -> None:
    model = loaded("layer_norm_like", checkpoints)
    layer: Any = model.get_submodule(f"wav2vec2.encoder.layers.{useless}")
    with torch.no_grad():
        for part in (layer.attention.out_proj, layer.feed_forward.output_dense):
            part.weight.zero_()
            part.bias.zero_()
        model.get_parameter(f"wav2vec2.encoder.layers.{1 - useless}.attention.out_proj.weight").mul_(20)
    model.train()
    layers = model.get_submodule("wav2vec2.encoder.layers")
    parameters = {name: value.clone() for name, value in model.named_parameters()}
    with torch.no_grad():  # labels that the model outputs, so that a change of it is a loss
        model.eval()
        clip = batch(3)
        best = model(clip["input_values"], clip["attention_mask"]).logits[0].argmax(dim=-1).unique_consecutive()
        clip["labels"] = best[best != model.config.pad_token_id][None]
        model.train()
    assert importance(model, [clip]).layers == (useless, 1 - useless)
    assert model.training
    assert model.get_submodule("wav2vec2.encoder.layers") is layers
    assert all(torch.equal(value, parameters[name]) for name, value in model.named_parameters())
    assert all(not module._forward_hooks and not module._forward_pre_hooks for module in model.modules())


def test_a_clip_that_cannot_be_aligned_does_not_count(checkpoints: Path) -> None:
    model = loaded("small", checkpoints)
    clip = batch(0)
    clip["labels"] = torch.full((1, 40), 3)  # equal letters need a blank between them: more frames than there are
    values = importance(model, [clip, batch(1)], order_layers=False)
    alone = importance(model, [batch(1)], order_layers=False)
    torch.testing.assert_close(values.feed_forward, tuple(units / 2 for units in alone.feed_forward))


def test_it_needs_a_batch(checkpoints: Path) -> None:
    with pytest.raises(ValueError, match="at least one batch"):
        importance(loaded("small", checkpoints), [])
