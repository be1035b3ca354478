"""The beam search of pyctcdecode 0.5, written for clarity: what `BeamWordDecoder` is compared with."""

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import kenlm
import numpy as np

from app.families.ctc.decoding import Emissions

LN_10 = math.log(10)
Beams = dict[tuple[str, str, str], float]
"""(complete words, letters of the next one, last label) -> log-probability of all its paths."""


@dataclass(frozen=True)
class SlowBeamSearch:
    """labels: of the logits, with "" for the blank and " " between words. The others: as in pyctcdecode."""

    labels: Sequence[str]
    model: Any
    unigrams: frozenset[str]
    alpha: float
    beta: float
    unk_score_offset: float
    score_boundary: bool = True
    beam_width: int = 100
    by_text: bool = False
    """Whether the paths of a text with different last labels share a place in the beam, as `BeamWordDecoder` has it."""
    scores: dict[tuple[str, str, bool], float] = field(default_factory=dict)
    """Those of texts that were scored before."""

    def text(self, emissions: Emissions) -> str:
        """The best text. emissions: shape (frames, labels), float32 log-probabilities."""
        beams: Beams = {("", "", ""): 0.0}
        for column in emissions.astype(float):
            allowed = {int(column.argmax()), *np.flatnonzero(column >= -5.0).tolist()}
            reached: dict[tuple[str, str, str], list[float]] = defaultdict(list)
            for index in allowed:
                label = self.labels[index]
                for (words, partial, last), score in beams.items():
                    if label in ("", last):
                        key = words, partial, label
                    elif label == " ":
                        key = f"{words} {partial}".strip(), "", label
                    else:
                        key = words, partial + label, label
                    reached[key].append(score + column[index])
            merged = {key: log_sum(scores) for key, scores in reached.items()}
            ranked = {key: score + self.language_score(key[0], key[1]) for key, score in merged.items()}
            beams = {key: merged[key] for key in self.kept(ranked)}
        whole: dict[str, list[float]] = defaultdict(list)
        for (words, partial, _), score in beams.items():
            whole[f"{words} {partial}".strip()].append(score)
        return max(whole, key=lambda text: log_sum(whole[text]) + self.language_score(text, "", True))

    def kept(self, ranked: dict[tuple[str, str, str], float]) -> Iterable[tuple[str, str, str]]:
        """The hypotheses that are not dropped."""
        groups: dict[tuple[str, ...], list[tuple[str, str, str]]] = defaultdict(list)
        for key in ranked:
            groups[key[:2] if self.by_text else key].append(key)
        scores = {group: log_sum([ranked[key] for key in keys]) for group, keys in groups.items()}
        best = sorted(scores, key=lambda group: scores[group], reverse=True)[: self.beam_width]
        return [key for group in best if scores[group] >= scores[best[0]] - 10.0 for key in groups[group]]

    def language_score(self, words: str, partial: str, ended: bool = False) -> float:
        key = words, partial, ended
        if key not in self.scores:
            self.scores[key] = self.score_of(*key)
        return self.scores[key]

    def score_of(self, words: str, partial: str, ended: bool) -> float:
        state = kenlm.State()
        (self.model.BeginSentenceWrite if self.score_boundary else self.model.NullContextWrite)(state)
        total = 0.0
        for word in words.split():
            after = kenlm.State()
            score = self.model.BaseScore(state, word, after)
            if (self.unigrams and word not in self.unigrams) or word not in self.model:
                score += self.unk_score_offset
            total += self.alpha * LN_10 * score + self.beta
            state = after
        if ended and self.score_boundary:
            total += self.alpha * LN_10 * self.model.BaseScore(state, "</s>", kenlm.State())
        if partial and not any(word.startswith(partial) for word in self.unigrams):
            total += self.unk_score_offset * max(1.0, len(partial) / 6)
        return total


def log_sum(logarithms: Sequence[float]) -> float:
    """The logarithm of the sum."""
    highest = max(logarithms)
    return highest + math.log(sum(math.exp(value - highest) for value in logarithms))
