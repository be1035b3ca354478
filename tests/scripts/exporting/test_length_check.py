from collections.abc import Callable, Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from app.artifacts import ArtifactError
from app.families.ctc.decoding import Emissions
from app.recognizer import Samples
from scripts.exporting.length_check import CHECKED_FRAMES, check_lengths
from tests.fakes import FRAMING, VOCABULARY, FakeCtc


class Counting(FakeCtc):
    """A recognizer with a configurable number of frames. It records the lengths of its clips."""

    def __init__(self, frames: Callable[[int], int], tokens: int = len(VOCABULARY.tokens)) -> None:
        super().__init__()
        self.frames = frames
        self.tokens = tokens
        self.lengths: list[int] = []

    def emissions(self, clips: Sequence[Samples]) -> list[Emissions]:
        self.lengths += [len(samples) for samples in clips]
        return [self.uniform(self.frames(len(samples))) for samples in clips]

    def uniform(self, frames: int) -> NDArray[np.float32]:
        return np.full((frames, self.tokens), -np.log(self.tokens), dtype=np.float32)


def test_a_model_that_keeps_to_its_settings_passes() -> None:
    recognizer = Counting(FRAMING.frames)
    check_lengths(recognizer)
    assert [FRAMING.frames(samples) for samples in recognizer.lengths] == [n for n in CHECKED_FRAMES for _ in range(2)]


@pytest.mark.parametrize(
    "frames",
    [
        lambda samples: 49,
        lambda samples: min(FRAMING.frames(samples), 50),
        lambda samples: FRAMING.frames(samples) // 2 * 2,
        lambda samples: -(-(samples - FRAMING.receptive_field) // FRAMING.hop) + 1,
    ],
    ids=["always as many", "cut at a second", "in pairs", "with the rest padded"],
)
def test_frames_that_the_settings_do_not_give_are_found(frames: Callable[[int], int]) -> None:
    with pytest.raises(ArtifactError, match=r"shape \(\d+, 7\) for \d+ samples, but its settings say \(\d+, 7\)"):
        check_lengths(Counting(frames))


def test_another_vocabulary_is_found() -> None:
    with pytest.raises(ArtifactError, match=r"shape \(1, 8\) for 400 samples, but its settings say \(1, 7\)"):
        check_lengths(Counting(FRAMING.frames, tokens=8))


def test_a_length_that_cannot_be_computed_is_reported() -> None:
    def fail(samples: int) -> int:
        if samples > 20_000:
            raise RuntimeError("cannot broadcast 49 with 120")
        return FRAMING.frames(samples)

    with pytest.raises(ArtifactError, match=r"cannot compute a clip of \d+ samples: cannot broadcast 49 with 120"):
        check_lengths(Counting(fail))
