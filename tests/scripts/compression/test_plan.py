import pytest

from scripts.compression.plan import TEACHER
from scripts.compression.study_options import ROW_GROUPS
from tests.scripts.compression.plans import FOCUS, SHAPES, plan


def test_every_shape_is_distilled_and_the_rows_belong_to_the_focus() -> None:
    made = plan()
    candidates = [point for point in made.points if point.role == "candidate"]
    assert {point.name for point in candidates} == set(SHAPES)
    assert {made.training(point.training).objective for point in candidates} == {"distil"}
    others = [one for one in made.trainings if one.name not in SHAPES and one.shape]
    assert {one.shape for one in others} == {FOCUS}
    assert made.training(f"{FOCUS}-plain").objective == "plain"
    assert made.training(f"{TEACHER}-plain").shape == ""
    assert {one.seed for one in made.trainings} == {0, 1, 2}


def test_a_training_stands_behind_the_one_that_it_starts_from() -> None:
    seen: set[str] = set()
    for training in plan().trainings:
        assert not training.start or training.start in seen
        seen.add(training.name)


def test_rounding_after_training_is_compared_after_as_many_steps() -> None:
    made = plan(bits=(4, 7))
    by_name = {point.name: point for point in made.points}
    after, during = by_name[f"{FOCUS}-longer-4bit"], by_name[f"{FOCUS}-trained4bit"]
    assert after.weight_bits == during.weight_bits == 4
    rounded, plain = made.training(during.training), made.training(after.training)
    assert (rounded.start, rounded.share, rounded.seed) == (plain.start, plain.share, plain.seed)
    assert (rounded.quantize_bits, plain.quantize_bits) == (4, 0)
    assert f"{FOCUS}-longer-7bit" not in by_name, "it would be the point without a suffix"


@pytest.mark.parametrize("group", ROW_GROUPS)
def test_each_group_of_rows_can_be_left_out(group: str) -> None:
    every, fewer = plan(), plan(rows=tuple(other for other in ROW_GROUPS if other != group))
    assert len(fewer.points) < len(every.points)
    assert {point.training for point in fewer.points if point.training} == {one.name for one in fewer.trainings}


def test_zeros_by_both_methods() -> None:
    pruned = [one for one in plan(sparsities=(0.5, 0.9)).trainings if one.pruning]
    assert [(one.pruning, one.prune_to) for one in pruned] == [
        ("magnitude", 0.5), ("magnitude", 0.9), ("movement", 0.5), ("movement", 0.9)
    ]  # fmt: skip
