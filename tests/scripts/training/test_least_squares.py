import pytest
import torch
from torch import Tensor

from scripts.training.least_squares import LeastSquares

FRAMES, INPUTS, OUTPUTS = 400, 12, 5


@pytest.fixture
def frames() -> Tensor:
    return torch.randn(FRAMES, INPUTS, generator=torch.Generator().manual_seed(1)) + 2


@pytest.fixture
def weight() -> Tensor:
    return torch.randn(OUTPUTS, INPUTS, generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize("bias", [True, False])
def test_the_change_is_what_is_missing(frames: Tensor, weight: Tensor, bias: bool) -> None:
    offset = torch.arange(OUTPUTS) if bias else torch.zeros(OUTPUTS)
    sums = LeastSquares(INPUTS, OUTPUTS, bias=bias)
    for some in frames.split(50):
        sums.add(some, some @ weight.T + offset)
    found, found_offset = sums.change()
    torch.testing.assert_close(found.float(), weight, atol=2e-3, rtol=0)
    torch.testing.assert_close(found_offset.float(), offset.float(), atol=1e-2, rtol=0)


def test_nothing_changes_if_nothing_is_missing(frames: Tensor) -> None:
    sums = LeastSquares(INPUTS, OUTPUTS)
    sums.add(frames, torch.zeros(FRAMES, OUTPUTS))
    assert not any(change.any() for change in sums.change())


def test_inputs_that_never_vary_do_no_harm() -> None:
    sums = LeastSquares(INPUTS, OUTPUTS)
    sums.add(torch.ones(FRAMES, INPUTS), torch.ones(FRAMES, OUTPUTS))
    weight, bias = sums.change()
    assert not weight.any()
    torch.testing.assert_close(bias, torch.ones_like(bias))


@pytest.mark.parametrize("group", [1, 3])
def test_inputs_that_follow_from_others_are_removed_first(frames: Tensor, weight: Tensor, group: int) -> None:
    groups = frames.view(FRAMES, -1, group)
    groups[:, 2] = groups[:, 0] - 0.5 * groups[:, 1]
    sums = LeastSquares(INPUTS, OUTPUTS, group=group)
    sums.add(frames, torch.zeros(FRAMES, OUTPUTS))
    count = INPUTS // group
    kept = sums.most_important(weight, count - 1).tolist()
    assert len(set(range(3)) & set(kept)) == 2, "one of the three that depend on each other"
    assert set(range(3, count)) <= set(kept)


def test_removing_costs_what_the_others_cannot_take_over(frames: Tensor, weight: Tensor) -> None:
    """Compares with all choices of one input to remove, each solved by itself."""
    sums = LeastSquares(INPUTS, OUTPUTS)
    sums.add(frames, torch.zeros(FRAMES, OUTPUTS))
    centred = (frames - frames.mean(dim=0)).double()
    wanted = centred @ weight.double().T
    errors = []
    for left_out in range(INPUTS):
        others = torch.cat((centred[:, :left_out], centred[:, left_out + 1 :]), dim=1)
        solved = torch.linalg.lstsq(others, wanted).solution
        errors.append(float((others @ solved - wanted).square().sum()))
    best = min(range(INPUTS), key=errors.__getitem__)
    assert sums.most_important(weight, INPUTS - 1).tolist() == [index for index in range(INPUTS) if index != best]


def test_what_is_missing_counts_for_the_choice(frames: Tensor) -> None:
    """The layer reads nothing yet; the outputs that it should have depend on three inputs."""
    wanted = torch.zeros(OUTPUTS, INPUTS)
    wanted[:, [3, 7, 8]] = 1
    sums = LeastSquares(INPUTS, OUTPUTS)
    sums.add(frames, frames @ wanted.T)
    assert sums.most_important(torch.zeros(OUTPUTS, INPUTS), 3).tolist() == [3, 7, 8]


def test_all_can_be_kept(frames: Tensor, weight: Tensor) -> None:
    sums = LeastSquares(INPUTS, OUTPUTS, group=3)
    sums.add(frames, frames @ weight.T)
    assert sums.most_important(weight, 4).tolist() == [0, 1, 2, 3]


def test_a_change_that_does_not_help_on_other_clips_is_not_made() -> None:
    generator = torch.Generator().manual_seed(3)
    sums = LeastSquares(INPUTS, OUTPUTS)
    for _ in range(8):  # of few frames, whose outputs have nothing to do with the inputs
        sums.add(torch.randn(4, INPUTS, generator=generator), torch.randn(4, OUTPUTS, generator=generator))
    assert not any(change.any() for change in sums.change())
