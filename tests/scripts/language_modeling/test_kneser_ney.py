import math

import numpy as np
import pytest

from scripts.language_modeling.kneser_ney import END, START, UNKNOWN, estimate
from tests.language_models import log_probability, ngrams

A, B, C = 3, 4, 5
SENTENCES = [[A, B], [A, B], [A, C]]
TOKENS = 6


def test_probabilities_computed_by_hand() -> None:
    """Counts of counts are missing, so the discounts of counts of 1, 2 and 3 are 0.5, 1 and 1.5.

    Unigrams count what they follow: a, b and c one token, the end two; together 5. What the discounts take, 2.5 of 5,
    goes to the 5 tokens alike, 0.1 each. Of bigrams, each context keeps half: 1.5 of 3, 1.5 of 3, 1 of 2, 0.5 of 1.
    """
    table = {
        ngram: (math.exp(one), math.exp(two))
        for ngram, (one, two) in ngrams(estimate(SENTENCES, TOKENS, 2, (1,))).items()
    }
    unigrams = {UNKNOWN: 0.1, END: 1 / 5 + 0.1, A: 0.5 / 5 + 0.1, B: 0.5 / 5 + 0.1, C: 0.5 / 5 + 0.1}
    assert {token: table[token,][0] for token in unigrams} == pytest.approx(unigrams)
    bigrams = {
        (START, A): 1.5 / 3 + 0.5 * 0.2,
        (A, B): 1 / 3 + 0.5 * 0.2,
        (A, C): 0.5 / 3 + 0.5 * 0.2,
        (B, END): 1 / 2 + 0.5 * 0.3,
        (C, END): 0.5 / 1 + 0.5 * 0.3,
    }
    assert {ngram: found[0] for ngram, found in table.items() if len(ngram) == 2} == pytest.approx(bigrams)
    backoffs = {START: 0.5, A: 0.5, B: 0.5, C: 0.5, END: 1.0, UNKNOWN: 1.0}
    assert {token: table[token,][1] for token in backoffs} == pytest.approx(backoffs)


@pytest.mark.parametrize("min_counts", [(1,), (1, 2), (1, 1, 3)])
@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_the_probabilities_after_each_context_sum_to_one(order: int, min_counts: tuple[int, ...]) -> None:
    """Of 40 sentences, so that some orders have discounts of their own, and with rare n-grams left out."""
    random = np.random.default_rng(0)
    made = [random.choice(4, size=random.integers(1, 8), p=[0.5, 0.3, 0.15, 0.05]) + 3 for _ in range(40)]
    table = ngrams(estimate([sentence.tolist() for sentence in made], 7, order, min_counts))
    contexts = [(), *(ngram for ngram in table if len(ngram) < order and ngram[-1] != END and UNKNOWN not in ngram)]
    assert len(contexts) > order * 3 - 3
    for context in contexts:
        total = sum(math.exp(log_probability(table, context, token)) for token in range(7) if token != START)
        assert total == pytest.approx(1.0, abs=1e-9), context


def test_rare_ngrams_are_left_out() -> None:
    table = ngrams(estimate(SENTENCES, TOKENS, 2, (1, 2)))
    assert {ngram for ngram in table if len(ngram) == 2} == {(START, A), (A, B), (B, END)}


def test_no_text_is_refused() -> None:
    with pytest.raises(ValueError, match="there is no text"):
        estimate([], TOKENS, 2, (1,))
