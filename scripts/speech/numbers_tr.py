"""Spell Turkish numbers: integers, and the digits in a text."""

import re

LARGEST = 10**12

_ONES = ("", "bir", "iki", "üç", "dört", "beş", "altı", "yedi", "sekiz", "dokuz")
_TENS = ("", "on", "yirmi", "otuz", "kırk", "elli", "altmış", "yetmiş", "seksen", "doksan")
_SCALES = ("", "bin", "milyon", "milyar", "trilyon")
_MONTHS = (
    "ocak",
    "şubat",
    "mart",
    "nisan",
    "mayıs",
    "haziran",
    "temmuz",
    "ağustos",
    "eylül",
    "ekim",
    "kasım",
    "aralık",
)
_ORDINAL_ENDINGS = {
    "sıfır": "ıncı", "bir": "inci", "iki": "nci", "üç": "üncü", "dört": "üncü", "beş": "inci", "altı": "ncı",
    "yedi": "nci", "sekiz": "inci", "dokuz": "uncu", "on": "uncu", "yirmi": "nci", "otuz": "uncu", "kırk": "ıncı",
    "elli": "nci", "altmış": "ıncı", "yetmiş": "inci", "seksen": "inci", "doksan": "ıncı", "yüz": "üncü",
    "bin": "inci", "milyon": "uncu", "milyar": "ıncı", "trilyon": "uncu",
}  # fmt: skip

_WHOLE = r"\d{1,3}(?:\.\d{3})+(?!\d)|\d+"
_TOKEN = re.compile(
    r"(?:(?<!\S)(?P<minus>-))?"
    r"(?P<percent>%\s?)?"
    r"(?:"
    r"(?P<day>[0-3]?\d)[./](?P<month>1[0-2]|0?[1-9])[./](?P<year>\d{4})(?!\d)"
    r"|(?P<hour>[01]?\d|2[0-3])(?::(?P<minute>[0-5]\d)|\.(?P<dotted>[0-5]\d))(?![\d:])"
    rf"|(?P<whole>{_WHOLE})(?:,(?P<fraction>\d+))?(?P<ordinal>\.(?=\s[a-zçğıöşü]))?"
    r")"
    r"(?P<after>%(?!\d))?"
    r"(?:['’](?P<suffix>[a-zçğıöşü]+))?"
)
_LETTER = "[^\\W\\d_]"
_UNIT = re.compile(rf"(?:{_LETTER}|[^\W\d_aeıioöuüâîûAEIİOÖUÜ]+)(?!{_LETTER})")
"""A unit that is a separate word after a number: one letter, or letters without a vowel, which no suffix is."""


def turkish_number(n: int) -> str:
    """Spell an integer from 0 to 10**12 in Turkish, in words separated by spaces. Raises ValueError for any other."""
    if not 0 <= n <= LARGEST:
        raise ValueError(f"the number must lie between 0 and {LARGEST}, not {n}")
    if n == 0:
        return "sıfır"
    groups: list[str] = []
    for scale in _SCALES:
        n, group = divmod(n, 1000)
        if group == 1 and scale == "bin":
            groups.append("bin")
        elif group:
            groups.append(f"{_below_thousand(group)} {scale}".strip())
    return " ".join(reversed(groups))


def turkish_ordinal(n: int) -> str:
    """Spell an ordinal: 3 is "üçüncü", 24 is "yirmi dördüncü"."""
    words = turkish_number(n)
    return join_suffix(words, _ORDINAL_ENDINGS[words.rsplit(" ", 1)[-1]])


def join_suffix(words: str, suffix: str) -> str:
    """Append a suffix, whose vowels fit already, to number words. "dört" softens to "dörd" before a vowel."""
    if words.endswith("dört") and suffix[:1] in set("aeıioöuü"):
        words = words[:-1] + "d"
    return words + suffix


def spell_numbers(text: str) -> str:
    """Replace the digits in a text by words: numbers, percentages, clock times, dates and ordinals.

    A space is inserted between a number and a letter or unit (`A4`, `2x`, `5cm`), but not before a suffix (`90lar`).
    """
    return _TOKEN.sub(_spell_match, text)


def _below_thousand(n: int) -> str:
    hundreds, rest = divmod(n, 100)
    words: list[str] = []
    if hundreds > 1:
        words.append(_ONES[hundreds])
    if hundreds:
        words.append("yüz")
    words += [word for word in (_TENS[rest // 10], _ONES[rest % 10]) if word]
    return " ".join(words)


def _digits(digits: str) -> str:
    """Spell a run of digits. Leading zeros are spelled one by one, and so is a run that is too long for a number."""
    if len(digits) > len(str(LARGEST)) - 1:
        return " ".join(turkish_number(int(digit)) for digit in digits)
    rest = digits.lstrip("0")
    words = ["sıfır"] * (len(digits) - len(rest))
    if rest:
        words.append(turkish_number(int(rest)))
    return " ".join(words)


def _clock(hour: str, minute: str) -> str:
    """Spell a clock time. A full hour has no minutes."""
    hour_words = turkish_number(int(hour))
    return hour_words if minute == "00" else f"{hour_words} {_digits(minute)}"


def _spell_match(match: re.Match[str]) -> str:
    part = match.groupdict()
    if part["day"]:
        words = f"{turkish_number(int(part['day']))} {_MONTHS[int(part['month']) - 1]} {_digits(part['year'])}"
    elif part["hour"]:
        words = _clock(part["hour"], part["minute"] or part["dotted"])
    else:
        digits = part["whole"].replace(".", "")
        if part["ordinal"]:
            words = turkish_ordinal(int(digits)) if int(digits) <= LARGEST else _digits(digits)
        else:
            words = _digits(digits)
        if part["fraction"]:
            words += f" virgül {_digits(part['fraction'])}"
    if part["percent"] or part["after"]:
        words = f"yüzde {words}"
    if part["minus"]:
        words = f"eksi {words}"
    text, start, end = match.string, match.start(), match.end()
    before = " " if start and text[start - 1].isalpha() else ""
    after = " " if not part["suffix"] and _UNIT.match(text, end) else ""
    return before + join_suffix(words, part["suffix"] or "") + after
