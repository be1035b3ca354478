from pathlib import Path

import numpy as np
import pytest

from scripts.language_modeling.making import Weights
from scripts.language_modeling.tuning import TuningSet, tune, word_errors
from scripts.speech.text import TextNormalizer
from tests.language_models import LINES, TOKENS, VOCABULARY, language_model, unsure_emissions

NORMALIZER = TextNormalizer.for_tokens(TOKENS, "en")


def test_the_better_of_two_weights_on_made_emissions() -> None:
    """A language model of the spoken lines mends what is unclear, unless its weight is 0."""
    made = [unsure_emissions(seed, doubt=0.5) for seed in range(4)]
    texts = [spoken(seed) for seed in range(4)]
    estimated = language_model("letter", 5)

    def errors_of(weights: Weights) -> int:
        scorer = estimated.scorer(Path(), VOCABULARY, weights)
        return word_errors(TuningSet(made, texts), VOCABULARY, scorer, NORMALIZER, 8)

    off, on = Weights(0.0, 0.0), Weights(0.2, 0.0)
    assert errors_of(on) < errors_of(off)
    tried = dict(zip(*zip(*tune(errors_of, off), strict=True), strict=True))
    assert tried[off] == errors_of(off)
    assert min(tried.values()) <= tried[on] < tried[off]


def spoken(seed: int) -> str:
    """The line that `unsure_emissions` has for a seed."""
    return LINES[np.random.default_rng(seed).integers(len(LINES))]


@pytest.mark.parametrize("start", [Weights(0.5, 1.0), Weights(0.0, -2.0), Weights(1.5, 4.0)])
def test_the_search_finds_the_least(start: Weights) -> None:
    def errors_of(weights: Weights) -> int:
        return round(1000 * ((weights.alpha - 0.7) ** 2 + (weights.beta - 1.5) ** 2))

    tried = list(tune(errors_of, start))
    assert tried[0] == (start, errors_of(start))
    assert len(tried) == len({weights for weights, _ in tried}), "nothing is tried twice"
    assert all(weights.alpha >= 0 for weights, _ in tried)
    best, _ = min(tried, key=lambda pair: pair[1])
    assert (best.alpha, best.beta) == pytest.approx((0.7, 1.5), abs=0.051)
