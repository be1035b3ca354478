"""Sentence templates: read and check the files that contain them.

`{a|b}` is a choice, which may contain slots and choices. `[pool.step.step]` is a slot: a word from a pool, inflected in
steps, or a number such as `[num:2-90.dat]`. README.md in the folder of the data files describes all pools and steps.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from scripts.speech.numbers_tr import LARGEST
from scripts.speech.text import TURKISH_ALPHABET
from scripts.text_generation.data_files import DATA, DataFileError, read_list, read_table
from scripts.text_generation.inflection_tr import PERSONS, TENSES, endings
from scripts.text_generation.lexicon import NUMBERS, RANGES, TURKISH_CAPITALS, Lexicon, read_lexicon

CHOICE = re.compile(r"\{([^{}]*)\}")
SLOT = re.compile(r"\[([^\]]+)\]")

PARTICIPLES = ("dik", "acak", "ma")
"""Verb forms that take a possessive ending and then a case."""

_CHARACTERS = set(TURKISH_ALPHABET + TURKISH_CAPITALS + "0123456789 .,:?!'%{|}")


@dataclass(frozen=True)
class Tense:
    """How a tense is used.

    weight: relative frequency. asked: whether it is used in questions. when: the pool of its time expressions.
    """

    weight: int
    asked: bool
    when: str


@dataclass(frozen=True)
class Domain:
    """A topic of sentences. weight: relative frequency."""

    weight: int
    templates: Sequence[str]


@dataclass(frozen=True)
class TextData:
    """The words, tenses and templates of sentences."""

    lexicon: Lexicon
    tenses: Mapping[str, Tense]
    domains: Mapping[str, Domain]


@dataclass(frozen=True)
class Slot:
    """A slot of a template. limits: the smallest and the largest number, if it has a range."""

    pool: str
    steps: tuple[str, ...]
    limits: tuple[int, int] | None = None


@cache
def text_data() -> TextData:
    """The words and templates in the data files, which are read at the first call."""
    return read_text_data(DATA)


def read_text_data(folder: Path) -> TextData:
    """Read and check all words, tenses and templates in a folder. Raises DataFileError if anything is malformed."""
    lexicon = read_lexicon(folder)
    return TextData(lexicon, _read_tenses(folder / "tenses.csv", lexicon), _read_domains(folder, lexicon))


def _read_tenses(path: Path, lexicon: Lexicon) -> dict[str, Tense]:
    tenses: dict[str, Tense] = {}
    for row in read_table(path, ("tense", "weight", "question", "when")):
        tense, when = row.values["tense"], row.values["when"]
        if tense not in TENSES:
            raise row.entry.error(f"{tense!r} is not one of the tenses {', '.join(TENSES)}")
        if when not in lexicon.uninflected:
            raise row.entry.error(f"there is no list uninflected/{when}.txt")
        tenses[tense] = Tense(row.weight("weight"), row.flag("question"), when)
    return tenses


def _read_domains(folder: Path, lexicon: Lexicon) -> dict[str, Domain]:
    domains: dict[str, Domain] = {}
    for row in read_table(folder / "domains.csv", ("domain", "weight")):
        templates = read_list(folder / "templates" / f"{row.values['domain']}.txt")
        for template in templates:
            try:
                check_template(template.text, lexicon)
            except ValueError as error:
                raise template.error(error) from error
        domains[row.values["domain"]] = Domain(row.weight("weight"), [template.text for template in templates])
    for path in sorted((folder / "templates").glob("*.txt")):
        if path.stem not in domains:
            raise DataFileError(f"{path} has no row in domains.csv")
    return domains


def parse_slot(text: str) -> Slot:
    """Parse the text between the brackets of a slot. Raises ValueError for a malformed range."""
    head, *steps = text.split(".")
    pool, colon, given = head.partition(":")
    if not colon:
        return Slot(pool, tuple(steps))
    limits = re.fullmatch(r"(\d+)-(\d+)", given, re.ASCII)
    if not limits or not int(limits[1]) <= int(limits[2]) <= LARGEST:
        raise ValueError(f"[{text}] has the limits {given!r}, but limits are like 2-90, and at most {LARGEST}")
    return Slot(pool, tuple(steps), (int(limits[1]), int(limits[2])))


def check_template(template: str, lexicon: Lexicon) -> None:
    """Raise ValueError, with the reason, if a template is malformed or uses a pool that does not exist."""
    for slot in SLOT.findall(template):
        _check_slot(slot, lexicon)
    # Each slot is replaced by a letter, except for the subject, which may be empty.
    rest = SLOT.sub(lambda match: "" if match[1] == "subj" else "a", template)
    if odd := set(rest) - _CHARACTERS:
        raise ValueError(f"{min(odd)!r} is not allowed here in a template")
    while CHOICE.search(rest):
        rest = CHOICE.sub(lambda match: min(match[1].split("|"), key=len), rest)
    if unpaired := set(rest) & set("{|}"):
        raise ValueError(f"{min(unpaired)!r} is outside of a choice, or unpaired")
    if not rest.strip():
        raise ValueError("the sentence can be empty")


def _check_slot(text: str, lexicon: Lexicon) -> None:
    slot = parse_slot(text)
    if slot.limits is None and slot.pool in RANGES:
        raise ValueError(f"[{text}] needs limits, like 2-90")
    if slot.limits is not None and slot.pool not in RANGES:
        raise ValueError(f"[{text}] takes no limits")
    steps = list(slot.steps)
    if slot.pool in lexicon.verbs:
        fits = _is_verb_form(steps)
    elif slot.pool in lexicon.adjectives:
        fits = steps in ([], ["cop"], ["past"], ["past3"])
    elif slot.pool in lexicon.uninflected or slot.pool in ("subj", "when"):
        fits = not steps
    elif slot.pool in lexicon.nouns or slot.pool in lexicon.names or slot.pool in RANGES + NUMBERS:
        fits = set(steps) <= {"pl", "R", "P", "C", "cop", *PERSONS, *endings().case, *endings().apostrophe}
    else:
        raise ValueError(f"[{text}] uses the pool {slot.pool!r}, which does not exist")
    if not fits:
        raise ValueError(f"[{text}] has steps that {slot.pool!r} does not take: {'.'.join(steps) or 'none'}")


def _is_verb_form(steps: list[str]) -> bool:
    negative = steps[:1] == ["neg"]
    if negative:
        steps = steps[1:]
    form, *rest = steps or [""]
    persons, cases = {"P", *PERSONS}, {"C", *endings().case}
    if form in ("T", *TENSES):
        return len(rest) <= 1 and set(rest) <= persons
    if form in PARTICIPLES:
        return not negative and len(rest) <= 2 and set(rest[:1]) <= persons and set(rest[1:]) <= cases
    return not negative and not rest and (form in endings().verb_form or form in ("iken", "q"))
