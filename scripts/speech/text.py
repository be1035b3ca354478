"""Normalize texts for training, synthesis and error rates.

A CTC model of letters can only output letters. So numbers become words. Letters become lower-case (in Turkish, `I` is
the capital of `ı`, and `İ` of `i`). A letter with a diacritic that is not in the alphabet loses it (`â` becomes `a`).
Other letters that are not in the alphabet are removed, and so are apostrophes (`İstanbul'da` -> `istanbulda`). Anything
else becomes a space.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

from app.languages import lower_case
from scripts.speech.numbers_tr import spell_numbers

TURKISH_ALPHABET = "abcçdefgğhıijklmnoöprsştuüvyz"
WORD_DELIMITER = "|"
PAD_TOKEN = "[PAD]"  # noqa: S105  # a token of the vocabulary
UNK_TOKEN = "[UNK]"  # noqa: S105
DOTTED_CAPITAL = "İ"

_JOINERS = re.compile(r"(?<=\w)['’‘`´](?=\w)")


@dataclass(frozen=True)
class TextNormalizer:
    """`normalizer(text)` returns the words that a model should output, joined by single spaces.

    alphabet: the letters to keep, without space; if empty, every letter is kept. language: ISO 639-1 code, for
    lower-casing and for spelling numbers, which is supported for Turkish only.
    """

    alphabet: str = ""
    language: str = "tr"

    @classmethod
    def for_tokens(cls, tokens: Iterable[str], language: str) -> Self:
        """A normalizer for a model with these tokens. Its alphabet is the tokens of one letter.

        If İ is a token, then I is the capital of ı, whatever the language.
        """
        letters = [token for token in tokens if len(token) == 1 and token.isalpha()]
        rules = "tr" if DOTTED_CAPITAL in letters else ""
        return cls("".join(sorted({lower_case(letter, rules) for letter in letters})), language)

    def __call__(self, text: str) -> str:
        text = unicodedata.normalize("NFC", text)
        if self.language == "tr":
            text = spell_numbers(text)
        text = lower_case(_JOINERS.sub("", text), self.language)
        return " ".join("".join(self._fold(character) for character in text).split())

    def _fold(self, character: str) -> str:
        if self._keeps(character):
            return character
        bare = "".join(part for part in unicodedata.normalize("NFD", character) if not unicodedata.combining(part))
        bare = bare.replace("ı", "i")
        if bare != character and bare and all(self._keeps(part) for part in bare):
            return bare
        return "" if unicodedata.combining(character) or character.isalpha() else " "

    def _keeps(self, character: str) -> bool:
        return character in self.alphabet if self.alphabet else character.isalpha()


def find_alphabet(texts: Iterable[str], language: str, min_share: float = 1e-4) -> str:
    """The letters that are at least `min_share` of the letters in the normalized texts, sorted."""
    normalizer = TextNormalizer(language=language)
    counts = Counter(character for text in texts for character in normalizer(text) if character != " ")
    total = sum(counts.values())
    return "".join(sorted(character for character, count in counts.items() if count >= min_share * total))


def ctc_vocabulary(alphabet: str) -> dict[str, int]:
    """Token -> id for a new CTC tokenizer. The pad token, which is the blank, has id 0."""
    return {token: index for index, token in enumerate([PAD_TOKEN, UNK_TOKEN, WORD_DELIMITER, *alphabet])}
