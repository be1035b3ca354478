"""Search over a decoder session whose logits depend on every token that the hypothesis has so far."""

from collections.abc import Sequence
from typing import cast

import numpy as np
import pytest
from numpy.typing import NDArray

from app.families.whisper.graphs import Logits
from app.families.whisper.rules import Rules
from app.families.whisper.search import Found, Prompt, Search, is_loop, log_softmax, search
from app.recognizer import Cancelled, never

VOCABULARY, END, SILENCE = 12, 10, 11
PROMPT = Prompt((7, 8), start=0)


class Session:
    """Logits that are random, but always the same for the same tokens."""

    def __init__(self, hypotheses: int, seed: int, end_bias: float = 0.0) -> None:
        self.tokens: list[list[int]] = [[] for _ in range(hypotheses)]
        self._seed = seed
        self._end_bias = end_bias
        self.calls = 0

    def __call__(self, tokens: NDArray[np.int64], wanted: Sequence[int]) -> Logits:
        self.calls += 1
        assert tokens.dtype == np.int64
        rows = []
        for own, new in zip(self.tokens, tokens.tolist(), strict=True):
            before = len(own)
            own += new
            rows.append([self.logits(own[: before + index + 1]) for index in wanted])
        return np.array(rows, dtype=np.float32)

    def logits(self, tokens: Sequence[int]) -> NDArray[np.float32]:
        logits = np.random.default_rng([self._seed, *tokens]).normal(0, 2.0, VOCABULARY).astype(np.float32)
        logits[END] += self._end_bias
        return logits

    def reorder(self, order: Sequence[int]) -> None:
        self.tokens = [list(self.tokens[index]) for index in order]

    def attention_scores(self) -> NDArray[np.float32]:
        raise NotImplementedError


class NoRules:
    def apply(self, logits: Logits, written: Sequence[Sequence[int]]) -> None:
        assert len(logits) == len(written)


RULES = cast(Rules, NoRules())


def find(seed: int, how: Search, end_bias: float = 0.0) -> Found:
    return search(Session(how.hypotheses, seed, end_bias), PROMPT, RULES, how, END, SILENCE, never)


def log_probability(seed: int, tokens: Sequence[int], end_bias: float = 0.0) -> list[float]:
    """Of each token, given those before it."""
    session = Session(1, seed, end_bias)
    return [
        float(log_softmax(session.logits([*PROMPT.tokens, *tokens[:index]]))[token])
        for index, token in enumerate(tokens)
    ]


@pytest.mark.parametrize("seed", range(5))
def test_greedy_search_takes_the_most_probable_token_each_time(seed: int) -> None:
    found = find(seed, Search(max_tokens=30), end_bias=1.0)
    tokens = [*found.tokens, *([END] if found.finished else [])]
    session = Session(1, seed, 1.0)
    for index, token in enumerate(tokens):
        assert token == session.logits([*PROMPT.tokens, *tokens[:index]]).argmax()
    np.testing.assert_allclose(found.log_probabilities, log_probability(seed, tokens, 1.0), atol=1e-5)
    assert found.average_log_probability == pytest.approx(sum(found.log_probabilities) / (len(found.tokens) + 1))


def test_the_probability_of_silence_is_read_after_the_start_token() -> None:
    expected = np.exp(log_softmax(Session(1, 3).logits([7]))[SILENCE])
    assert find(3, Search()).no_speech == pytest.approx(expected, rel=1e-5)
    without = search(Session(1, 3), PROMPT, RULES, Search(), END, None, never)
    assert without.no_speech == 0


def test_a_search_stops_at_its_limit() -> None:
    found = find(0, Search(max_tokens=5), end_bias=-100)
    assert len(found.tokens) == len(found.log_probabilities) == 5
    assert not found.finished


def test_samples_are_the_same_each_time_and_follow_the_temperature() -> None:
    warm = Search(temperature=1.0, max_tokens=20)
    assert find(1, warm) == find(1, warm)
    assert find(1, warm).tokens != find(1, Search(max_tokens=20)).tokens
    assert find(1, Search(temperature=1e-3, max_tokens=20)).tokens == find(1, Search(max_tokens=20)).tokens
    assert warm.hypotheses == Search(temperature=1.0, beam_size=5).hypotheses == 1, "a sample has no beam"


def beam_search(seed: int, size: int, max_tokens: int, end_bias: float) -> tuple[tuple[int, ...], float]:
    """The same search without caches: every hypothesis is scored from its beginning."""
    session = Session(1, seed, end_bias)
    live: list[tuple[list[int], float]] = [([], 0.0)]
    ended: list[tuple[list[int], float]] = []
    while True:
        longer = [
            ([*tokens, token], total + float(score))
            for tokens, total in live
            for token, score in enumerate(log_softmax(session.logits([*PROMPT.tokens, *tokens])))
        ]
        longer.sort(key=lambda pair: -pair[1])
        live = []
        for tokens, total in longer:
            if tokens[-1] == END:
                if len(ended) < size:
                    ended.append((tokens[:-1], total))
            else:
                live.append((tokens, total))
            if len(live) == size:
                break
        if len(ended) >= size or len(live[0][0]) >= max_tokens:
            break
    everything = ended + live[: size - len(ended)]
    best = max(everything, key=lambda pair: pair[1] / max(1, len(pair[0])))
    return tuple(best[0]), best[1]


@pytest.mark.parametrize("size", [2, 3, 5])
@pytest.mark.parametrize("seed", range(6))
def test_a_beam_follows_its_hypotheses_through_the_cache(seed: int, size: int) -> None:
    found = find(seed, Search(beam_size=size, max_tokens=12), end_bias=1.5)
    tokens, total = beam_search(seed, size, 12, 1.5)
    assert found.tokens == tokens
    assert sum(found.log_probabilities) == pytest.approx(total, abs=1e-4)


@pytest.mark.parametrize("how", [Search(), Search(beam_size=3), Search(temperature=0.5)])
def test_a_search_can_be_cancelled_between_two_steps(how: Search) -> None:
    session = Session(how.hypotheses, 0, end_bias=-100)
    answers = iter([False, False, True])
    with pytest.raises(Cancelled):
        search(session, PROMPT, RULES, how, END, SILENCE, lambda: next(answers))
    assert session.calls == 3


@pytest.mark.parametrize(
    ("tokens", "loops"),
    [
        ([1] * 32, True),
        ([1] * 31, False),
        ([9, 9, *[1, 2, 3] * 11], True),
        ([1, 2, 3] * 10, False),
        ([*range(20)] * 4, True),
        ([*range(20)] * 3, False),
        ([*range(200)], False),
        ([], False),
    ],
)
def test_loops(tokens: list[int], loops: bool) -> None:
    assert is_loop(tokens) is loops


def test_a_search_stops_in_a_loop() -> None:
    class Stuck(Session):
        def logits(self, tokens: Sequence[int]) -> NDArray[np.float32]:
            logits: NDArray[np.float32] = np.zeros(VOCABULARY, dtype=np.float32)
            logits[1 + len(tokens) % 2] = 20
            logits[END] = -20
            return logits

    for size in (1, 3):
        found = search(Stuck(size, 0), PROMPT, RULES, Search(beam_size=size), END, None, never)
        assert not found.finished
        assert len(found.tokens) < 224
