"""The words of the text generator, in pools from which templates draw them. Each pool is a file."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TypeVar

from scripts.speech.text import TURKISH_ALPHABET
from scripts.text_generation.data_files import DataFileError, read_list
from scripts.text_generation.inflection_tr import Word, parse_verb, parse_word

TURKISH_CAPITALS = "ABCÇDEFGĞHIİJKLMNOÖPRSŞTUÜVYZ"

ANY = ("person", "thing", "place", "food", "animal", "idea", "nature")
"""The pools of nouns that the pool `any` combines."""
FIRST_NAMES = ("man", "woman")
"""The pools of names that the pool `name` combines."""
DATES = ("month", "day")
"""The pools of nouns in dates."""
RANGES = ("num", "ord")
"""Numbers that are drawn from a range."""
NUMBERS = ("frac", "clock", "year", "date", "phone", "digits", "code", "percent", "money")
"""Numbers without a range."""

_WITHOUT_LIST = ("any", "name", "pred", "subj", "when", *RANGES, *NUMBERS)
"""Pools that are not lists. No list may have one of these names."""

_NAME = re.compile(rf"[{TURKISH_CAPITALS}][{TURKISH_ALPHABET}]*(?: [{TURKISH_CAPITALS}][{TURKISH_ALPHABET}]*)*\*?")
_T = TypeVar("_T")


@dataclass(frozen=True)
class Lexicon:
    """Pool -> its words. Each field is a folder of lists, and the name of a list is that of its pool."""

    nouns: Mapping[str, Sequence[Word]]
    names: Mapping[str, Sequence[Word]]
    verbs: Mapping[str, Sequence[Word]]
    adjectives: Mapping[str, Sequence[Word]]
    uninflected: Mapping[str, Sequence[str]]


def read_lexicon(folder: Path) -> Lexicon:
    """Read the word lists in a folder. Raises DataFileError for a list that is missing, malformed or misnamed."""
    _check_names(folder)
    nouns = _read_pools(folder / "nouns", _noun, (*ANY, *DATES))
    nouns["any"] = {entry: word for pool in ANY for entry, word in nouns[pool].items()}
    names = _read_pools(folder / "names", _name, FIRST_NAMES)
    names["name"] = {entry: word for pool in FIRST_NAMES for entry, word in names[pool].items()}
    adjectives = _read_pools(folder / "adjectives", _noun, ("adj", "attributive"))
    attributive = read_list(folder / "adjectives" / "attributive.txt")
    for entry in attributive:
        if entry.text not in adjectives["adj"]:
            raise entry.error(f"{entry.text!r} is not in adj.txt")
    not_predicates = {entry.text for entry in attributive}
    adjectives["pred"] = {entry: word for entry, word in adjectives["adj"].items() if entry not in not_predicates}
    return Lexicon(
        nouns=_words(nouns),
        names=_words(names),
        verbs=_words(_read_pools(folder / "verbs", _verb)),
        adjectives=_words(adjectives),
        uninflected=_words(_read_pools(folder / "uninflected", _uninflected)),
    )


def _check_names(folder: Path) -> None:
    """Raise DataFileError for a list with the name of another pool."""
    paths: dict[str, Path | None] = dict.fromkeys(_WITHOUT_LIST)
    for kind in fields(Lexicon):
        for path in sorted((folder / kind.name).glob("*.txt")):
            if path.stem in paths:
                raise DataFileError(f"{path} has the name of another pool: {paths[path.stem] or path.stem}")
            paths[path.stem] = path


def _read_pools(folder: Path, parse: Callable[[str], _T], required: Iterable[str] = ()) -> dict[str, dict[str, _T]]:
    """Read all lists of a folder: pool -> entry -> word."""
    pools: dict[str, dict[str, _T]] = {}
    for pool in sorted({path.stem for path in folder.glob("*.txt")} | set(required)):
        pools[pool] = {}
        for entry in read_list(folder / f"{pool}.txt"):
            try:
                pools[pool][entry.text] = parse(entry.text)
            except ValueError as error:
                raise entry.error(error) from error
    return pools


def _words(pools: Mapping[str, Mapping[str, _T]]) -> dict[str, list[_T]]:
    return {pool: list(words.values()) for pool, words in pools.items()}


def _noun(entry: str) -> Word:
    _check_letters(entry, " *!/")
    return parse_word(entry)


def _verb(entry: str) -> Word:
    _check_letters(entry, " *!/")
    return parse_verb(entry)


def _name(entry: str) -> Word:
    if not _NAME.fullmatch(entry):
        raise ValueError(f"{entry!r} is not a name: a capital, then lower-case Turkish letters, then optionally *")
    return parse_verb(entry)


def _uninflected(entry: str) -> str:
    _check_letters(entry, " ")
    return entry


def _check_letters(entry: str, others: str) -> None:
    if odd := set(entry) - set(TURKISH_ALPHABET + others):
        raise ValueError(f"{entry!r} has {min(odd)!r}, which is not a lower-case Turkish letter")
