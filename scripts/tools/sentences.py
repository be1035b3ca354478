"""Generate Turkish sentences, with numbers in words, as text for synthetic training speech.

    python scripts/tools/sentences.py --count 15000 --seed 1 --out sentences.txt

Words, endings and templates are data files in `text_generation/data_tr`, whose README.md describes their notation.
"""

import argparse
import random
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from scripts.speech.numbers_tr import join_suffix, spell_numbers, turkish_number, turkish_ordinal
from scripts.text_generation.data_files import DataFileError
from scripts.text_generation.inflection_tr import (
    PERSONS,
    Word,
    attach,
    conjugate,
    endings,
    nominal,
    parse_word,
    question,
)
from scripts.text_generation.templates import CHOICE, PARTICIPLES, SLOT, Slot, parse_slot, text_data

MAX_WORDS = 14
_CURRENCIES = ("lira", "lira", "lira", "dolar", "avro")
"""Lira is three times as frequent as the others."""


class _Generator:
    """Generates sentences from templates. Each sentence has one person and one tense."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        data = text_data()
        self._lexicon = data.lexicon
        self._tenses = data.tenses
        self._tense_weights = [tense.weight for tense in data.tenses.values()]
        self._domains = list(data.domains.values())
        self._domain_weights = [domain.weight for domain in self._domains]
        self._person = "3s"
        self._tense = "past"

    def sentence(self) -> str:
        """Generate one sentence, with a capital and a punctuation mark at its end."""
        self._person = self._random.choice(PERSONS)
        self._tense = self._random.choices(list(self._tenses), self._tense_weights)[0]
        domain = self._random.choices(self._domains, self._domain_weights)[0]
        text = self._random.choice(domain.templates)
        while CHOICE.search(text):
            text = CHOICE.sub(lambda match: self._random.choice(match[1].split("|")), text)
        text = SLOT.sub(lambda match: self._slot(parse_slot(match[1])), text)
        text = " ".join(spell_numbers(text).split())
        first = {"i": "İ", "ı": "I"}.get(text[0], text[0].upper())
        return first + text[1:] + ("" if text[-1] in ".?!" else ".")

    def _slot(self, slot: Slot) -> str:
        pool, lexicon = slot.pool, self._lexicon
        if pool in lexicon.nouns:
            return self._inflect(self._random.choice(lexicon.nouns[pool]), slot.steps)
        if pool in lexicon.names:
            return self._inflect(self._random.choice(lexicon.names[pool]), slot.steps, proper=True)
        if pool in lexicon.verbs:
            return self._verb(self._random.choice(lexicon.verbs[pool]), slot.steps)
        if pool in lexicon.adjectives:
            return self._adjective(self._random.choice(lexicon.adjectives[pool]), slot.steps)
        if pool in lexicon.uninflected:
            return self._random.choice(lexicon.uninflected[pool])
        if pool == "subj":
            return self._subject()
        if pool == "when":
            return self._random.choice(lexicon.uninflected[self._tenses[self._tense].when])
        return self._inflect(_spoken(self._number(slot)), slot.steps)

    def _subject(self) -> str:
        if self._person == "3s":
            subject = self._random.choice(["name", "name", "person", "person.1s", "person.1p"])
            return self._slot(parse_slot(subject))
        if self._person == "3p":
            return self._slot(parse_slot("person.pl")) if self._random.random() < 0.6 else endings().pronoun["3p"]
        return endings().pronoun[self._person] if self._random.random() < 0.35 else ""

    def _inflect(self, word: Word, steps: Sequence[str], proper: bool = False) -> str:
        form: Word | str = word
        plural = third = False
        for step in steps:
            if step == "R":
                step = self._random.choice(["", "", "", "", *PERSONS])
            elif step == "P":
                step = self._person
            elif step == "C":
                step = self._random.choice(list(endings().case))
            if not step:
                continue
            if step == "pl":
                suffix, plural = "lAr", True
            elif step in endings().possessive:
                suffix = "I" if plural and step == "3p" else endings().possessive[step]
                third = step[0] == "3"
            elif step in endings().case:
                suffix = (endings().case_after_third if third else endings().case)[step]
            elif step == "cop":
                suffix = endings().copula[self._person]
            else:
                suffix = step
            previous = form
            form = attach(form, suffix)
            if proper and suffix and endings().apostrophe.get(step, True) and isinstance(previous, Word):
                form = f"{previous.base}'{form[len(previous.base) :]}"
        return form if isinstance(form, str) else form.base

    def _adjective(self, word: Word, steps: Sequence[str]) -> str:
        if steps == ("cop",):
            return attach(word, endings().copula[self._person])
        if steps == ("past",):
            return attach(word, endings().copula_past[self._person])
        if steps == ("past3",):
            return attach(word, endings().copula_past["3s"])
        return word.base

    def _verb(self, verb: Word, steps: Sequence[str]) -> str:
        negative = steps[0] == "neg"
        kind, *rest = steps[1:] if negative else steps
        person = self._person if rest[:1] in ([], ["P"]) else rest[0]
        if kind in endings().verb_form:
            return nominal(verb, endings().verb_form[kind])
        if kind == "iken":
            return attach(conjugate(verb, "aorist", "3s"), "ken")
        if kind == "q":
            tense = self._tense if self._tenses[self._tense].asked else "past"
            return question(verb, tense, person, self._random.random() < 0.15)
        if kind in PARTICIPLES:
            form = nominal(verb, kind, person)
            case = self._random.choice(list(endings().case)) if rest[1:] == ["C"] else "".join(rest[1:])
            table = endings().case_after_third if person[0] == "3" else endings().case
            return attach(form, table[case]) if case else form
        tense = self._tense if kind == "T" else kind
        return conjugate(verb, tense, person, negative or (kind == "T" and self._random.random() < 0.12))

    def _number(self, slot: Slot) -> str:
        pick, kind = self._random.randint, slot.pool
        if slot.limits:
            low, high = slot.limits
            # In large ranges, the magnitude is drawn first, so that short numbers are as frequent as long ones.
            number = pick(low, min(high, low + 10 ** pick(1, len(str(high)))))
            return turkish_number(number) if kind == "num" else turkish_ordinal(number)
        if kind == "frac":
            return f"{attach(_spoken(turkish_number(pick(2, 20))), 'DA')} {turkish_number(pick(1, 19))}"
        if kind == "clock":
            hour = pick(0, 23)
            if self._random.random() < 0.3:
                return f"{turkish_number(hour % 12 or 12)} buçuk"
            minute = self._random.choice([0, 0, *range(5, 60, 5), pick(1, 59)])
            return spell_numbers(f"{hour}:{minute:02}")
        if kind == "year":
            return turkish_number(self._random.choice([pick(1000, 1999), pick(1900, 2035)]))
        if kind == "date":
            date = f"{turkish_number(pick(1, 31))} {self._random.choice(self._lexicon.nouns['month']).base}"
            year, weekday = turkish_number(pick(1950, 2035)), self._random.choice(self._lexicon.nouns["day"]).base
            return date + self._random.choice(["", "", f" {year}", f" {weekday}"])
        if kind == "phone":
            return spell_numbers(f"05{pick(0, 59):02} {pick(100, 999)} {pick(0, 99):02} {pick(0, 99):02}")
        if kind == "digits":
            return " ".join(turkish_number(pick(0, 9)) for _ in range(pick(4, 8)))
        if kind == "code":
            return spell_numbers(" ".join(f"{pick(0, 99):02}" for _ in range(pick(2, 3))))
        if kind == "percent":
            decimals = f",{pick(1, 9)}" if self._random.random() < 0.25 else ""
            return spell_numbers(f"%{pick(1, 100)}{decimals}")
        if kind == "money":
            amount = self._random.choice([pick(1, 99), pick(100, 999), pick(1, 99) * 50, pick(1, 300) * 1000])
            return f"{turkish_number(amount)} {self._random.choice(_CURRENCIES)}"
        raise ValueError(f"no pool or number kind is called {kind!r}")


def _spoken(text: str) -> Word:
    """Take number words as a noun, softened as their last word is."""
    head, space, last = text.rpartition(" ")
    return Word(text, join_suffix(text, "e")[:-1] if last == "dört" else head + space + parse_word(last).soft)


def generate(count: int, seed: int) -> list[str]:
    """Generate `count` distinct sentences. The same seed gives the same sentences.

    Raises DataFileError if a data file is missing or malformed, and ValueError if the templates do not give enough
    distinct sentences.
    """
    generator = _Generator(seed)
    sentences: dict[str, None] = {}
    for _ in range(50 * count + 1000):
        if len(sentences) == count:
            return list(sentences)
        sentence = generator.sentence()
        if len(sentence.split()) <= MAX_WORDS:
            sentences[sentence] = None
    raise ValueError(f"the templates do not give {count} distinct sentences")


def main() -> None:
    parser = argparse.ArgumentParser(description="Generate Turkish sentences, with numbers in words, one per line.")
    parser.add_argument("--count", type=int, default=15000, help="number of sentences (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="the same seed gives the same text (default: %(default)s)")
    parser.add_argument("--out", type=Path, required=True, help="the text file to write")
    arguments = parser.parse_args()
    print(f"Generating {arguments.count} sentences with seed {arguments.seed} ...")
    try:
        sentences = generate(arguments.count, arguments.seed)
    except DataFileError as error:
        sys.exit(str(error))
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text("\n".join(sentences) + "\n", encoding="utf-8")
    forms = {form for sentence in sentences for form in re.findall(r"[\w']+", sentence.lower())}
    print(f"Wrote {len(sentences)} sentences with {len(forms)} distinct word forms to {arguments.out}")


if __name__ == "__main__":
    main()
