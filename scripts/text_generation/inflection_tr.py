"""Inflect Turkish words: vowel harmony, consonant softening, tenses and persons. Endings are in data files."""

import re
from collections.abc import Mapping, Set
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from scripts.text_generation.data_files import DATA, DataFileError, Entry, Row, read_list, read_table

VOWELS = "aeıioöuü"
_HARD = "fstkçşhp"
_FRONTED = str.maketrans("aıou", "eiöü")
_HIGH = {"a": "ı", "ı": "ı", "e": "i", "i": "i", "o": "u", "u": "u", "ö": "ü", "ü": "ü"}
_SOFTENED = {"k": "ğ", "ç": "c", "p": "b"}

PERSONS = ("1s", "2s", "3s", "1p", "2p", "3p")
TENSES = ("present", "past", "future", "aorist", "reported", "must", "can", "conditional", "was", "would")

_LETTERS = r"[^\W\d_]+(?: [^\W\d_]+)*"
_ENTRY = re.compile(rf"(?P<base>{_LETTERS})(?P<front>\*?)(?:(?P<hard>!)|(?P<slash>/)(?P<soft>{_LETTERS})?)?")
_SUFFIX = re.compile(r"(?:\([Iyns]\))?[ACDIa-zçğıöşü ]+")


@dataclass(frozen=True)
class Endings:
    """The tables of endings. Suffixes are in the notation of `attach`.

    pronoun, possessive, copula, copula_past, past, negative_aorist: by person; `past` is also used in the conditional.
    case, case_after_third: by case, after a stem and after a possessive ending of the third person. verb_form: by the
    name of a form without person. apostrophe: suffixes that templates use directly, and whether an apostrophe separates
    them from a proper name. aorist_ir, aorist_ar: verb roots with an irregular aorist.
    """

    pronoun: Mapping[str, str]
    possessive: Mapping[str, str]
    copula: Mapping[str, str]
    copula_past: Mapping[str, str]
    past: Mapping[str, str]
    negative_aorist: Mapping[str, str]
    case: Mapping[str, str]
    case_after_third: Mapping[str, str]
    verb_form: Mapping[str, str]
    apostrophe: Mapping[str, bool]
    aorist_ir: Set[str]
    aorist_ar: Set[str]


@cache
def endings() -> Endings:
    """The endings in the data files, which are read at the first call."""
    return read_endings(DATA / "inflection")


def read_endings(folder: Path) -> Endings:
    """Read the tables of endings. Raises DataFileError for a file that is missing or malformed."""
    columns = ("pronoun", "possessive", "copula", "copula_past", "past", "negative_aorist")
    persons = read_table(folder / "persons.csv", ("person", *columns))
    for row in persons:
        if row.values["person"] not in PERSONS:
            raise row.entry.error(f"{row.values['person']!r} is not one of the persons {', '.join(PERSONS)}")
    if missing := set(PERSONS) - {row.values["person"] for row in persons}:
        raise DataFileError(f"{folder / 'persons.csv'} has no row for {', '.join(sorted(missing))}")
    cases = read_table(folder / "cases.csv", ("case", "suffix", "after_third_person"))
    forms = read_table(folder / "verb_forms.csv", ("form", "suffix"))
    suffixes = read_table(folder / "suffixes.csv", ("suffix", "apostrophe"))
    for row in suffixes:
        _check_suffix(row, "suffix")
    return Endings(
        pronoun={row.values["person"]: row.values["pronoun"] for row in persons},
        possessive=_suffixes(persons, "possessive"),
        copula=_suffixes(persons, "copula", may_be_empty=True),
        copula_past=_suffixes(persons, "copula_past"),
        past=_suffixes(persons, "past", may_be_empty=True),
        negative_aorist=_suffixes(persons, "negative_aorist"),
        case=_suffixes(cases, "suffix"),
        case_after_third=_suffixes(cases, "after_third_person"),
        verb_form=_suffixes(forms, "suffix", may_be_empty=True),
        apostrophe={row.values["suffix"]: row.flag("apostrophe") for row in suffixes},
        aorist_ir={_root(entry) for entry in read_list(folder / "aorist_ir.txt")},
        aorist_ar={_root(entry) for entry in read_list(folder / "aorist_ar.txt")},
    )


