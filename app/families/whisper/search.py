"""Finds the tokens of a window: greedy search, sampling, or beam search over a decoder session.

Greedy search, sampling and beam search follow openai/whisper's decoding.py: log-probabilities are those of the model
after its rules, whatever the temperature; a beam ends with the hypothesis of the highest mean log-probability.
"""

import heapq
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app.families.whisper.graphs import DecoderSession, Logits
from app.families.whisper.language import Language
from app.families.whisper.rules import Rules
from app.recognizer import Cancelled

LOOP_TOKENS = 32
"""Repeated tokens at the end of a hypothesis from which on it counts as a loop, if they repeat `LOOP_REPEATS` times."""
LOOP_REPEATS = 4
LONGEST_PERIOD = 24
"""Longest sequence of tokens whose repetition is noticed."""
SEED = 0
"""Of the sampling: the same window always gets the same text."""


@dataclass(frozen=True)
class Prompt:
    """The tokens before those of the window.

    start: index of `<|startoftranscript|>`, where a model tells whether there is speech. language: in which the window
    is spoken; None for a model of one language. timestamps: whether the model writes timestamps.
    """

    tokens: tuple[int, ...]
    start: int = 0
    language: Language | None = None
    timestamps: bool = False


@dataclass(frozen=True)
class Search:
    """How tokens are searched for.

    temperature: 0 for the most probable tokens, above for sampling. beam_size: hypotheses of a beam search, at
    temperature 0 only; 1 for greedy search. max_tokens: maximum number of tokens, without the prompt.
    """

    temperature: float = 0.0
    beam_size: int = 1
    max_tokens: int = 224

    @property
    def hypotheses(self) -> int:
        """Number of hypotheses that the decoder session must have."""
        return self.beam_size if self.temperature == 0 else 1


@dataclass(frozen=True)
class Found:
    """The result of a search.

    tokens: without prompt and end. log_probabilities: of each token and, if it is finished, of the end. no_speech: the
    probability that there is no speech; 0 if the model has no token for that. finished: the model wrote the end; if
    not, it ran into `Search.max_tokens` or a loop.
    """

    tokens: tuple[int, ...]
    log_probabilities: tuple[float, ...]
    no_speech: float
    finished: bool

    @property
    def average_log_probability(self) -> float:
        """Mean over the tokens and the end, as openai/whisper computes it."""
        return sum(self.log_probabilities) / (len(self.tokens) + 1)


def search(
    session: DecoderSession,
    prompt: Prompt,
    rules: Rules,
    how: Search,
    end: int,
    no_speech: int | None,
    cancelled: Callable[[], bool],
) -> Found:
    """Find the tokens of a window.

    session: fresh, with `how.hypotheses` hypotheses. end, no_speech: ids of these tokens. Raises Cancelled if
    `cancelled` returns True between two steps.
    """
    tokens = np.tile(np.array(prompt.tokens, dtype=np.int64), (how.hypotheses, 1))
    logits = session(tokens, [prompt.start, len(prompt.tokens) - 1])
    silence = 0.0
    if no_speech is not None:
        silence = float(np.exp(log_softmax(logits[0, 0])[no_speech]))
    first = logits[:, 1]
    if how.hypotheses == 1:
        return _follow(session, first, rules, how, end, silence, cancelled)
    return _beam(session, first, rules, how, end, silence, cancelled)


def _follow(
    session: DecoderSession,
    logits: Logits,
    rules: Rules,
    how: Search,
    end: int,
    no_speech: float,
    cancelled: Callable[[], bool],
) -> Found:
    """Greedy search or sampling."""
    tokens: list[int] = []
    log_probabilities: list[float] = []
    generator = np.random.default_rng(SEED)
    while True:
        rules.apply(logits, [tokens])
        row = logits[0]
        if how.temperature == 0:
            token = int(row.argmax())
        else:  # the maximum of logits with Gumbel noise is a sample of their softmax
            token = int((row / how.temperature + generator.gumbel(size=row.shape)).argmax())
        log_probabilities.append(float(row[token] - log_sum_exp(row)))
        if token == end:
            return Found(tuple(tokens), tuple(log_probabilities), no_speech, finished=True)
        tokens.append(token)
        if len(tokens) >= how.max_tokens or is_loop(tokens):
            return Found(tuple(tokens), tuple(log_probabilities), no_speech, finished=False)
        if cancelled():
            raise Cancelled
        logits = session(np.array([[token]], dtype=np.int64), [0])[:, 0]


