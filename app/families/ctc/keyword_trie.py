"""Keywords as a trie of letters, level by level, for a search that computes all nodes of a level at once."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app.families.ctc.spelling import Letters, Spelling
from app.keywords import Keyword

LETTER_BONUS = 1.5
"""Log-probability per letter by which the best path may be better than a keyword, and the keyword is still found."""
FIRST_LETTERS = 1.0
"""Letters without a bonus: short keywords resemble many words."""
FEW_KEYWORDS = 30
"""With n times as many, each has log n less: the more there are, the likelier one resembles another word."""


@dataclass(frozen=True)
class End:
    """A node at which a keyword ends.

    node: index in its level. keyword: index. bonus: log-probability that is added to the keyword's score. before_vowel:
    as in `Spelling`.
    """

    node: int
    keyword: int
    spelling: Spelling
    bonus: float
    before_vowel: bool


@dataclass(frozen=True)
class Level:
    """The nodes of one depth: each is a letter after the row of letters that leads to its parent.

    All arrays have the shape (nodes,). parents: indices in the level before. letters: indices in `Trie.letters`.
    between: whether a word ends before the letter. repeats: whether the letter is that of the parent, so that CTC needs
    a blank between them. bonus: highest one of a keyword at the node or below. ends: the keywords at the nodes.
    """

    parents: NDArray[np.intp]
    letters: NDArray[np.intp]
    between: NDArray[np.bool_]
    repeats: NDArray[np.bool_]
    bonus: NDArray[np.float64]
    ends: tuple[End, ...]


@dataclass(frozen=True)
class Trie:
    """The keywords, and the levels of their trie. letters: the letters that occur. longest: letters of a keyword."""

    keywords: tuple[Keyword, ...]
    letters: tuple[str, ...]
    levels: tuple[Level, ...]


def build_trie(keywords: Sequence[Keyword], letters: Letters, boost: float) -> Trie:
    """The trie of the keywords' spellings. boost: factor on the bonus of every keyword.

    Raises InvalidParameter for a keyword that the model cannot write.
    """
    crowding = math.log(max(1.0, len(keywords) / FEW_KEYWORDS))
    used: dict[str, int] = {}
    nodes: list[dict[tuple[int, int, bool], int]] = []
    ends: list[list[End]] = []
    for number, keyword in enumerate(keywords):
        for spelling in letters.spellings(keyword):
            parent = 0
            for depth, letter in enumerate(spelling.letters):
                if depth == len(nodes):
                    nodes.append({})
                    ends.append([])
                between = depth > 0 and spelling.words[depth] != spelling.words[depth - 1]
                key = parent, used.setdefault(letter, len(used)), between
                parent = nodes[depth].setdefault(key, len(nodes[depth]))
            bonus = boost * keyword.boost * LETTER_BONUS * (len(spelling.letters) - FIRST_LETTERS)
            bonus = max(bonus - crowding, min(bonus, LETTER_BONUS))  # what the model writes anyway is found
            ends[len(spelling.letters) - 1].append(End(parent, number, spelling, bonus, spelling.before_vowel))
    return Trie(tuple(keywords), tuple(used), _levels(nodes, ends))


def _levels(nodes: list[dict[tuple[int, int, bool], int]], ends: list[list[End]]) -> tuple[Level, ...]:
    """The levels, from the deepest up, because the bonus of a node is that of the keywords below it."""
    levels: list[Level] = []
    for depth in reversed(range(len(nodes))):
        keys = list(nodes[depth])
        bonus = np.zeros(len(keys))
        for end in ends[depth]:
            bonus[end.node] = max(bonus[end.node], end.bonus)
        if levels:
            np.maximum.at(bonus, levels[-1].parents, levels[-1].bonus)
        parents = np.array([parent for parent, _, _ in keys], dtype=np.intp)
        letters = np.array([letter for _, letter, _ in keys], dtype=np.intp)
        repeats = np.zeros(len(keys), dtype=np.bool_)
        if depth:
            before = [letter for _, letter, _ in nodes[depth - 1]]
            repeats = np.array([before[parent] == letter for parent, letter, _ in keys], dtype=np.bool_)
        between = np.array([between for _, _, between in keys], dtype=np.bool_)
        levels.append(Level(parents, letters, between, repeats, bonus, tuple(ends[depth])))
    return tuple(reversed(levels))
