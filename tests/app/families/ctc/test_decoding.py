import math

import numpy as np
import pytest
from numpy.typing import NDArray

from app.families.ctc.decoding import Vocabulary, WordDecoder, decode_ctc
from app.transcript import mean_confidence

TOKENS = ("[PAD]", "[UNK]", "|", "a", "b", "i", "\u0307", "c", "\u0327")
VOCABULARY = Vocabulary(TOKENS, blank=0, word_delimiter="|", special=frozenset({"[PAD]", "[UNK]", ""}))
FRAME_S = 0.02


def emissions(path: str, probability: float = 0.9) -> NDArray[np.float32]:
    """One frame for each character of `path`: `_` is the blank, `?` the unknown token."""
    names = {"_": "[PAD]", "?": "[UNK]"}
    rest = (1 - probability) / (len(TOKENS) - 1)
    probabilities = np.full((len(path), len(TOKENS)), rest, dtype=np.float32)
    for frame, character in enumerate(path):
        probabilities[frame, TOKENS.index(names.get(character, character))] = probability
    return np.log(probabilities)


def texts(path: str) -> list[str]:
    return [word.text for word in decode_ctc(emissions(path), VOCABULARY, FRAME_S)]


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("", []),
        ("____", []),
        ("||_|", []),
        ("aab", ["ab"]),
        ("a_ab", ["aab"]),
        ("a|b", ["a", "b"]),
        ("|_a__|||_bb_|", ["a", "b"]),
        ("a?b", ["ab"]),
        ("?|a", ["a"]),
        ("i\u0307", ["i"]),
        ("c\u0327a", ["ça"]),
    ],
)
def test_best_path(path: str, expected: list[str]) -> None:
    assert texts(path) == expected


def test_a_word_lasts_from_its_first_letter_to_its_last() -> None:
    first, second = decode_ctc(emissions("__aa_b__|_a"), VOCABULARY, FRAME_S)
    assert (first.start_s, first.end_s) == pytest.approx((0.04, 0.12))
    assert (second.start_s, second.end_s) == pytest.approx((0.20, 0.22))


def test_confidence_is_the_geometric_mean_of_the_letters_best_frames() -> None:
    frames = np.concatenate([emissions("a", 0.5), emissions("a", 0.8), emissions("b", 0.6)])
    (word,) = decode_ctc(frames, VOCABULARY, FRAME_S)
    assert word.confidence == pytest.approx(math.sqrt(0.8 * 0.6), rel=1e-5)


def test_confidence_of_a_transcript_weighs_words_by_letters() -> None:
    frames = np.concatenate([emissions("ab", 0.9), emissions("|"), emissions("a", 0.5)])
    words = decode_ctc(frames, VOCABULARY, FRAME_S)
    assert mean_confidence(words) == pytest.approx((0.9 * 0.9 * 0.5) ** (1 / 3), rel=1e-5)
    assert mean_confidence(()) is None


def test_the_blank_need_not_be_the_first_token() -> None:
    vocabulary = Vocabulary(("a", "|", "<pad>"), blank=2, word_delimiter="|", special=frozenset({"<pad>"}))
    frames = np.log(np.array([[0.8, 0.1, 0.1], [0.1, 0.1, 0.8], [0.8, 0.1, 0.1]], dtype=np.float32))
    assert [word.text for word in decode_ctc(frames, vocabulary, FRAME_S)] == ["aa"]


def test_lower_case_where_the_tokenizer_says_so() -> None:
    vocabulary = Vocabulary(("<pad>", "A"), blank=0, word_delimiter="|", special=frozenset(), lower_case=True)
    frames = np.log(np.array([[0.1, 0.9]], dtype=np.float32))
    assert [word.text for word in decode_ctc(frames, vocabulary, FRAME_S)] == ["a"]


def test_a_space_parts_words_whatever_the_delimiter() -> None:
    vocabulary = Vocabulary(("<pad>", "a", " ", "|"), blank=0, word_delimiter="|", special=frozenset({"<pad>"}))
    frames = np.log(np.full((5, 4), 0.02, dtype=np.float32) + 0.9 * np.eye(4, dtype=np.float32)[[1, 2, 1, 3, 1]])
    assert [word.text for word in decode_ctc(frames, vocabulary, FRAME_S)] == ["a", "a", "a"]


def test_a_capital_dotted_i_is_lower_cased_to_one_letter() -> None:
    vocabulary = Vocabulary(("<pad>", "İ"), blank=0, word_delimiter="|", special=frozenset(), lower_case=True)
    frames = np.log(np.array([[0.1, 0.9]], dtype=np.float32))
    assert [word.text for word in decode_ctc(frames, vocabulary, FRAME_S)] == ["i"]


def test_certain_emissions_of_silence_have_no_words() -> None:
    frames = np.full((5, len(TOKENS)), -np.inf, dtype=np.float32)
    frames[:, 0] = 0.0
    assert decode_ctc(frames, VOCABULARY, FRAME_S) == ()


@pytest.mark.parametrize("seed", range(20))
def test_it_does_not_matter_how_frames_come(seed: int) -> None:
    random = np.random.default_rng(seed)
    path = "".join(random.choice(list("__aab|?ci")) for _ in range(200))
    frames = emissions(path) + random.normal(0, 0.3, (200, len(TOKENS))).astype(np.float32)
    decoder = WordDecoder(VOCABULARY, FRAME_S)
    words = [word for part in np.split(frames, np.sort(random.integers(0, 200, 30))) for word in decoder.add(part)]
    assert (*words, *decoder.finish()) == decode_ctc(frames, VOCABULARY, FRAME_S)


def test_a_word_is_given_when_it_has_ended() -> None:
    decoder = WordDecoder(VOCABULARY, FRAME_S)
    assert decoder.add(emissions("_ab_|")) == [], "the delimiter may go on"
    assert [word.text for word in decoder.add(emissions("|_"))] == ["ab"]
    assert decoder.finish() == []
