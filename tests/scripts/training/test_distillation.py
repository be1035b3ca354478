import math

import pytest
import torch
from torch import Tensor

from scripts.training.distillation import (
    DistillationOptions,
    HiddenProjections,
    ctc_per_letter,
    evenly_spaced,
    frame_divergence,
    frames_to_match,
    hidden_distance,
    is_valid,
)

BLANK = 0


def logits_of(tokens: list[list[int]], vocabulary: int = 3) -> Tensor:
    """Logits whose largest is that of these tokens."""
    return 5.0 * torch.nn.functional.one_hot(torch.tensor(tokens), vocabulary).float()


class TestDivergence:
    def test_it_is_the_mean_over_frames_in_nats(self) -> None:
        probabilities = torch.tensor([[[0.5, 0.5], [0.9, 0.1]]])
        others = torch.tensor([[[0.25, 0.75], [0.9, 0.1]]])
        both = torch.tensor([[True, True]])
        found = frame_divergence(others.log(), probabilities.log(), both, temperature=1.0)
        by_hand = 0.5 * math.log(0.5 / 0.25) + 0.5 * math.log(0.5 / 0.75)
        assert found.item() == pytest.approx(by_hand / 2, rel=1e-5)

    def test_it_diverges_from_the_teacher(self) -> None:
        """KL(p || q) is large where the teacher expects what the student excludes, and not the other way round."""
        certain, open_to_both = torch.tensor([[[1 - 1e-6, 1e-6]]]).log(), torch.tensor([[[0.5, 0.5]]]).log()
        frame = torch.tensor([[True]])
        assert frame_divergence(certain, open_to_both, frame, 1.0).item() > 5
        assert frame_divergence(open_to_both, certain, frame, 1.0).item() == pytest.approx(math.log(2), rel=1e-3)

    def test_padding_does_not_count(self) -> None:
        torch.manual_seed(0)
        student, teacher = torch.randn(2, 4, 3), torch.randn(2, 4, 3)
        valid = is_valid(torch.tensor([4, 2]), 4)
        alone = [
            frame_divergence(student[i : i + 1, :n], teacher[i : i + 1, :n], valid[i : i + 1, :n], 1.0)
            for i, n in enumerate((4, 2))
        ]
        expected = (4 * alone[0] + 2 * alone[1]) / 6
        assert frame_divergence(student, teacher, valid, 1.0).item() == pytest.approx(expected.item(), rel=1e-5)

    def test_a_temperature_keeps_the_size_of_gradients(self) -> None:
        """For large T, the gradient of T^2 KL is (student - teacher) / tokens, if the logits have no mean (Hinton)."""
        teacher = torch.tensor([[[1.0, -1.0]]])
        student = torch.zeros(1, 1, 2, requires_grad=True)
        frame_divergence(student, teacher, torch.tensor([[True]]), 1_000.0).backward()
        assert student.grad is not None
        torch.testing.assert_close(student.grad, -teacher / 2, rtol=1e-2, atol=1e-4)


def test_valid_frames() -> None:
    assert is_valid(torch.tensor([3, 0, 1]), 3).tolist() == [[True] * 3, [False] * 3, [True, False, False]]


class TestBlanks:
    TEACHER = logits_of([[0, 0, 1, 0, 0, 0, 2, 0], [0, 0, 0, 0, 0, 0, 0, 1]])
    VALID = is_valid(torch.tensor([8, 6]), 8)

    @pytest.mark.parametrize(
        ("margin", "expected"),
        [(0, "00100010"), (1, "01110111"), (2, "11111111")],
    )
    def test_those_beside_letters_count(self, margin: int, expected: str) -> None:
        frames = frames_to_match(self.TEACHER, self.VALID, BLANK, margin)
        assert "".join(str(int(frame)) for frame in frames[0]) == expected
        assert frames[1].tolist() == [True] * 6 + [False] * 2, "without letters in its own frames, all of these count"

    def test_all_count_by_default(self) -> None:
        assert torch.equal(frames_to_match(self.TEACHER, self.VALID, BLANK, None), self.VALID)


class TestHiddenStates:
    VALID = is_valid(torch.tensor([3, 1]), 3)

    def test_the_distance_is_relative(self) -> None:
        torch.manual_seed(0)
        teacher = torch.randn(2, 3, 5) * 100 + 7
        mean = teacher[self.VALID].mean(dim=0).expand(2, 3, 5)
        assert hidden_distance([teacher], [teacher], self.VALID).item() == 0
        assert hidden_distance([mean], [teacher], self.VALID).item() == pytest.approx(1.0, rel=1e-4)
        assert hidden_distance([mean, teacher], [teacher, teacher], self.VALID).item() == pytest.approx(0.5, rel=1e-4)

    def test_padding_does_not_count(self) -> None:
        torch.manual_seed(0)
        student, teacher = torch.randn(2, 3, 5), torch.randn(2, 3, 5)
        other = student.clone()
        other[1, 1:] = 1e6
        assert hidden_distance([student], [teacher], self.VALID) == hidden_distance([other], [teacher], self.VALID)

    def test_projections_have_the_width_of_the_teacher(self) -> None:
        states = HiddenProjections(2, 4, 6)([torch.randn(2, 3, 4), torch.randn(2, 3, 4)])
        assert [tuple(state.shape) for state in states] == [(2, 3, 6)] * 2


class TestCtc:
    def test_it_is_per_letter_of_the_batch(self) -> None:
        torch.manual_seed(0)
        logits, frames = torch.randn(2, 6, 4), torch.tensor([6, 4])
        labels = torch.tensor([[1, 2, 1], [3, -100, -100]])
        clips = [([1, 2, 1], 6), ([3], 4)]
        by_hand = sum(
            torch.nn.functional.ctc_loss(
                logits[row, :count].log_softmax(-1)[:, None],
                torch.tensor([letters]),
                torch.tensor([count]),
                torch.tensor([len(letters)]),
                reduction="sum",
            ).item()
            for row, (letters, count) in enumerate(clips)
        )
        assert ctc_per_letter(logits, frames, labels, BLANK).item() == pytest.approx(by_hand / 4, rel=1e-5)

    def test_no_clips_have_no_loss(self) -> None:
        loss = ctc_per_letter(torch.zeros(0, 5, 3), torch.zeros(0, dtype=torch.long), torch.zeros(0, 1).long(), BLANK)
        assert loss.item() == 0


@pytest.mark.parametrize(
    ("count", "total", "expected"),
    [(1, 6, [5]), (2, 6, [0, 5]), (3, 6, [0, 2, 5]), (4, 12, [0, 4, 7, 11]), (6, 6, [*range(6)])],
)
def test_layers_are_evenly_spaced(count: int, total: int, expected: list[int]) -> None:
    assert evenly_spaced(count, total) == expected


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"temperature": 0.0}, "--temperature is above 0"),
        ({"alpha": 1.1}, "--alpha is a share"),
        ({"hidden_weight": -1.0}, "--hidden_weight is a weight"),
        ({"blank_margin": -1}, "--blank_margin is a number of frames"),
    ],
)
def test_numbers_out_of_range(options: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DistillationOptions(teacher="teacher", **options)  # type: ignore[arg-type]


def test_options_of_a_teacher_that_is_missing() -> None:
    with pytest.raises(ValueError, match="need a --teacher"):
        DistillationOptions(alpha=0.2)
