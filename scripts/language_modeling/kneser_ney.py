"""N-gram models by interpolated modified Kneser-Ney smoothing, over words or letters.

Sources: S. F. Chen and J. Goodman, An Empirical Study of Smoothing Techniques for Language Modeling, 1998; K. Heafield
et al., Scalable Modified Kneser-Ney Language Model Estimation, ACL 2013 (`lmplz`), whose treatment of sentence starts,
unknown tokens and pruning this follows.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Ids = NDArray[np.int64]
Floats = NDArray[np.float64]

UNKNOWN, START, END = 0, 1, 2
"""Ids of `<unk>`, `<s>` and `</s>`. Tokens of the text have the ids from 3 on."""
FALLBACK_DISCOUNTS = (0.5, 1.0, 1.5)
"""For orders in which counts of counts are missing, as lmplz has with `--discount_fallback`."""
COUNTED = 4
"""Counts of counts from 1 to this give the discounts."""


@dataclass(frozen=True)
class Order:
    """The n-grams of one order, sorted by the n-gram before (`prefix`) and then by token.

    prefix: index of the first n - 1 tokens in the order below. token: the last one. suffix: index of the last n - 1
    tokens in the order below. log_probability: natural logarithm of P(token | the tokens before). log_backoff: what
    the probability of a token that never follows is multiplied with; 0.0 in the highest order. All of shape (n-grams,).
    """

    prefix: Ids
    token: Ids
    suffix: Ids
    log_probability: Floats
    log_backoff: Floats

    def __len__(self) -> int:
        return len(self.token)


@dataclass
class _Counts:
    prefix: Ids
    token: Ids
    suffix: Ids
    raw: Ids
    adjusted: Ids


def estimate(sentences: Sequence[Sequence[int]], tokens: int, order: int, min_counts: Sequence[int]) -> list[Order]:
    """The orders 1 to `order` of a model.

    sentences: ids of the tokens, from 3 on, without start and end. tokens: number of ids. min_counts: for each order,
    the count from which on an n-gram is kept; the last one is for all further orders, the first is not used, and none
    may be lower than the one before. Raises ValueError if there is no text.
    """
    if not sentences:
        raise ValueError("there is no text to estimate a language model from")
    counts = _count(sentences, tokens, order)
    orders: list[Order] = []
    kept_below = np.arange(tokens)
    for level, current in enumerate(counts):
        discount = _discounts(current.adjusted)[np.minimum(current.adjusted, COUNTED - 1)]
        contexts = len(counts[level - 1].token) if level else 1
        total = np.bincount(current.prefix, current.adjusted, contexts)
        keep = np.ones(len(current.token), dtype=bool)
        if level:
            keep = current.raw >= min_counts[min(level, len(min_counts) - 1)]
            keep &= (kept_below[current.prefix] >= 0) & (kept_below[current.suffix] >= 0)
        left = np.where(keep, current.adjusted - discount, 0.0)
        left = np.maximum(left, 0.0)
        mass = np.bincount(current.prefix, left, contexts)
        with np.errstate(divide="ignore", invalid="ignore"):
            backoff = np.where(total > 0, 1.0 - mass / total, 1.0)
        if level:
            lower = np.exp(orders[-1].log_probability)[kept_below[current.suffix]]
            has_kept = np.bincount(current.prefix[keep], minlength=contexts) > 0
            log_backoff = np.where(has_kept, np.log(np.maximum(backoff, 1e-12)), 0.0)
            kept_contexts = kept_below >= 0
            below = orders[-1]
            orders[-1] = Order(
                below.prefix, below.token, below.suffix, below.log_probability, log_backoff[kept_contexts]
            )
        else:
            lower = np.full(tokens, 1.0 / (tokens - 1))  # <s> is never predicted
        probability = left / np.maximum(total[current.prefix], 1) + backoff[current.prefix] * lower
        if not level:
            probability[START] = 1e-99
        new_ids = np.where(keep, np.cumsum(keep) - 1, -1)
        prefix = kept_below[current.prefix] if level else current.prefix
        suffix = kept_below[current.suffix] if level else current.suffix
        orders.append(
            Order(prefix[keep], current.token[keep], suffix[keep], np.log(probability[keep]), np.zeros(int(keep.sum())))
        )
        kept_below = new_ids
    return orders


def _count(sentences: Sequence[Sequence[int]], tokens: int, order: int) -> list[_Counts]:
    """Raw and adjusted counts of all orders. Adjusted: distinct tokens before, except in the highest order."""
    text = np.concatenate([np.array([START, *sentence, END], dtype=np.int64) for sentence in sentences])
    place = np.concatenate([np.arange(len(sentence) + 2) for sentence in sentences])
    counts: list[_Counts] = []
    starts = np.zeros(0, dtype=bool)  # which n-grams of the order below begin with <s>
    nodes = text  # of the n-gram that ends here
    everything = np.arange(tokens)
    raw = np.bincount(text, minlength=tokens)
    counts.append(_Counts(np.zeros(tokens, np.int64), everything, np.zeros(tokens, np.int64), raw, raw.copy()))
    for level in range(1, order):
        ends = np.flatnonzero(place >= level)
        keys = nodes[ends - 1] * tokens + text[ends]
        unique, first, inverse, raw = np.unique(keys, return_index=True, return_inverse=True, return_counts=True)
        suffix = nodes[ends][first]
        counts.append(_Counts(unique // tokens, unique % tokens, suffix, raw, raw.copy()))
        below = counts[-2]
        continuations = np.bincount(suffix, minlength=len(below.token))
        if level == 1:
            below.adjusted = continuations
            below.adjusted[START] = 0
        else:
            below.adjusted = np.where(starts, below.raw, continuations)
        starts = place[ends][first] == level
        nodes = nodes.copy()
        nodes[ends] = inverse.reshape(-1)
    if order == 1:
        counts[0].adjusted[START] = 0
    return counts


def _discounts(adjusted: Ids) -> Floats:
    """Discounts of the counts 0, 1, 2 and from 3 on, shape (4,). Source: Chen and Goodman, equation 26."""
    number = np.bincount(np.minimum(adjusted, COUNTED + 1), minlength=COUNTED + 2).astype(float)
    if not number[1 : COUNTED + 1].all():
        return np.array([0.0, *FALLBACK_DISCOUNTS])
    shrink = number[1] / (number[1] + 2 * number[2])
    found = [count - (count + 1) * shrink * number[count + 1] / number[count] for count in (1, 2, 3)]
    if any(not 0.0 <= discount <= count for count, discount in enumerate(found, 1)):
        return np.array([0.0, *FALLBACK_DISCOUNTS])
    return np.array([0.0, *found])
