"""Reconstructs students of tiny checkpoints: how near they come to their teachers."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import AutoModelForCTC, PreTrainedModel

from scripts.training.importance import Importance, importance_of_weights
from scripts.training.reconstruction import reconstruct
from scripts.training.students import Shape, make_student
from tests.checkpoints import babbling, built

MODELS = ("small", "cahya_like", "layer_norm_like", "hubert, group norm", "hubert, layer norm")
CLIPS = [torch.from_numpy(babbling(1.0 + 0.1 * seed, seed=seed)) for seed in range(6)]
HELD_OUT = torch.from_numpy(babbling(1.5, seed=9))


def loaded(shape: str, checkpoints: Path) -> PreTrainedModel:
    model: PreTrainedModel = AutoModelForCTC.from_pretrained(built(shape, checkpoints)).eval()
    return model


@torch.no_grad()
def logits(model: PreTrainedModel, clip: Tensor) -> Tensor:
    found: Tensor = model(clip[None]).logits
    return found


def error(student: PreTrainedModel, teacher: PreTrainedModel, clips: list[Tensor]) -> float:
    """Mean squared error of the logits."""
    return sum(float((logits(student, clip) - logits(teacher, clip)).square().mean()) for clip in clips) / len(clips)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("shape", ["f24", "c20", "l1", "l1-f24-c20"])
def test_a_student_comes_nearer_to_its_teacher(name: str, shape: str, checkpoints: Path) -> None:
    teacher = loaded(name, checkpoints)
    cut = make_student(teacher, Shape.parse(shape))
    solved = make_student(teacher, Shape.parse(shape), clips=CLIPS)
    assert error(solved, teacher, CLIPS) < error(cut, teacher, CLIPS)
    assert error(solved, teacher, [HELD_OUT]) < error(cut, teacher, [HELD_OUT]), "on a clip that it was not solved on"
    assert solved.config.to_dict() == cut.config.to_dict()
    assert not solved.training


@pytest.mark.parametrize("name", MODELS)
def test_a_student_of_the_same_shape_is_a_copy(name: str, checkpoints: Path) -> None:
    teacher = loaded(name, checkpoints)
    student = make_student(teacher, Shape(), clips=CLIPS[:2])
    torch.testing.assert_close(logits(student, HELD_OUT), logits(teacher, HELD_OUT), atol=1e-4, rtol=1e-4)


@torch.no_grad()
def with_copies(model: PreTrainedModel) -> None:
    """Make the last half of the feed-forward units of all layers copies of the others, with other weights behind."""
    body: Any = model.base_model
    for layer in body.encoder.layers:
        feed_forward = layer.feed_forward
        units = feed_forward.output_dense.in_features // 2
        for values in (feed_forward.intermediate_dense.weight, feed_forward.intermediate_dense.bias):
            values[units:] = values[:units]


@pytest.mark.parametrize("name", ["small", "hubert, layer norm"])
def test_units_that_are_copies_cost_nothing(name: str, checkpoints: Path) -> None:
    teacher = loaded(name, checkpoints)
    with_copies(teacher)
    half = Shape(feed_forward=teacher.config.intermediate_size // 2)
    cut, solved = (error(make_student(teacher, half, clips=clips), teacher, [HELD_OUT]) for clips in ((), CLIPS))
    assert solved < 0.01 * cut


@torch.no_grad()
def test_channels_that_are_copies_cost_nothing(checkpoints: Path) -> None:
    """Norms that are computed of all channels together would change, so this model has a norm for each."""
    teacher = loaded("small", checkpoints)
    base: Any = teacher.base_model
    first = base.feature_extractor.conv_layers[0]
    half = first.conv.out_channels // 2
    for values in (first.conv.weight, first.layer_norm.weight, first.layer_norm.bias):
        values[half : 2 * half] = values[:half]
    widths = teacher.config.conv_dim
    narrow = Shape(conv_channels=half)
    assert widths[0] == 2 * half
    found = make_student(teacher, narrow, clips=CLIPS)
    own_base: Any = found.base_model
    own = own_base.feature_extractor.conv_layers
    kept = {tuple(weight.flatten().tolist()) for weight in own[0].conv.weight}
    assert kept == {tuple(weight.flatten().tolist()) for weight in first.conv.weight[:half]}, "one of each"


def test_kept_layers_stand_for_those_behind_them(checkpoints: Path) -> None:
    """Whichever layer is kept."""
    teacher = loaded("small", checkpoints)
    values = importance_of_weights(teacher)
    for order in ((0, 1), (1, 0)):
        measured = Importance(values.feed_forward, values.conv_channels, order)
        cut = make_student(teacher, Shape(layers=1), measured)
        solved = make_student(teacher, Shape(layers=1), measured, CLIPS)
        assert error(solved, teacher, [HELD_OUT]) < error(cut, teacher, [HELD_OUT])


def test_it_needs_clips_and_keeps_modes(checkpoints: Path) -> None:
    teacher = loaded("small", checkpoints)
    student = make_student(teacher, Shape(feed_forward=24))
    with pytest.raises(ValueError, match="at least one clip"):
        reconstruct(student, teacher, [0, 1], [])
    teacher.train()
    before = {name: value.clone() for name, value in teacher.state_dict().items()}
    reconstruct(student, teacher, [0, 1], CLIPS[:1])
    assert teacher.training
    assert not student.training
    assert all(torch.equal(value, before[name]) for name, value in teacher.state_dict().items())
