"""Word models are scored as pyctcdecode defines it; the expected values are computed by hand from the ARPA file."""

import math
from pathlib import Path

import pytest

from app.artifacts import ArtifactError
from app.families.ctc.word_model import WordScorer
from tests.language_models import TOKENS, VOCABULARY

ARPA = """\\data\\
ngram 1=5
ngram 2=3

\\1-grams:
-1.0\t<unk>\t0
-99\t<s>\t-0.5
-0.9\t</s>\t0
-0.6\tali\t-0.4
-0.7\tet\t-0.3

\\2-grams:
-0.2\t<s> ali
-0.3\tali et
-0.25\tet </s>

\\end\\
"""
ALPHA, BETA, OFFSET = 0.5, 1.5, -4.0


@pytest.fixture
def arpa(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.arpa"
    path.write_text(ARPA, encoding="utf-8")
    return path


def scorer_of(arpa: Path, words: tuple[str, ...] = ("ali", "et"), boundary: bool = True) -> WordScorer:
    return WordScorer(VOCABULARY, arpa, words, alpha=ALPHA, beta=BETA, unknown_offset=OFFSET, score_boundary=boundary)


def scores(scorer: WordScorer, text: str) -> tuple[float, float]:
    """The scores of a text as a beginning, and as a whole."""
    scored = scorer.start()
    for letter in text:
        scored = scorer.extend(scored, TOKENS.index("|" if letter == " " else letter))
    return scored.score, scorer.finish(scored)


def weighted(log10: float, words: int) -> float:
    """alpha times the natural logarithm, and beta for each word."""
    return ALPHA * math.log(10) * log10 + BETA * words


@pytest.mark.parametrize(
    ("text", "boundary", "log10", "words"),
    [
        ("ali et", True, -0.2 - 0.3 - 0.25, 2),
        ("et ali", True, (-0.5 - 0.7) + (-0.3 - 0.6) + (-0.4 - 0.9), 2),
        ("ali", True, -0.2 + (-0.4 - 0.9), 1),
        ("", True, -0.5 - 0.9, 0),
        ("bad", True, (-0.5 - 1.0 + OFFSET) - 0.9, 1),
        ("ali et", False, -0.6 - 0.3, 2),
        ("", False, 0.0, 0),
    ],
)
def test_whole_texts(arpa: Path, text: str, boundary: bool, log10: float, words: int) -> None:
    assert scores(scorer_of(arpa, boundary=boundary), text)[1] == pytest.approx(weighted(log10, words), abs=1e-5)


@pytest.mark.parametrize(
    ("text", "score"),
    [
        ("al", 0.0),
        ("ab", OFFSET),
        ("abdeik", OFFSET),
        ("abdeiklmnrst", 2 * OFFSET),
        ("ali ", weighted(-0.2, 1)),
        ("ali e", weighted(-0.2, 1)),
        ("ali ali", weighted(-0.2, 1)),
        ("ali b", weighted(-0.2, 1) + OFFSET),
    ],
)
def test_a_beginning_counts_when_its_word_ends_and_is_penalized_if_no_word_has_it(
    arpa: Path, text: str, score: float
) -> None:
    assert scores(scorer_of(arpa), text)[0] == pytest.approx(score, abs=1e-5)


def test_words_that_are_not_listed_are_unknown(arpa: Path) -> None:
    beginning, whole = scores(scorer_of(arpa, words=("ali",)), "et")
    assert beginning == OFFSET
    assert whole == pytest.approx(weighted((-0.5 - 0.7 + OFFSET) - 0.25, 1), abs=1e-5)


def test_without_a_list_the_words_of_the_file_are_known(arpa: Path) -> None:
    beginning, whole = scores(scorer_of(arpa, words=()), "ali")
    assert beginning == OFFSET, "no beginning is known"
    assert whole == pytest.approx(weighted(-0.2 + (-0.4 - 0.9), 1), abs=1e-5)


@pytest.mark.parametrize("content", ["", "no language model", ARPA[:120]])
def test_a_broken_file_is_refused(arpa: Path, content: str) -> None:
    arpa.write_text(content, encoding="utf-8")
    with pytest.raises(ArtifactError, match=r"KenLM cannot read the language model .*tiny\.arpa"):
        scorer_of(arpa)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="KenLM cannot read"):
        scorer_of(tmp_path / "none.arpa")
