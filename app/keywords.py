"""Keywords: names and terms that a caller expects in the speech, in the spelling that the text should have.

A caller writes `Kadıköy`, `Kadıköy:2` with a boost of its own, or `WhatsApp=vatsap` for a term that is not said as it
is written.
"""

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass

from app.errors import InvalidParameter

FIELD = "keywords"
"""Name of the form field, for errors."""
MAX_KEYWORDS = 500
"""Most keywords of a request. With so many, spotting takes a small part of the model's time (docs/keywords.md)."""
MAX_CHARACTERS = 100
"""Most characters of a keyword, and of how it is said: eight words of twelve letters. A spotter holds back the words of
so long a time."""
MAX_BOOST = 5.0
SEPARATORS = re.compile(r"[,;\n\r]+")
BOOST = re.compile(r"(.*):\s*(-?[0-9]*\.?[0-9]+)\s*", re.DOTALL)


@dataclass(frozen=True)
class Keyword:
    """A name or a term, of one or several words.

    text: as it should be written. boost: factor on how much the model's evidence may contradict the keyword, from 0 to
    `MAX_BOOST`. sounds_like: how it is said, in the letters of the language; empty if it is said as it is written.
    """

    text: str
    boost: float = 1.0
    sounds_like: str = ""


def parse_keyword(entry: str) -> Keyword:
    """The keyword of `term`, `term:boost`, `term=sound` or `term=sound:boost`. Raises InvalidParameter."""
    term, boost = entry, 1.0
    if match := BOOST.fullmatch(entry):
        term, boost = match[1], float(match[2])
    text, _, sound = term.partition("=")
    text, sound = " ".join(text.split()), " ".join(sound.split())
    if not any(map(str.isalnum, text)):
        raise InvalidParameter(f"the keyword {_shown(entry)} has no letters", field=FIELD)
    if max(len(text), len(sound)) > MAX_CHARACTERS:
        raise InvalidParameter(
            f"the keyword {_shown(entry)} is longer than {MAX_CHARACTERS} characters",
            field=FIELD,
            max_characters=MAX_CHARACTERS,
        )
    if not (math.isfinite(boost) and 0 < boost <= MAX_BOOST):
        raise InvalidParameter(
            f"the boost of {_shown(entry)} must be above 0, and at most {MAX_BOOST:g}", field=FIELD, max_boost=MAX_BOOST
        )
    return Keyword(text, boost, sound)


def parse_keywords(texts: Iterable[str]) -> tuple[Keyword, ...]:
    """The keywords of texts, each with one or several entries between commas, semicolons or line ends.

    Repeated keywords count once, and the last boost counts. Raises InvalidParameter for an entry that is no keyword,
    and if there are more than `MAX_KEYWORDS`.
    """
    found: dict[tuple[str, str], Keyword] = {}
    for text in texts:
        for entry in SEPARATORS.split(text):
            if entry.strip():
                keyword = parse_keyword(entry)
                found[keyword.text, keyword.sounds_like] = keyword
    if len(found) > MAX_KEYWORDS:
        raise InvalidParameter(
            f"there are {len(found)} keywords; {MAX_KEYWORDS} is the limit", field=FIELD, max_keywords=MAX_KEYWORDS
        )
    return tuple(found.values())


def added(keywords: tuple[Keyword, ...], own: tuple[Keyword, ...]) -> tuple[Keyword, ...]:
    """The keywords of the settings with those of a request, whose boost counts for those that are in both."""
    found = {(keyword.text, keyword.sounds_like): keyword for keyword in (*keywords, *own)}
    return tuple(found.values())


def _shown(entry: str) -> str:
    """An entry as messages repeat it."""
    shown = " ".join(entry.split())
    return repr(shown if len(shown) <= 40 else f"{shown[:40]}...")
