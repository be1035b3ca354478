"""Endings that are written together with a keyword: `Ankara'da`, `Ahmet'in`, `doktorlar`.

Turkish has many. They are found in the letters that follow a keyword up to the next space, whatever their vowels: those
of a foreign name follow how it is said, not how it is written. In English it is the possessive.
"""

import re

MAX_LETTERS = 16
"""Longer endings (`-lerindekilerdenmiş`) exist, but are rarely said."""
VOWELS = frozenset("aeıioöuü")
SHARP, FLAT = "[ıiuü]", "[ae]"
POSSESSIVE = f"(?:{SHARP}?m(?:{SHARP}z)?|s?{SHARP}|{SHARP}?n{SHARP}z|l{FLAT}r{SHARP})"
CASE = (
    f"(?:[yn]?{SHARP}|[yn]?{FLAT}|n?[dt]{FLAT}(?:n|ki(?:l{FLAT}r)?(?:n?{SHARP}n?|n?{FLAT}|n?d{FLAT}n?)?)?"
    f"|n?{SHARP}n(?:ki)?|y?l{FLAT})"
)
COPULA = (
    f"(?:[dt]{SHARP}r|y?[dt]{SHARP}(?:m|n|k|l{FLAT}r)?|y?m{SHARP}ş(?:l{FLAT}r)?|y?s{FLAT}|y?ken|y?{SHARP}m|y?{SHARP}z)"
)
INFLECTED = re.compile(f"(?=.){POSSESSIVE}?{CASE}?{COPULA}?")
"""Endings that names take after an apostrophe."""
DERIVED = re.compile(
    f"(?:l{FLAT}r|l{SHARP}|s{SHARP}z|l{SHARP}[kğ]|[cç]{SHARP}|[cç]{FLAT}|gil)+{POSSESSIVE}?{CASE}?{COPULA}?"
)
"""Plurals and derived words, which names take without an apostrophe: `Ahmetler`, `Ankaralı` (Türk Dil Kurumu, Yazım
Kılavuzu)."""
POSSESSIVE_S = "s"


def is_suffix(letters: str, language: str | None) -> bool:
    """Whether the letters between a keyword and the next space can be an ending of it."""
    if not letters or len(letters) > MAX_LETTERS:
        return False
    if language == "tr":
        return bool(INFLECTED.fullmatch(letters) or DERIVED.fullmatch(letters))
    return language == "en" and letters == POSSESSIVE_S


def with_suffix(word: str, suffix: str, language: str | None) -> str:
    """A word with an ending, as it is written: names, which have a capital, take an apostrophe."""
    if language == "en":
        return f"{word}'{suffix}"
    apostrophe = any(map(str.isupper, word)) and (INFLECTED.fullmatch(suffix) or not DERIVED.fullmatch(suffix))
    return f"{word}'{suffix}" if apostrophe else word + suffix