def _suffixes(rows: list[Row], column: str, may_be_empty: bool = False) -> dict[str, str]:
    """Value of the first column -> suffix in `column`. Raises DataFileError for a malformed suffix."""
    for row in rows:
        if row.values[column] or not may_be_empty:
            _check_suffix(row, column)
    return {next(iter(row.values.values())): row.values[column] for row in rows}


def _check_suffix(row: Row, column: str) -> None:
    if not _SUFFIX.fullmatch(row.values[column]):
        raise row.entry.error(f"{row.values[column]!r} in the column {column} is not a suffix")


def _root(entry: Entry) -> str:
    if not (entry.text.isalpha() and entry.text.islower()):
        raise entry.error(f"{entry.text!r} is not a verb root, which has only lower-case letters")
    return entry.text


@dataclass(frozen=True)
class Word:
    """A noun or verb stem: its plain form, its form before a vowel, and whether it takes front-vowel endings."""

    base: str
    soft: str
    front: bool = False


def parse_word(entry: str, softens: bool = True) -> Word:
    """Parse an entry of a word list, with its marks: `saat*`, `hukuk!`, `şehir/şehr`, `kilit/`.

    `*` means front-vowel endings, `!` a final k, ç or p that stays hard, `/stem` the stem before a vowel, and a bare
    `/` a final t that softens. softens: whether an unmarked word softens. Raises ValueError if the entry is malformed.
    """
    match = _ENTRY.fullmatch(entry)
    if not match:
        raise ValueError(f"{entry!r} is malformed: an entry is a word, optionally with *, then !, / or /stem")
    base, soft = match["base"], match["soft"]
    if match["slash"] and not soft:
        if base[-1] != "t":
            raise ValueError(f"{entry!r} ends in /, which softens a t; write the stem before a vowel after the /")
        soft = base[:-1] + "d"
    elif not match["slash"]:
        soft = _softened(base) if softens and not match["hard"] else base
    for stem in (base, soft):
        if not set(stem.lower()) & set(VOWELS):
            raise ValueError(f"{entry!r} has a stem without a vowel")
    return Word(base, soft, bool(match["front"]))


def parse_verb(entry: str) -> Word:
    """Parse a verb stem or a proper name. Unlike other nouns, they soften only if they are marked."""
    return parse_word(entry, softens=False)


def attach(word: Word | str, suffix: str) -> str:
    """Attach a suffix to a word.

    In the suffix, A and I follow vowel harmony, D and C assimilate to the preceding consonant, and `(y)` is a buffer.
    """
    stem = Word(word, word) if isinstance(word, str) else word
    if not suffix:
        return stem.base
    ends_in_vowel = stem.base[-1] in VOWELS and stem.soft[-1] in VOWELS
    if suffix[0] == "(":
        buffer, suffix = suffix[1], suffix[3:]
        if suffix[0] not in "AI":
            ends_in_vowel = stem.base[-1] in VOWELS
        if (buffer == "I") != ends_in_vowel:
            suffix = buffer + suffix
    result = stem.soft if suffix[0] in "AI" + VOWELS else stem.base
    vowel = next(letter for letter in reversed(result.lower()) if letter in VOWELS)
    if stem.front:
        vowel = vowel.translate(_FRONTED)
    for letter in suffix:
        if letter == "A":
            letter = "a" if vowel in "aıou" else "e"
        elif letter == "I":
            letter = _HIGH[vowel]
        elif letter == "D":
            letter = "t" if result[-1] in _HARD else "d"
        elif letter == "C":
            letter = "ç" if result[-1] in _HARD else "c"
        if letter in VOWELS:
            vowel = letter
        result += letter
    return result


