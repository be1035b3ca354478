from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
from datasets import Dataset

from app.families.ctc import CtcFamily
from app.families.ctc.decoding import Emissions, Vocabulary
from app.families.ctc.settings import CtcSettings, FeatureSettings
from app.families.ctc.windows import Framing
from app.recognizer import Samples
from scripts.exporting.proofs import (
    DECIDING_CLIPS,
    EXACT,
    LIMITS,
    QUANTIZED,
    Limit,
    Measurements,
    Parity,
    compared_with,
    judge,
    prove,
)
from scripts.speech.data import DataError, SpeechRows
from scripts.speech.scoring import ErrorRate
from tests.fakes import FakeCtc
from tests.speech import speech_rows

FRAMING = Framing(hop=320, receptive_field=400)
VOCABULARY = Vocabulary(("<pad>", "|", "a", "b"), 0, "|", frozenset({"<pad>"}))
SETTINGS = CtcSettings(FeatureSettings(16_000, normalize=False), FRAMING, VOCABULARY)


class SpellingFamily(CtcFamily):
    """The family of `Spelling`, without any settings file."""

    def __init__(self) -> None:
        self.settings = SETTINGS
        self.rate_hz = SETTINGS.features.sample_rate_hz
        self.tokens = VOCABULARY.tokens


FAMILY = SpellingFamily()


class Spelling(FakeCtc):
    """Outputs the same text for every clip, with certainty. `shift` is added to all log-probabilities."""

    def __init__(self, text: str, shift: float = 0.0) -> None:
        super().__init__(SETTINGS)
        self.spoken = text.replace(" ", "|")
        self.shift = shift

    def emissions(self, clips: Sequence[Samples]) -> list[Emissions]:
        return [self._one(FRAMING.frames(len(samples))) for samples in clips]

    def _one(self, frames: int) -> Emissions:
        emissions = np.full((frames, 4), -9.0, dtype=np.float32)
        tokens = np.zeros(frames, dtype=np.intp)
        for place, letter in enumerate(self.spoken):
            tokens[2 * place] = VOCABULARY.tokens.index(letter)
        emissions[np.arange(frames), tokens] = -0.01
        return emissions + np.float32(self.shift)


def proven(onnx: Spelling, int8: Spelling, limits: Mapping[str, Sequence[Limit]] = LIMITS) -> Measurements:
    recognizers = {"pytorch": Spelling("ab ab ab ab"), "onnx": onnx, "onnx_int8": int8}
    rows = speech_rows(["ab ab ab ab"] * 4, [1.0] * 4)
    return prove(FAMILY, recognizers, {"a set": rows}, limits, language="tr", workers=2)


def test_backends_that_agree_pass_all_proofs() -> None:
    measured = proven(Spelling("ab ab ab ab"), Spelling("ab ab ab ab"))
    assert measured.failed == []
    assert {(proof.backend, proof.name) for proof in measured.proofs} == {
        ("pytorch", "wer"),
        ("onnx", "max_difference"),
        ("onnx", "text_equality"),
        ("onnx_int8", "argmax_agreement"),
        ("onnx_int8", "wer_increase_lower_bound"),
    }
    figures = measured.accuracy["a set"]
    assert set(figures) == {"pytorch", "onnx", "onnx_int8"}
    assert figures["onnx_int8"].wer == ErrorRate(0.0, 0.0, 0.0)
    assert (figures["onnx"].clips, figures["onnx"].hours) == (4, round(4 / 3600, 3))
    assert measured.parity["onnx_int8"].frames == 4 * FRAMING.frames(16_000)


def test_fp32_is_compared_with_pytorch_and_int8_with_fp32() -> None:
    measured = proven(Spelling("ab ab ab ab", shift=0.5), Spelling("ab ab ab ab", shift=0.75))
    assert measured.parity["onnx"].max_difference == pytest.approx(0.5)
    assert measured.parity["onnx_int8"].max_difference == pytest.approx(0.25)
    assert [(proof.backend, proof.name) for proof in measured.failed] == [("onnx", "max_difference")]
    assert (compared_with("onnx"), compared_with("onnx_int8"), compared_with("another")) == ("pytorch", "onnx", "onnx")


def test_another_text_fails_even_if_the_numbers_are_near() -> None:
    measured = proven(Spelling("ab ab ab aa"), Spelling("ab ab ab aa"))
    assert [proof.name for proof in measured.failed] == ["max_difference", "text_equality"]
    assert measured.parity["onnx"].text_equality == 0.0
    assert measured.accuracy["a set"]["onnx"].wer.rate == 0.25
    assert measured.wer_increase["onnx"].rate == 0.25