@dataclass(frozen=True)
class _Hypothesis:
    tokens: tuple[int, ...] = ()
    log_probabilities: tuple[float, ...] = ()
    row: int = 0

    @property
    def total(self) -> float:
        return sum(self.log_probabilities)

    def extended(self, token: int, log_probability: float, row: int) -> "_Hypothesis":
        return _Hypothesis((*self.tokens, token), (*self.log_probabilities, log_probability), row)


def _beam(
    session: DecoderSession,
    logits: Logits,
    rules: Rules,
    how: Search,
    end: int,
    no_speech: float,
    cancelled: Callable[[], bool],
) -> Found:
    """Beam search; it stops once as many hypotheses have ended as the beam has."""
    size = how.beam_size
    live, ended = [_Hypothesis()], list[Found]()
    while True:
        rules.apply(logits, [hypothesis.tokens for hypothesis in live] + [live[0].tokens] * (size - len(live)))
        candidates: list[tuple[float, _Hypothesis]] = []
        for row, hypothesis in enumerate(live):
            scores = log_softmax(logits[row])
            for token in np.argpartition(scores, -(size + 1))[-(size + 1) :]:
                longer = hypothesis.extended(int(token), float(scores[token]), row)
                candidates.append((longer.total, longer))
        live = []
        for _, candidate in heapq.nlargest(len(candidates), candidates, key=lambda pair: pair[0]):
            if not np.isfinite(candidate.log_probabilities[-1]):
                continue
            if candidate.tokens[-1] == end:
                if len(ended) < size:
                    ended.append(Found(candidate.tokens[:-1], candidate.log_probabilities, no_speech, finished=True))
            else:
                live.append(candidate)
                if len(live) == size:
                    break
        over = not live or len(live[0].tokens) >= how.max_tokens or is_loop(live[0].tokens)
        if len(ended) >= size or over:
            cut_off = [Found(one.tokens, one.log_probabilities, no_speech, finished=False) for one in live]
            return max([*ended, *cut_off[: size - len(ended)]], key=_mean_log_probability)
        if cancelled():
            raise Cancelled
        rows = [hypothesis.row for hypothesis in live]
        session.reorder(rows + rows[:1] * (size - len(rows)))
        tokens = [hypothesis.tokens[-1] for hypothesis in live]
        tokens += tokens[:1] * (size - len(tokens))
        logits = session(np.array(tokens, dtype=np.int64)[:, np.newaxis], [0])[:, 0]


def _mean_log_probability(found: Found) -> float:
    return sum(found.log_probabilities) / max(1, len(found.tokens))


def is_loop(tokens: Sequence[int]) -> bool:
    """Whether the last tokens repeat the same few tokens over and over."""
    for period in range(1, LONGEST_PERIOD + 1):
        repeats = max(LOOP_REPEATS, -(-LOOP_TOKENS // period))
        if len(tokens) < period * repeats:
            continue
        last = list(tokens[-period * repeats :])
        if last == last[:period] * repeats:
            return True
    return False


def log_softmax(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """Log of the softmax of a row of logits, shape (vocabulary,), float32."""
    return np.asarray(logits - log_sum_exp(logits), dtype=np.float32)


def log_sum_exp(logits: NDArray[np.float32]) -> float:
    """Log of the sum of the exponentials of a row of logits, shape (vocabulary,), float32."""
    highest = logits.max()
    return float(highest + np.log(np.exp(logits - highest).sum()))
