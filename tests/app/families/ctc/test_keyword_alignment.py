import numpy as np
import pytest

from app.families.ctc.decoding import Run
from app.families.ctc.keyword_alignment import align_letters

TOKENS = "_ab"


def test_each_letter_has_its_frames() -> None:
    probabilities = np.array(
        [[0.8, 0.1, 0.1], [0.2, 0.7, 0.1], [0.1, 0.8, 0.1], [0.9, 0.05, 0.05], [0.3, 0.1, 0.6], [0.9, 0.05, 0.05]],
        dtype=np.float32,
    )
    first, second = align_letters(np.log(probabilities), [(1,), (2,)], [0], first_frame=10)
    assert first[:3] == Run(1, 11, 13, 0.0)[:3]
    assert second[:3] == Run(2, 14, 15, 0.0)[:3]
    found = [first.log_probability, second.log_probability]
    assert found == pytest.approx([np.log(0.8), np.log(0.6)], abs=1e-6)


def test_a_double_letter_has_a_blank_between() -> None:
    probabilities = np.array([[0.1, 0.8, 0.1], [0.3, 0.6, 0.1], [0.1, 0.8, 0.1]], dtype=np.float32)
    runs = align_letters(np.log(probabilities), [(1,), (1,)], [0], first_frame=0)
    assert [(run.start, run.end) for run in runs] == [(0, 1), (2, 3)]


def test_a_letter_may_have_two_tokens() -> None:
    probabilities = np.array([[0.1, 0.2, 0.7]], dtype=np.float32)
    (run,) = align_letters(np.log(probabilities), [(1, 2)], [0], first_frame=0)
    assert run.log_probability == pytest.approx(np.log(0.7), abs=1e-6)


def test_too_few_frames() -> None:
    with pytest.raises(ValueError, match="fewer frames"):
        align_letters(np.zeros((2, 3), dtype=np.float32), [(1,), (1,)], [0], first_frame=0)