@pytest.mark.parametrize(
    ("text", "wer", "passed"),
    [("ab ab ab ab", 0.0, True), ("ab ab aa aa", 0.5, True), ("ab aa aa aa", 0.75, False), ("bb bb bb bb", 1.0, False)],
)
def test_a_reference_that_understands_nothing_proves_nothing(text: str, wer: float, passed: bool) -> None:
    recognizers = {backend: Spelling(text) for backend in ("pytorch", "onnx")}
    rows = speech_rows(["ab ab ab ab"] * 2, [1.0] * 2)
    measured = prove(FAMILY, recognizers, {"a set": rows}, LIMITS, language="tr", workers=1)
    (proof,) = [proof for proof in measured.proofs if proof.backend == "pytorch"]
    assert (proof.name, proof.measured, proof.passed) == ("wer", wer, passed)
    assert measured.to_json()["proven"] == passed


def test_clips_without_words_do_not_prove_the_reference() -> None:
    recognizers = {backend: Spelling("") for backend in ("pytorch", "onnx")}
    measured = prove(FAMILY, recognizers, {"a set": speech_rows([""], [1.0])}, LIMITS, language="tr", workers=1)
    assert [str(proof) for proof in measured.failed] == ["wer of pytorch is no number, must be at most 0.5"]


def test_int8_with_more_errors_fails_by_frames_and_words() -> None:
    measured = proven(Spelling("ab ab ab ab"), Spelling("bb bb bb bb"))
    assert [proof.name for proof in measured.failed] == ["argmax_agreement", "wer_increase_lower_bound"]
    assert measured.wer_increase["onnx_int8"] == ErrorRate(1.0, 1.0, 1.0)


def test_int8_with_fewer_errors_passes() -> None:
    measured = proven(Spelling("ab ab ab aa"), Spelling("ab ab ab ab"))
    assert not [proof for proof in measured.failed if proof.backend == "onnx_int8"]
    assert measured.wer_increase["onnx_int8"].rate == -0.25


def test_nan_proves_nothing_and_is_null_in_the_manifest() -> None:
    measured = proven(Spelling("ab ab ab ab", shift=float("nan")), Spelling("ab ab ab ab"))
    assert "max_difference of onnx is no number, must be at most 0.001" in [str(proof) for proof in measured.failed]
    record = measured.to_json()
    assert record["proven"] is False
    assert record["parity"]["onnx"]["max_difference"] is None


def test_limits_can_be_others() -> None:
    limits = LIMITS | {"onnx": QUANTIZED[:1], "onnx_int8": EXACT}
    assert proven(Spelling("ab ab ab aa"), Spelling("ab ab ab aa"), limits).failed == []


def parity(clips: int) -> Parity:
    return Parity("onnx", clips, frames=100 * clips, max_difference=0.5, argmax_agreement=0.99, text_equality=0.9)


@pytest.mark.parametrize(
    ("clips", "increase", "passed"),
    [
        (DECIDING_CLIPS, ErrorRate(0.005, 0.001, 0.009), True),
        (DECIDING_CLIPS, ErrorRate(0.006, 0.001, 0.011), False),
        (DECIDING_CLIPS, ErrorRate(-0.02, -0.03, -0.01), True),
        (DECIDING_CLIPS - 1, ErrorRate(0.006, 0.001, 0.011), True),
        (4, ErrorRate(0.026, 0.0, 0.1), True),
        (4, ErrorRate(0.1, 0.006, 0.2), False),
    ],
)
def test_many_clips_decide_by_the_rate_few_by_its_lower_bound(clips: int, increase: ErrorRate, passed: bool) -> None:
    agreement, words = judge("onnx_int8", parity(clips), increase, QUANTIZED)
    assert agreement.passed
    assert words.passed == passed
    assert words.name == ("wer_increase" if clips >= DECIDING_CLIPS else "wer_increase_lower_bound")


def test_a_clip_that_is_not_there_is_named(tmp_path: Path) -> None:
    rows = SpeechRows(
        Dataset.from_dict({"audio": ["gone.wav"], "text": ["ab"]}), "audio", "text", [1.0], folder=tmp_path
    )
    recognizers = {backend: Spelling("ab") for backend in ("pytorch", "onnx")}
    with pytest.raises(DataError, match=r"gone\.wav \(row 0\) cannot be read"):
        prove(FAMILY, recognizers, {"a set": rows}, LIMITS, language="tr", workers=1)