def conjugate(verb: Word, tense: str, person: str, negative: bool = False) -> str:
    """The finite form of a verb, in one of `TENSES` and `PERSONS`."""
    if tense == "aorist":
        if negative:
            return attach(verb.base, endings().negative_aorist[person])
        return _with_copula(_aorist(verb), person)
    if tense == "can":
        if negative:
            return attach(attach(_raised(verb), "(y)A"), endings().negative_aorist[person])
        return _with_copula(attach(_raised(verb), "(y)Abilir"), person)
    if tense == "conditional":
        aorist = attach(verb.base, "mAz") if negative else _aorist(verb)
        return attach(aorist, "lArsA" if person == "3p" else "sA" + endings().past[person])
    stem = Word(*(attach(verb.base, "mA"),) * 2) if negative else verb
    if tense == "past":
        return attach(stem, "DI" + endings().past[person])
    if tense == "future":
        future = attach(_raised(stem), "(y)AcAk")
        return _with_copula(Word(future, future[:-1] + "ğ"), person)
    if tense == "reported":
        return _with_copula(attach(stem, "mIş"), person)
    if tense == "must":
        return _with_copula(attach(stem, "mAlI"), person)
    present = _present(stem)
    if tense == "present":
        return _with_copula(present, person)
    base = present if tense == "was" else attach(_raised(stem), "(y)AcAk")
    return attach(base, "lArDI" if person == "3p" else "DI" + endings().past[person])


def question(verb: Word, tense: str, person: str, negative: bool = False) -> str:
    """The form of a yes-or-no question, in a tense other than was, would and conditional."""
    if tense == "past" or person == "3p":
        form = conjugate(verb, tense, person, negative)
        return f"{form} {attach(form, 'mI')[len(form) :]}"
    form = conjugate(verb, tense, "3s", negative)
    return f"{form} {attach(attach(form, 'mI'), endings().copula[person])[len(form) :]}"


def nominal(verb: Word, kind: str, person: str = "3s") -> str:
    """A non-finite form: an infinitive, a participle or a converb."""
    if kind == "dik":
        past = attach(verb, "DIk")
        return attach(Word(past, past[:-1] + "ğ"), endings().possessive[person])
    if kind == "acak":
        future = attach(_raised(verb), "(y)AcAk")
        return attach(Word(future, future[:-1] + "ğ"), endings().possessive[person])
    if kind == "ma":
        return attach(attach(verb, "mA"), endings().possessive[person])
    return attach(_raised(verb) if kind.startswith("(y)") else verb, kind)


def _softened(base: str) -> str:
    """Soften the last consonant of a word with more than one syllable."""
    if sum(letter in VOWELS for letter in base) < 2 or base[-1] not in _SOFTENED:
        return base
    if base[-1] == "k" and base[-2] not in VOWELS:
        return base[:-1] + "g" if base[-2] == "n" else base
    return base[:-1] + _SOFTENED[base[-1]]


def _with_copula(form: Word | str, person: str) -> str:
    return attach(form, endings().copula[person])


def _raised(verb: Word) -> Word:
    """Narrow "ye" to "yi" before a y."""
    return Word("yi", "yi") if verb.base == "ye" else verb


def _present(verb: Word) -> str:
    if verb.base == "ye":
        return "yiyor"
    if verb.base[-1] in VOWELS:
        return attach(verb.base[:-1], "Iyor")
    return attach(verb, "Iyor")


def _aorist(verb: Word) -> str:
    root = verb.base.rsplit(" ", 1)[-1]
    if root[-1] in VOWELS:
        return verb.base + "r"
    single = sum(letter in VOWELS for letter in root) == 1
    wide = root in endings().aorist_ar or (single and root not in endings().aorist_ir)
    return attach(verb, "Ar" if wide else "Ir")
