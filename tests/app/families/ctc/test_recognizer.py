"""What a CTC recognizer does beside computing, which `tests/app/test_models.py` tries on every backend."""

import numpy as np
import pytest

from app.artifacts import ArtifactError
from app.families.ctc.decoding import Emissions
from app.families.ctc.recognizer import best_path, log_softmax, probability_change
from app.recognizer import Agreement, Hypothesis, Window, Windowing, compute_windows, decode_windows
from tests.fakes import FRAMING, SETTINGS, WORD, FakeCtc, FakeRecognizer
from tests.sounds import MODEL_HZ, speechlike

FRAMES, TOKENS = 40, len(SETTINGS.vocabulary.tokens)
CTC = FakeCtc()


def emissions(seed: int = 0) -> Emissions:
    """Log-probabilities of random tokens, shape (frames, vocabulary)."""
    return log_softmax(np.random.default_rng(seed).normal(0, 4.0, (FRAMES, TOKENS)).astype(np.float32))


class TestHypothesis:
    def test_the_best_token_of_each_frame_and_its_log_probability(self) -> None:
        probabilities = np.array([[0.7, 0.2, 0.1], [0.1, 0.3, 0.6]], np.float32)
        hypothesis = best_path(np.log(probabilities))
        assert hypothesis.tokens == (0, 2)
        np.testing.assert_allclose(hypothesis.log_probabilities, np.log([0.7, 0.6]), atol=1e-6)

    def test_it_does_not_differ_from_itself(self) -> None:
        assert probability_change(best_path(emissions()), emissions()) == pytest.approx(0.0, abs=1e-6)

    def test_the_difference_is_the_mean_change_of_probabilities(self) -> None:
        hypothesis = Hypothesis((0, 1), (float(np.log(0.9)), float(np.log(0.8))))
        other = np.log(np.array([[0.5, 0.5], [0.3, 0.7]], np.float32))
        assert probability_change(hypothesis, other) == pytest.approx((0.4 + 0.1) / 2, abs=1e-6)

    def test_what_cannot_be_compared_is_as_different_as_can_be(self) -> None:
        hypothesis = best_path(emissions())
        assert probability_change(hypothesis, emissions()[:-1]) == 1
        assert probability_change(hypothesis, emissions()[:, :2]) == 1
        assert probability_change(hypothesis, np.full_like(emissions(), np.nan)) == 1


class TestAgreement:
    def of(self, expected: Emissions, other: Emissions) -> Agreement:
        """The agreement on a clip of one window."""
        return CTC.compare([Window(np.zeros(0, np.float32))], [expected], [other])

    def test_silence_is_like_silence(self) -> None:
        silence = np.full((5, TOKENS), -np.inf, dtype=np.float32)
        silence[:, 0] = 0.0
        assert self.of(silence, silence.copy()) == Agreement(0.0, 5, 5, True)
        assert self.of(silence, np.zeros((5, TOKENS), np.float32)).max_difference == np.inf
        assert self.of(silence[:0], silence[:0]) == Agreement(0.0, 0, 0, True)
        assert CTC.compare([], [], []) == Agreement(0.0, 0, 0, True), "a clip that is too short for a window"

    def test_differences_are_counted(self) -> None:
        other = emissions()
        other[3] = np.roll(other[3], 1)
        alike = self.of(emissions(), other)
        assert (alike.steps, alike.same_steps) == (FRAMES, FRAMES - 1)
        assert alike.max_difference == pytest.approx(np.abs(emissions()[3] - other[3]).max())

    def test_a_frame_of_nan_is_no_agreement(self) -> None:
        other = emissions()
        other[3, 1] = np.nan
        assert np.isnan(self.of(emissions(), other).max_difference)

    def test_models_of_other_shapes_cannot_be_compared(self) -> None:
        with pytest.raises(ArtifactError, match=rf"shape \(40, 3\), its checkpoint of \(40, {TOKENS}\)"):
            self.of(emissions(), emissions()[:, :3])


class TestWindows:
    def test_they_are_as_long_as_they_are_set(self) -> None:
        recognizer = FakeCtc(windowing=Windowing(window_s=5.0, overlap_s=1.0))
        windows = recognizer.windows(np.zeros(60 * MODEL_HZ, np.float32))
        lengths_s = [len(window.samples) / MODEL_HZ for window in windows[:-1]]
        assert lengths_s == pytest.approx([5.0] * len(lengths_s), abs=0.02)
        assert len(lengths_s) > 10
        assert all(window.start % FRAMING.hop == 0 for window in windows)

    def test_a_clip_costs_what_its_length_is(self) -> None:
        assert CTC.cost_s(12.5) == 12.5

    def test_a_clip_is_decoded_as_its_windows_come(self) -> None:
        recognizer = FakeRecognizer()
        samples = speechlike(50)
        windows = recognizer.windows(samples)
        segments = decode_windows(recognizer, windows, compute_windows(recognizer, windows))
        assert [word.text for segment in segments for word in segment.words] == [WORD] * 50
